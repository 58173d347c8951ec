"""The snapshot operations of the DWS API."""

from typing import Annotated

from fastapi import Query

from stillhouse.api import render
from stillhouse.api.models import (
    ClusterId,
    CreateSnapshotRequest,
    Limit,
    Offset,
    SnapshotId,
    SortDirection,
    SortKey,
)
from stillhouse.api.render import Json
from stillhouse.api.routing import ControlOf, router
from stillhouse.control import permissions, snapshots

routes = router()


@routes.post("/v1.0/{project_id}/snapshots", operation_id="CreateSnapshot")
def create_snapshot(control: ControlOf, project_id: str, body: CreateSnapshotRequest) -> Json:
    permissions.demand(control, "CreateSnapshot", [body.snapshot.cluster_id])
    snapshot_id = snapshots.request_snapshot(
        control,
        project_id,
        name=body.snapshot.name,
        cluster_id=body.snapshot.cluster_id,
        description=body.snapshot.description or "",
    )
    return {"snapshot": {"id": snapshot_id}}


@routes.get("/v1.0/{project_id}/snapshots", operation_id="ListSnapshots")
def list_snapshots(control: ControlOf, project_id: str) -> Json:
    found = snapshots.list_snapshots(control, project_id)
    return {"snapshots": [render.snapshot_in_project_list(one) for one in found], "count": len(found)}


@routes.get("/v1.0/{project_id}/snapshots/{snapshot_id}", operation_id="ListSnapshotDetails")
def show_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return {"snapshot": render.snapshot_detail(snapshots.get_snapshot(control, project_id, snapshot_id))}


@routes.get("/v1.0/{project_id}/clusters/{cluster_id}/snapshots", operation_id="ListClusterSnapshots")
def list_cluster_snapshots(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    limit: Annotated[Limit | None, Query()] = None,
    offset: Annotated[Offset, Query(description="page number minus 1")] = 0,
    sort_key: SortKey = "started",
    sort_dir: SortDirection = "desc",
) -> Json:
    """`count` is the total, not the page's."""
    page, total = snapshots.list_cluster_snapshots(
        control,
        project_id,
        cluster_id,
        limit=limit,
        offset=offset,
        sort_key=sort_key,
        descending=sort_dir == "desc",
    )
    return {
        "project_id": project_id,
        "cluster_id": cluster_id,
        "snapshots": [render.snapshot_in_cluster_list(one) for one in page],
        "count": total,
    }


@routes.delete("/v1.0/{project_id}/snapshots/{snapshot_id}", operation_id="DeleteSnapshot", status_code=202)
def delete_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    snapshots.delete_snapshot(control, project_id, snapshot_id)
    return {"error_code": None, "error_msg": None, "job_id": None}
