"""Clusters and snapshots as DWS's JSON."""

import uuid
from datetime import datetime

from stillhouse.control.trash import Trashed
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, Task
from stillhouse.domain.snapshot import Snapshot
from stillhouse.repository.collecting import Collected

Json = dict[str, object]

_KB = 1024
_GB = 1024**3
_INT32_MAX = 2**31 - 1
# Clients only show it. It is ours to count, as DWS's is not PostgreSQL's either.
_VERSION = "1.0.0"

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

# DWS's words for what went wrong last, by our code; it has none for a failed snapshot.
_FAILURE = {
    "provision.failed": "DWS.6000",
    "restart.failed": "DWS.6002",
    "restore.failed": "DWS.6003",
    "delete.failed": "DWS.6014",
}
_OTHER_FAILURE = "DWS.9999"

# The tasks DWS has a word for in `action_progress` and in `task_status`; the rest show in `status` only.
_SHOWN_AS_PROGRESS = frozenset({Task.CREATING, Task.RESTORING, Task.SNAPSHOTTING, Task.REBOOTING})
_SHOWN_AS_TASK = _SHOWN_AS_PROGRESS - {Task.CREATING}


def snapshot_in_project_list(snapshot: Snapshot) -> Json:
    """An item of ListSnapshots, where `total_backup_size` is a 64-bit number."""
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "description": snapshot.description,
        "started": _snapshot_time(snapshot.started),
        "finished": _snapshot_time(snapshot.finished) if snapshot.finished else "",
        "updated": _snapshot_time(snapshot.updated),
        "size": round(snapshot.plain_bytes / _GB, 6),
        "status": snapshot.status.value,
        "type": snapshot.type.value,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "datastore": {"type": "dws", "version": _VERSION},
        "bak_expected_start_time": None,
        "bak_keep_day": None,
        "bak_period": None,
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
        "cluster_status": None,
        "cluster_task_status": None,
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
        "version": _VERSION,
        "created": _cluster_time(cluster.created),
        "updated": _cluster_time(cluster.updated),
        "port": cluster.port,
        "endpoints": [_endpoint(cluster.coordinator)] if cluster.nodes else [],
        "nodes": _nodes(cluster),
        "tags": facts.get("tags") or [],
        "user_name": cluster.user_name,
        "number_of_node": cluster.number_of_node,
        "recent_event": 0,
        "availability_zone": facts.get("availability_zone") or "",
        "enterprise_project_id": facts.get("enterprise_project_id") or "0",
        "node_type": facts.get("node_type") or "",
        "vpc_id": facts.get("vpc_id") or "",
        "subnet_id": facts.get("subnet_id") or "",
        "security_group_id": facts.get("security_group_id") or "",
        "public_ip": facts.get("public_ip") or {"public_bind_type": "not_use", "eip_id": ""},
        "public_endpoints": [],
        "action_progress": _action_progress(cluster),
        "sub_status": "NORMAL",
        "task_status": cluster.task.value if cluster.task in _SHOWN_AS_TASK else "",
        "failed_reasons": _failed_reasons(cluster),
    }


def cluster_detail(cluster: Cluster) -> Json:
    return cluster_in_list(cluster) | {
        "node_type_id": cluster.facts.get("node_type") or "",
        "private_ip": [node.host for node in cluster.nodes],
        "parameter_group": None,
        "maintain_window": None,
        "resize_info": None,
        "elb": None,
    }


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
    """DWS counts `number_of_node` machines; here those are the data nodes, or the one server there is.

    A node that does not exist yet is listed under an id that stays the same between two calls.
    """
    status = _NODE_STATUS[cluster.status]
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


def _action_progress(cluster: Cluster) -> Json:
    if cluster.task not in _SHOWN_AS_PROGRESS:
        return {}
    return {str(cluster.task): f"{cluster.progress}%"}


def _failed_reasons(cluster: Cluster) -> Json | None:
    if not cluster.failed_reason:
        return None
    code = _FAILURE.get(cluster.failed_code, _OTHER_FAILURE)
    return {"error_code": code, "error_msg": cluster.failed_reason}


def _snapshot_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _cluster_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
