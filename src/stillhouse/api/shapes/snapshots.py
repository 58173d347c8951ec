"""Snapshots: the bodies of their requests and answers, and how a snapshot is shown."""

from typing import Annotated, Literal

from pydantic import Field

from stillhouse.api.shapes.clusters import SHOWN_AS_TASK, PublicIp
from stillhouse.api.shapes.values import (
    DATASTORE,
    GB,
    INT32_MAX,
    VERSION,
    Answer,
    ClusterId,
    Id,
    Int32,
    Int64,
    Json,
    NullableText,
    Request,
    ShortText,
    epoch_milliseconds,
    snapshot_time,
)
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus

_KB = 1024
SortKey = Literal["name", "started", "finished", "size", "status", "type"]
SortDirection = Literal["asc", "desc"]


class SnapshotToCreate(Request):
    name: str
    cluster_id: ClusterId
    description: str | None = None


class CreateSnapshotRequest(Request):
    snapshot: SnapshotToCreate


class CheckSnapshotRequest(Request):
    snapshot_name: str | None = None


class CopySnapshotRequest(Request):
    backup_name: str
    description: str | None = None


class ClusterToRestore(Request):
    name: str
    vpc_id: ShortText | None = None
    subnet_id: ShortText | None = None
    security_group_id: ShortText | None = None
    availability_zone: ShortText | None = None
    port: int | None = None
    public_ip: PublicIp | None = None
    number_of_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    enterprise_project_id: ShortText | None = None
    ipv6_enable: bool | None = None
    server_settings: dict[str, str] = Field(default={})


class RestoreClusterRequest(Request):
    restore: ClusterToRestore


class SnapshotCreated(Answer):
    snapshot: Id


class ClusterRestored(Answer):
    cluster: Id
    job_id: NullableText


class SnapshotCopied(Answer):
    snapshot_id: str


class Datastore(Answer):
    type: str
    version: str


class FineGrainedDetail(Answer):
    database: NullableText
    schema_list: list[str] | None
    table_list: list[str] | None


class ListedSnapshot(Answer):
    id: str
    name: str
    description: str
    started: str
    finished: str
    updated: str
    size: float
    status: str
    type: str
    cluster_id: str
    cluster_name: str
    datastore: Datastore
    bak_expected_start_time: NullableText
    bak_keep_day: Int32 | None
    bak_period: NullableText
    db_user: str
    progress: str
    backup_key: str
    prior_backup_key: str
    base_backup_key: str
    base_backup_name: str
    backup_device: str
    total_backup_size: Int64 | None
    support_inplace_restore: bool
    fine_grained_backup: bool
    backup_level: str
    fine_grained_backup_detail: FineGrainedDetail | None
    guest_agent_version: NullableText
    cluster_status: NullableText
    cluster_task_status: NullableText


class ClusterSnapshot(ListedSnapshot):
    total_backup_size: Int32 | None


class DetailedSnapshot(ClusterSnapshot):
    support_fine_grained_cross_version_restore: bool
    support_fine_grained_asymmetric_restore: bool


class Snapshots(Answer):
    snapshots: list[ListedSnapshot]
    count: Int32


class ClusterSnapshots(Answer):
    project_id: str
    cluster_id: str
    snapshots: list[ClusterSnapshot]
    count: Int32


class SnapshotDetails(Answer):
    snapshot: DetailedSnapshot


def snapshot_in_project_list(snapshot: Snapshot) -> Json:
    """An item of ListSnapshots, where `total_backup_size` is a 64-bit number."""
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "description": snapshot.description,
        "started": snapshot_time(snapshot.started),
        "finished": snapshot_time(snapshot.finished) if snapshot.finished else "",
        "updated": snapshot_time(snapshot.updated),
        "size": round(snapshot.plain_bytes / GB, 6),
        "status": _snapshot_status(snapshot),
        "type": snapshot.type.value,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "datastore": {"type": DATASTORE, "version": VERSION},
        "bak_expected_start_time": epoch_milliseconds(snapshot.due) if snapshot.due else None,
        "bak_keep_day": snapshot.keep_day,
        "bak_period": snapshot.schedule or None,
        "db_user": snapshot.db_user,
        "progress": f"{snapshot.progress}%",
        "backup_key": snapshot.backup_key,
        # Every snapshot stands alone, however little of it had to be stored: it is its own chain.
        "prior_backup_key": "FULL",
        "base_backup_key": snapshot.backup_key,
        "base_backup_name": snapshot.name,
        "backup_device": "obs",
        "total_backup_size": snapshot.plain_bytes // _KB,
        "support_inplace_restore": False,
        "fine_grained_backup": False,
        "backup_level": "cluster",
        "fine_grained_backup_detail": None,
        "guest_agent_version": None,
        "cluster_status": _cluster_status(snapshot),
        "cluster_task_status": snapshot.cluster_task if snapshot.cluster_task in SHOWN_AS_TASK else None,
    }


def snapshot_in_cluster_list(snapshot: Snapshot) -> Json:
    """An item of ListClusterSnapshots, the only answer that knows the status RESTORING."""
    shown = _with_int32_sizes(snapshot_in_project_list(snapshot))
    return shown | {"status": "RESTORING"} if snapshot.restoring else shown


def snapshot_detail(snapshot: Snapshot) -> Json:
    return _with_int32_sizes(snapshot_in_project_list(snapshot)) | {
        "support_fine_grained_cross_version_restore": False,
        "support_fine_grained_asymmetric_restore": False,
    }


def _with_int32_sizes(shown: Json) -> Json:
    """Go and Java read this number into 32 bits here and fail on the whole answer when it is larger."""
    size = shown["total_backup_size"]
    fits = isinstance(size, int) and size <= INT32_MAX
    return shown | {"total_backup_size": size if fits else None}


def _snapshot_status(snapshot: Snapshot) -> str:
    """The snapshot's status. DWS has one word for all that cannot be restored; ShowSnapshotDamage lists the losses."""
    if snapshot.damaged and snapshot.status is SnapshotStatus.AVAILABLE:
        return SnapshotStatus.UNAVAILABLE.value
    return snapshot.status.value


def _cluster_status(snapshot: Snapshot) -> str | None:
    """The status of the snapshot's cluster; `None` for a deleted one, since DWS has no status for it."""
    return None if snapshot.cluster_status is ClusterStatus.DELETED else snapshot.cluster_status
