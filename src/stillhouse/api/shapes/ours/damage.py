"""Known damage: the bodies of answers about it, and how the losses of a snapshot are shown."""

import os
from urllib.parse import quote

from stillhouse.api.shapes.values import Answer, Int32, Int64, Json
from stillhouse.domain.relation_files import relation_file
from stillhouse.domain.reports.damage import FileTouched, KnownDamage, NodeTouched, SnapshotTouched
from stillhouse.domain.snapshot import Snapshot


class LostFile(Answer):
    path: str
    tablespace: Int64 | None
    database: Int64 | None
    relation: Int64 | None
    segment: Int32 | None
    whole: bool
    blocks: list[list[Int64]]
    bytes: list[list[Int64]]
    more_ranges: Int64


class LostOfNode(Answer):
    node: str
    whole: bool
    files: list[LostFile]
    more_files: Int64


class Lost(Answer):
    snapshot_id: str
    name: str
    cluster_id: str
    cluster_name: str
    whole: bool
    nodes: list[LostOfNode]


class DamagedObject(Answer):
    cluster_id: str
    key: str
    kind: str
    detail: str
    costs: bool
    found: str


class SnapshotDamage(Answer):
    damage: Lost | None


class Damages(Answer):
    snapshots: list[Lost]
    objects: list[DamagedObject]
    is_worked_out: bool
    count: Int32


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


def objects(known: dict[str, KnownDamage]) -> list[Json]:
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
