"""Our own operations on the trash and on collections."""

from fastapi import Response

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render
from stillhouse.api.shapes.answer import Nothing, SnapshotCreated
from stillhouse.api.shapes.extensions import CollectionPlan, Trash
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId, CollectClusterRequest, SnapshotId
from stillhouse.control.snapshots import requests as snapshots
from stillhouse.control.snapshots import trash
from stillhouse.control.upkeep import collect as collections

routes = router()


@routes.post(
    "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/cancel",
    operation_id="CancelSnapshot",
    **answers(Nothing, "The snapshot's capture will stop, and the snapshot become UNAVAILABLE", 202),
)
def cancel_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    snapshots.request_cancel(control, project_id, snapshot_id)
    return {}


@routes.get(
    "/stillhouse/v1/{project_id}/trash",
    operation_id="ListTrash",
    **answers(Trash, "The snapshots in the trash"),
)
def list_trash(control: ControlOf, project_id: str) -> Json:
    found = trash.list_trash(control, project_id)
    return {"snapshots": [render.trashed_snapshot(one) for one in found], "count": len(found)}


@routes.post(
    "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/undelete",
    operation_id="UndeleteSnapshot",
    **answers(SnapshotCreated, "The snapshot is back"),
)
def undelete_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    trash.undelete_snapshot(control, project_id, snapshot_id)
    return {"snapshot": {"id": snapshot_id}}


@routes.post(
    "/stillhouse/v1/{project_id}/clusters/{cluster_id}/collect",
    operation_id="CollectCluster",
    status_code=202,
    response_model=None,
    responses={
        200: {
            "model": CollectionPlan,
            "description": "The plan of a collection at this moment, for a dry run",
        },
        202: {"model": Nothing, "description": "Accepted; the collection runs"},
    },
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
        collections.request_collection(control, project_id, cluster_id)
        return {}
    response.status_code = 200
    return {"plan": render.collected(collections.draft_collection(control, project_id, cluster_id))}
