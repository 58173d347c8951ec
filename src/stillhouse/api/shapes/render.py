"""Clusters and snapshots as DWS's JSON."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from stillhouse.control.clusters.facts import TIME_ZONE
from stillhouse.control.snapshots.trash import Trashed
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, Task
from stillhouse.domain.node_type import ZONE
from stillhouse.domain.proof import Proof, ProofSchedule
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.repository.upkeep.collect import Collected

Json = dict[str, object]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KB = 1024
_GB = 1024**3
_INT32_MAX = 2**31 - 1
# Clients only show it. It is ours to count, as DWS's is not PostgreSQL's either.
VERSION = "1.0.0"
DATASTORE = "dws"

# DWS's own numbers for the state of a node.
_NODE_STATUS = {
    ClusterStatus.CREATING: "100",
    ClusterStatus.AVAILABLE: "200",
    ClusterStatus.FAILED: "300",
    ClusterStatus.CREATE_FAILED: "303",
    ClusterStatus.DELETING: "304",
    ClusterStatus.DELETE_FAILED: "305",
    ClusterStatus.DELETED: "400",
}

# DWS's words for the last failure, by our code; it has no word for a failed snapshot.
_FAILURE = {
    "provision.failed": "DWS.6000",
    "restart.failed": "DWS.6002",
    "start.failed": "DWS.6002",
    "stop.failed": "DWS.6002",
    "restore.failed": "DWS.6003",
    "delete.failed": "DWS.6014",
}
_OTHER_FAILURE = "DWS.9999"

# The tasks DWS has a word for in `action_progress` and in `task_status`; the rest show in `status` only.
_SHOWN_AS_PROGRESS = frozenset(
    {Task.CREATING, Task.RESTORING, Task.FINE_GRAINED_RESTORING, Task.SNAPSHOTTING, Task.REBOOTING}
)
_SHOWN_AS_TASK = _SHOWN_AS_PROGRESS - {Task.CREATING} | {Task.STARTING, Task.STOPPING}


def snapshot_in_project_list(snapshot: Snapshot) -> Json:
    """An item of ListSnapshots, where `total_backup_size` is a 64-bit number."""
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "description": snapshot.description,
        "started": snapshot_time(snapshot.started),
        "finished": snapshot_time(snapshot.finished) if snapshot.finished else "",
        "updated": snapshot_time(snapshot.updated),
        "size": round(snapshot.plain_bytes / _GB, 6),
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
        "cluster_task_status": snapshot.cluster_task if snapshot.cluster_task in _SHOWN_AS_TASK else None,
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


def proof(proof: Proof) -> Json:
    """Return a proof as JSON. `findings` are faults of the snapshot, `left_out` are tables that were not looked at, and
    `unchecked` are things that should have been looked at and could not be.
    """
    report = proof.report
    return {
        "id": proof.id,
        "snapshot_id": proof.snapshot_id,
        "state": proof.state.value,
        "progress": f"{proof.progress}%",
        "requested_by": proof.access_key or "schedule",
        "started": _cluster_time(proof.started),
        "ended": _cluster_time(proof.ended) if proof.ended else None,
        "seconds": round((proof.ended - proof.started).total_seconds(), 1) if proof.ended else None,
        "tables": report.get("tables", 0),
        "tables_total": report.get("tables_total"),
        "rows": report.get("rows", 0),
        "rows_total": report.get("rows_total"),
        "rows_share": _share(report, "rows"),
        "pages": report.get("pages"),
        "pages_total": report.get("pages_total"),
        "pages_share": _share(report, "pages"),
        "findings": report.get("findings", []),
        "unchecked": report.get("unchecked", []),
        "left_out": report.get("left_out", []),
        "notes": report.get("notes", []),
        "reason": report.get("reason", ""),
    }


def _share(report: dict[str, Any], what: str) -> float | None:
    """Return the share that was seen, rounded down: only all of it is 1. `None` if the proof did not get so far, or was
    made by an older service, which did not count.
    """
    seen, total = report.get(what), report.get(f"{what}_total")
    if seen is None or total is None or not report.get("pages_total"):
        return None
    return 1.0 if seen >= total else seen * 10_000 // total / 10_000


def proof_schedule(schedule: ProofSchedule) -> Json:
    return {"every_days": schedule.every_days, "newest_only": schedule.newest_only}


def trashed_snapshot(trashed: Trashed) -> Json:
    """An item of our own ListTrash; `until` is when it can no longer be brought back."""
    snapshot = trashed.snapshot
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "status": snapshot.status.value,
        "type": snapshot.type.value,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "started": _cluster_time(snapshot.started),
        "deleted": _cluster_time(snapshot.deleted) if snapshot.deleted else "",
        "until": _cluster_time(trashed.until),
        "can_be_undeleted": trashed.can_come_back,
    }


def collected(would: Collected) -> Json:
    """The summary of a plan: numbers of objects and their bytes in the repository."""
    return {
        "purged_snapshots": would.purged,
        "kept": {"objects": would.kept, "bytes": would.kept_bytes},
        "marked": {"objects": would.marked, "bytes": would.marked_bytes},
        "deleted": {"objects": would.deleted, "bytes": would.deleted_bytes},
        "keys_gone": would.keys_gone,
    }


def cluster_in_list(cluster: Cluster) -> Json:
    facts = cluster.facts
    return {
        "id": cluster.id,
        "name": cluster.name,
        "status": cluster.status.value,
        "version": VERSION,
        "created": _cluster_time(cluster.created),
        "updated": _cluster_time(cluster.updated),
        "port": cluster.port,
        "endpoints": [_endpoint(cluster.coordinator)] if cluster.nodes else [],
        "nodes": _nodes(cluster),
        "tags": facts.get("tags") or [],
        "user_name": cluster.user_name,
        "number_of_node": cluster.number_of_node,
        "recent_event": 0,
        "availability_zone": facts.get("availability_zone") or ZONE,
        "enterprise_project_id": facts.get("enterprise_project_id") or "0",
        "node_type": facts.get("node_type") or "",
        "vpc_id": facts.get("vpc_id") or "",
        "subnet_id": facts.get("subnet_id") or "",
        "security_group_id": facts.get("security_group_id") or "",
        # Requests for more than this are refused.
        "public_ip": {"public_bind_type": "not_use", "eip_id": ""},
        "public_endpoints": [],
        "action_progress": _action_progress(cluster),
        "sub_status": "NORMAL",
        # Null and not "": otcextensions waits for null, and Terraform takes both for idle.
        "task_status": cluster.task.value if cluster.task in _SHOWN_AS_TASK else None,
        "failed_reasons": _failed_reasons(cluster),
    }


def cluster_detail(cluster: Cluster) -> Json:
    return cluster_in_list(cluster) | {
        "node_type_id": cluster.facts.get("node_type") or "",
        "private_ip": [node.host for node in cluster.nodes],
        "parameter_group": {"id": parameter_group_id(cluster), "name": "default", "status": "In-Sync"},
        "maintain_window": None,
        "resize_info": None,
        "elb": None,
        "order_id": None,
        "cluster_description_info": cluster.facts.get("description") or None,
        "cluster_timezone": TIME_ZONE,
        "datastore_type": DATASTORE,
    }


def parameter_group_id(cluster: Cluster) -> str:
    """The id of the cluster's one group of settings, derived from the cluster's id."""
    return str(uuid.uuid5(uuid.UUID(cluster.id), "configuration"))


def _with_int32_sizes(shown: Json) -> Json:
    """Go and Java read this number into 32 bits here and fail on the whole answer when it is larger."""
    size = shown["total_backup_size"]
    fits = isinstance(size, int) and size <= _INT32_MAX
    return shown | {"total_backup_size": size if fits else None}


def _endpoint(coordinator: Node) -> Json:
    address = f"{coordinator.host}:{coordinator.port}"
    # The placeholder is literal in DWS's answers: only the caller knows the database.
    return {"connect_info": address, "jdbc_url": f"jdbc:postgresql://{address}/<YOUR_DATABASE_name>"}


def _nodes(cluster: Cluster) -> list[Json]:
    """The machines that DWS counts as `number_of_node`: the data nodes, or the cluster's only server.

    A node that does not exist yet is listed under an id that stays the same between two calls.
    """
    status = node_status(cluster)
    existing: list[Json] = [
        {"id": node.id, "name": node.name, "status": status} for node in cluster.data_nodes or cluster.nodes
    ]
    planned: list[Json] = [
        {
            "id": str(uuid.uuid5(uuid.UUID(cluster.id), str(index))),
            "name": f"{cluster.name}-{index + 1}",
            "status": status,
        }
        for index in range(len(existing), cluster.number_of_node)
    ]
    return existing + planned


def node_status(cluster: Cluster) -> str:
    stopped = cluster.stopped and cluster.status is ClusterStatus.AVAILABLE
    return _NODE_STATUS[ClusterStatus.FAILED if stopped else cluster.status]


def job_id(operation_id: str | None) -> str | None:
    """The job's id as in DWS, of 32 hex digits: an operation's id without its dashes."""
    return None if operation_id is None else operation_id.replace("-", "")


def _snapshot_status(snapshot: Snapshot) -> str:
    """The snapshot's status. DWS has one word for all that cannot be restored; ShowSnapshotDamage lists the losses."""
    if snapshot.damaged and snapshot.status is SnapshotStatus.AVAILABLE:
        return SnapshotStatus.UNAVAILABLE.value
    return snapshot.status.value


def _cluster_status(snapshot: Snapshot) -> str | None:
    """The status of the snapshot's cluster; `None` for a deleted one, since DWS has no status for it."""
    return None if snapshot.cluster_status is ClusterStatus.DELETED else snapshot.cluster_status


def _action_progress(cluster: Cluster) -> Json:
    if cluster.task not in _SHOWN_AS_PROGRESS:
        return {}
    return {str(cluster.task): f"{cluster.progress}%"}


def _failed_reasons(cluster: Cluster) -> Json | None:
    if not cluster.failed_reason:
        return None
    return {"error_code": failure_code(cluster.failed_code), "error_msg": cluster.failed_reason}


def failure_code(ours: str) -> str:
    return _FAILURE.get(ours, _OTHER_FAILURE)


def snapshot_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def epoch_milliseconds(moment: datetime) -> str:
    return str((moment - _EPOCH) // timedelta(milliseconds=1))


def _cluster_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
