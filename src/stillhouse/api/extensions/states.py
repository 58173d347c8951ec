"""Our own operations that show states which DWS has no words for, and why something failed."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router, listed
from stillhouse.api.shapes.ours import states
from stillhouse.api.shapes.ours.states import (
    ClusterStates,
    Operations,
    ShownCluster,
    ShownOperation,
    ShownSnapshot,
    SnapshotStates,
)
from stillhouse.api.shapes.values import ClusterId, Json, Limit, SnapshotId
from stillhouse.control.reports import operations
from stillhouse.control.snapshots import fates

routes = Router()


@routes.operation("ShowSnapshot", ShownSnapshot, "The snapshot, with the reason if it failed")
def show_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    """One in the trash is shown too."""
    return {"snapshot": states.snapshot_state(fates.find(control, project_id, snapshot_id))}


@routes.operation("ListSnapshotStates", SnapshotStates, "The project's snapshots, the newest first")
def list_snapshots(
    control: ControlOf,
    project_id: str,
    name: Annotated[str, Query(description="Only the snapshot of this name")] = "",
    cluster_id: Annotated[
        ClusterId | None, Query(description="Only this cluster's; it may be deleted")
    ] = None,
    ids: Annotated[str, Query(description="Only these: ids, separated by commas")] = "",
) -> Iterator[bytes] | Json:
    if ids:
        found = fates.find_all(control, project_id, ids.split(","))
        return {"snapshots": [states.snapshot_state(one) for one in found], "count": len(found)}
    batches = fates.batches(control, project_id, name=name, cluster_id=cluster_id)
    return listed("snapshots", (map(states.snapshot_state, batch) for batch in batches))


@routes.operation("ShowCluster", ShownCluster, "The cluster, whose nodes were just asked")
def show_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return {"cluster": states.cluster_state(operations.look_at_cluster(control, project_id, cluster_id))}


@routes.operation(
    "ListClusterStates",
    ClusterStates,
    "The project's clusters, whose nodes were just asked, the newest first",
)
def list_clusters(control: ControlOf, project_id: str) -> Json:
    found = operations.look_at_clusters(control, project_id)
    return {"clusters": [states.cluster_state(one) for one in found], "count": len(found)}


@routes.operation("ShowOperation", ShownOperation, "The operation, with the reason if it failed")
def show_operation(control: ControlOf, project_id: str, operation_id: str) -> Json:
    return {"operation": states.operation_state(operations.get_operation(control, project_id, operation_id))}


@routes.operation("ListOperations", Operations, "The operations on clusters, the newest first")
def list_operations(
    control: ControlOf,
    project_id: str,
    cluster_id: Annotated[ClusterId | None, Query(description="Only this cluster's")] = None,
    failed: Annotated[bool, Query(description="Only those that failed or were cancelled")] = False,
    limit: Annotated[Limit, Query()] = 100,
) -> Json:
    found = operations.list_operations(
        control,
        project_id,
        cluster_id=cluster_id,
        only_failed=failed,
        limit=min(limit, operations.MOST),
    )
    return {"operations": [states.operation_state(one) for one in found], "count": len(found)}
