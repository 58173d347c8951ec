"""Our own operations on the trash and on collections."""

from fastapi import Response

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import extensions
from stillhouse.api.shapes.ours.extensions import CollectClusterRequest, CollectionPlan, Trash
from stillhouse.api.shapes.snapshots import SnapshotCreated
from stillhouse.api.shapes.values import ClusterId, Json, Nothing, SnapshotId
from stillhouse.control.snapshots import requests, trash
from stillhouse.control.upkeep import collect

routes = Router()


@routes.operation(
    "CancelSnapshot", Nothing, "The snapshot's capture will stop, and the snapshot become UNAVAILABLE", 202
)
def cancel_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    requests.request_cancel(control, project_id, snapshot_id)
    return {}


@routes.operation("ListTrash", Trash, "The snapshots in the trash")
def list_trash(control: ControlOf, project_id: str) -> Json:
    found = trash.list_trash(control, project_id)
    return {"snapshots": [extensions.trashed_snapshot(one) for one in found], "count": len(found)}


@routes.operation("UndeleteSnapshot", SnapshotCreated, "The snapshot is back")
def undelete_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    trash.undelete_snapshot(control, project_id, snapshot_id)
    return {"snapshot": {"id": snapshot_id}}


@routes.operation(
    "CollectCluster",
    Nothing,
    "Accepted; the collection runs",
    202,
    others={200: (CollectionPlan, "The plan of a collection at this moment, for a dry run")},
)
def collect_cluster(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    response: Response,
    body: CollectClusterRequest | None = None,
) -> Json:
    """A dry run answers 200 with the plan of a collection at this moment, and reads all manifests for it."""
    if body is None or not body.dry_run:
        collect.request_collection(control, project_id, cluster_id)
        return {}
    response.status_code = 200
    return {"plan": extensions.collected(collect.draft_collection(control, project_id, cluster_id))}
