"""The snapshot operations of the DWS API."""

from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render, render_host
from stillhouse.api.shapes.answer import (
    Accepted,
    ClusterSnapshots,
    Nothing,
    SnapshotCreated,
    SnapshotDetails,
    Snapshots,
)
from stillhouse.api.shapes.capacity import Flavors
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import (
    CheckSnapshotRequest,
    ClusterId,
    CreateSnapshotRequest,
    Limit,
    Offset,
    SnapshotId,
    SortDirection,
    SortKey,
    unless_empty,
)
from stillhouse.control.access import permissions
from stillhouse.control.reports import capacity as host
from stillhouse.control.snapshots import requests as snapshots
from stillhouse.errors import InvalidInput

routes = router()


@routes.post(
    "/v1.0/{project_id}/snapshots",
    operation_id="CreateSnapshot",
    **answers(SnapshotCreated, "Accepted; the snapshot is being taken, or waits for its turn"),
)
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


@routes.get(
    "/v1.0/{project_id}/snapshots",
    operation_id="ListSnapshots",
    **answers(Snapshots, "All snapshots of the project, the newest first"),
)
def list_snapshots(control: ControlOf, project_id: str) -> Json:
    found = snapshots.list_snapshots(control, project_id)
    return {"snapshots": [render.snapshot_in_project_list(one) for one in found], "count": len(found)}


@routes.get(
    "/v1.0/{project_id}/snapshots/{snapshot_id}",
    operation_id="ListSnapshotDetails",
    **answers(SnapshotDetails, "The snapshot"),
)
def show_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return {"snapshot": render.snapshot_detail(snapshots.get_snapshot(control, project_id, snapshot_id))}


@routes.get(
    "/v1.0/{project_id}/clusters/{cluster_id}/snapshots",
    operation_id="ListClusterSnapshots",
    **answers(ClusterSnapshots, "One page of the cluster's snapshots, and their number in all"),
)
def list_cluster_snapshots(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    limit: Annotated[Limit | None, Query()] = None,
    offset: Annotated[Offset, Query(description="page number minus 1")] = 0,
    sort_key: Annotated[SortKey, unless_empty("started")] = "started",
    sort_dir: Annotated[SortDirection, unless_empty("desc")] = "desc",
) -> Json:
    """`count` is the total number of snapshots, not that of the page."""
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


@routes.delete(
    "/v1.0/{project_id}/snapshots/{snapshot_id}",
    operation_id="DeleteSnapshot",
    **answers(Accepted, "The snapshot is in the trash", 202),
)
def delete_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    snapshots.delete_snapshot(control, project_id, snapshot_id)
    return {"error_code": None, "error_msg": None, "job_id": None}


@routes.post(
    "/v1/{project_id}/snapshots/check",
    operation_id="CheckSnapshot",
    **answers(Nothing, "The name can be given to a snapshot"),
)
def check_snapshot(control: ControlOf, project_id: str, body: CheckSnapshotRequest) -> Json:
    if body.snapshot_name is None:
        raise InvalidInput("Invalid parameter. snapshot_name: a name to check is missing")
    snapshots.check_name(control, project_id, body.snapshot_name)
    return {}


@routes.get(
    "/v2/{project_id}/snapshots/{snapshot_id}/flavors",
    operation_id="ListSnapshotFlavorInfo",
    **answers(Flavors, "The node types that the snapshot can be restored to: this host's"),
)
def list_snapshot_flavors(
    control: ControlOf,
    project_id: str,
    snapshot_id: str,
    type: Annotated[Literal["snapshot", "restore"], unless_empty("snapshot")] = "snapshot",
    az_code: Annotated[str | None, Query(max_length=255)] = None,
    fine_grained_restore: Annotated[Literal["true", "false"], unless_empty("false")] = "false",
) -> Json:
    """Every kind of restore is possible, and to the same node type: the query changes nothing. As in DWS, an unknown
    snapshot gets an empty list and no error.
    """
    source = host.cluster_of_snapshot(control, project_id, snapshot_id)
    flavors = [] if source is None else [render_host.flavor(host.measure(control), source)]
    return {"flavors": flavors, "count": len(flavors)}
