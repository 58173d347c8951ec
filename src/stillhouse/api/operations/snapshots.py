"""The snapshot operations of the DWS API."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router, listed
from stillhouse.api.shapes.capacity import Flavors, Statistics, flavor
from stillhouse.api.shapes.snapshots import (
    CheckSnapshotRequest,
    ClusterSnapshots,
    CopySnapshotRequest,
    CreateSnapshotRequest,
    SnapshotCopied,
    SnapshotCreated,
    SnapshotDetails,
    Snapshots,
    SortDirection,
    SortKey,
    snapshot_detail,
    snapshot_in_cluster_list,
    snapshot_in_project_list,
)
from stillhouse.api.shapes.values import (
    GB,
    Accepted,
    AwareTime,
    ClusterId,
    Json,
    Limit,
    Nothing,
    Offset,
    SnapshotId,
    unless_empty,
)
from stillhouse.control.access import permissions
from stillhouse.control.reports import capacity
from stillhouse.control.schedule import snapshot_policies
from stillhouse.control.snapshots import requests
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import InvalidInput

routes = Router()

# The parameters of ListSnapshots, if none is sent.
_ALL = (None, None, None, None, 0, "started", "desc")


@routes.operation(
    "CreateSnapshot", SnapshotCreated, "Accepted; the snapshot is being taken, or waits for its turn"
)
def create_snapshot(control: ControlOf, project_id: str, body: CreateSnapshotRequest) -> Json:
    permissions.demand(control, "CreateSnapshot", [body.snapshot.cluster_id])
    snapshot_id = requests.request_snapshot(
        control,
        project_id,
        name=body.snapshot.name,
        cluster_id=body.snapshot.cluster_id,
        description=body.snapshot.description or "",
    )
    return {"snapshot": {"id": snapshot_id}}


@routes.operation("ListSnapshots", Snapshots, "The snapshots of the project, the newest first")
def list_snapshots(
    control: ControlOf,
    project_id: str,
    name: Annotated[str, Query(description="Only the snapshot of this name; an addition of ours")] = "",
    cluster_id: Annotated[ClusterId | None, unless_empty(None)] = None,
    status: Annotated[SnapshotStatus | None, unless_empty(None)] = None,
    since: Annotated[AwareTime | None, unless_empty(None)] = None,
    limit: Annotated[Limit | None, unless_empty(None)] = None,
    offset: Annotated[Offset, Query(description="page number minus 1")] = 0,
    sort_key: Annotated[SortKey, unless_empty("started")] = "started",
    sort_dir: Annotated[SortDirection, unless_empty("desc")] = "desc",
) -> Iterator[bytes] | Json:
    """A long list is sent in parts while it is read: nobody waits for its encoding, and no memory holds it whole.

    With any parameter but a name, which are additions of ours, the answer is one page of the snapshots that are
    chosen, and `count` is the number of these in all.
    """
    chosen = cluster_id, status, since, limit, offset, sort_key, sort_dir
    if name or chosen == _ALL:
        batches = requests.snapshot_batches(control, project_id, name=name)
        return listed("snapshots", (map(snapshot_in_project_list, batch) for batch in batches))
    found, total = requests.list_page(
        control,
        project_id,
        cluster_id=cluster_id,
        status=status,
        since=since,
        limit=limit,
        offset=offset,
        sort_key=sort_key,
        descending=sort_dir == "desc",
    )
    return {"snapshots": [snapshot_in_project_list(one) for one in found], "count": total}


@routes.operation("ListSnapshotDetails", SnapshotDetails, "The snapshot")
def show_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return {"snapshot": snapshot_detail(requests.get_snapshot(control, project_id, snapshot_id))}


@routes.operation(
    "ListClusterSnapshots", ClusterSnapshots, "One page of the cluster's snapshots, and their number in all"
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
    page, total = requests.list_cluster_snapshots(
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
        "snapshots": [snapshot_in_cluster_list(one) for one in page],
        "count": total,
    }


@routes.operation("DeleteSnapshot", Accepted, "The snapshot is in the trash", 202)
def delete_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    requests.delete_snapshot(control, project_id, snapshot_id)
    return {"error_code": None, "error_msg": None, "job_id": None}


@routes.operation("CheckSnapshot", Nothing, "The name can be given to a snapshot")
def check_snapshot(control: ControlOf, project_id: str, body: CheckSnapshotRequest) -> Json:
    if body.snapshot_name is None:
        raise InvalidInput("Invalid parameter. snapshot_name: a name to check is missing")
    requests.check_name(control, project_id, body.snapshot_name)
    return {}


@routes.operation(
    "ListSnapshotFlavorInfo", Flavors, "The node types that the snapshot can be restored to: this host's"
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
    source = capacity.cluster_of_snapshot(control, project_id, snapshot_id)
    flavors = [] if source is None else [flavor(capacity.measure(control), source)]
    return {"flavors": flavors, "count": len(flavors)}


@routes.operation("CopySnapshot", SnapshotCopied, "The copy is being made")
def copy_snapshot(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: CopySnapshotRequest
) -> Json:
    copy_id = requests.request_copy(
        control, project_id, snapshot_id, name=body.backup_name, description=body.description or ""
    )
    return {"snapshot_id": copy_id}


@routes.operation("ListSnapshotStatistics", Statistics, "The storage that the snapshots of the cluster take")
def show_statistics(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    storage = snapshot_policies.storage_statistics(control, project_id, cluster_id)
    named = {"storage.free": storage.free, "storage.paid": storage.paid, "storage.used": storage.used}
    return {
        "statistics": [
            {"name": name, "value": round(count / GB, 6), "unit": "GB"} for name, count in named.items()
        ]
    }
