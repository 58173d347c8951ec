"""The known losses of snapshots, as JSON."""

import os
from typing import Any
from urllib.parse import quote

from stillhouse.catalog.findings import Known
from stillhouse.domain.snapshot import Snapshot
from stillhouse.postgres.files.layout import relation_file
from stillhouse.repository.check.losses import FileTouched, NodeTouched, SnapshotTouched

Json = dict[str, Any]


def damage(snapshot: Snapshot, touched: SnapshotTouched) -> Json:
    """The losses of one snapshot: `whole`, or the blocks (or bytes) that cannot be read back, by node and file."""
    return {
        "snapshot_id": snapshot.id,
        "name": snapshot.name,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "whole": touched.nodes is None,
        "nodes": [_node(node) for node in touched.nodes or ()],
    }


def objects(known: dict[str, Known]) -> list[Json]:
    """The damaged objects of the repository, cluster by cluster."""
    return [
        {
            "cluster_id": cluster,
            "key": one["key"],
            "kind": one["kind"],
            "detail": one["detail"],
            "costs": one["costs"],
            "found": one["found"],
        }
        for cluster, said in known.items()
        for one in said.objects
    ]


def printable(path: str) -> str:
    """A path as it is, or percent-encoded if it is not UTF-8 or would break the line."""
    return path if path.isprintable() else quote(os.fsencode(path), safe="/ ")


def _node(node: NodeTouched) -> Json:
    return {
        "node": node.node,
        "whole": node.files is None,
        "files": [_file(file) for file in node.files or ()],
        "more_files": node.more,
    }


def _file(file: FileTouched) -> Json:
    relation = relation_file(file.path)
    return {
        "path": printable(file.path),
        "tablespace": relation.tablespace if relation else None,
        "database": relation.database if relation else None,
        "relation": relation.relation if relation else None,
        "segment": relation.segment if relation else None,
        "whole": not (file.blocks or file.bytes),
        "blocks": [list(one) for one in file.blocks],
        "bytes": [list(one) for one in file.bytes],
        "more_ranges": file.more,
    }
