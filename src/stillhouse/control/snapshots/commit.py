"""The root that publishes a snapshot, put together from its captures and its cut."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.snapshot import Cut, RestorePoint, Snapshot
from stillhouse.repository.format.root import Root, RootCluster, RootNode


def root_of(
    snapshot: Snapshot,
    cluster: Cluster,
    attempt: int,
    cut: Cut,
    captured: Sequence[Mapping[str, Any]],
    *,
    overdue_packs: int,
    now: datetime,
) -> Root:
    """The root of a snapshot. `captured` are the results of `capture_node`, in the order of the cluster's nodes."""
    points = {point.node: point for point in cut.points}
    nodes = zip(cluster.nodes, captured, strict=True)
    return Root(
        snapshot=snapshot.id,
        project=snapshot.project,
        cluster=RootCluster(
            id=cluster.id,
            name=cluster.name,
            engine=cluster.engine,
            number_of_node=cluster.number_of_node,
            port=cluster.port,
            user_name=cluster.user_name,
            facts=cluster.facts,
        ),
        name=snapshot.name,
        description=snapshot.description,
        type=snapshot.type,
        attempt=attempt,
        started=snapshot.started.isoformat(),
        finished=now.isoformat(),
        cut={"pause_seconds": cut.pause_seconds, "tries": cut.tries},
        plain_bytes=sum(result["plain_bytes"] for result in captured),
        stored_bytes=sum(result["stored_bytes"] for result in captured),
        nodes=tuple(_node(node, points[node.id], result) for node, result in nodes),
        scrub_overdue_packs=overdue_packs,
    )


def _node(node: Node, point: RestorePoint, result: Mapping[str, Any]) -> RootNode:
    manifest = result["manifest"]
    return RootNode(
        name=node.name,
        node_id=node.id,
        role=node.role,
        host=node.host,
        port=node.port,
        manifest=manifest["id"],
        size=manifest["size"],
        hash=manifest["hash"],
        plain_bytes=result["plain_bytes"],
        wal_bytes=result["wal_bytes"],
        rotten=result["rotten"],
        capacity=result["capacity"],
        lineage=result["lineage"],
        base=result["base"],
        depth=result["depth"],
        whole_because=result["whole_because"],
        read_bytes=result["read_bytes"],
        packed_bytes=result["packed_bytes"],
        pages_stored=result["pages_stored"],
        files=result["files"],
        # The results of a flow that an older service began lack these fields.
        skipped=result.get("skipped", 0),
        skipped_first=next(map(": ".join, result.get("skipped_first", {}).items()), ""),
        replaced=result.get("replaced", 0),
        replaced_first=result.get("replaced_first", ""),
        start_lsn=result["start_lsn"],
        cut_name=point.name,
        cut_lsn=point.lsn,
        timeline=point.timeline,
    )
