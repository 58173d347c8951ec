"""Jobs, live tasks, events, and the inside of a cluster as DWS's JSON."""

import json
import uuid

from stillhouse.api.shapes.render import (
    Json,
    failure_code,
    job_id,
    node_status,
    parameter_group_id,
    snapshot_time,
)
from stillhouse.catalog.captures import Capture, CaptureState
from stillhouse.catalog.events import Event
from stillhouse.catalog.operations import DONE, Operation
from stillhouse.control.reports.jobs import LiveTask
from stillhouse.control.restores.table_requests import Verdict
from stillhouse.domain.cluster import Cluster, Node, Task
from stillhouse.domain.node_type import NODE_TYPE, ZONE
from stillhouse.warehouse.cluster.contents import SchemaSize, Setting

_JOBS = {
    Task.CREATING: "createClusterJob",
    Task.RESTORING: "restoreClusterJob",
    Task.FINE_GRAINED_RESTORING: "restoreTableJob",
    Task.SNAPSHOTTING: "createSnapshotJob",
    Task.REBOOTING: "restartClusterJob",
    Task.STARTING: "startClusterJob",
    Task.STOPPING: "stopClusterJob",
    Task.DELETING: "deleteClusterJob",
    Task.CHANGING: "modifyClusterJob",
}
# By the task, the code of its failure, as `failed_reasons` of its cluster shows it.
_FAILURES = {
    Task.CREATING: "provision.failed",
    Task.RESTORING: "restore.failed",
    Task.FINE_GRAINED_RESTORING: "restore.failed",
    Task.REBOOTING: "restart.failed",
    Task.STARTING: "start.failed",
    Task.STOPPING: "stop.failed",
    Task.DELETING: "delete.failed",
}
_CAPTURES = {
    CaptureState.COPYING: "RUNNING",
    CaptureState.READY: "RUNNING",
    CaptureState.DONE: "SUCCESS",
    CaptureState.FAILED: "FAILED",
    CaptureState.ABANDONED: "FAILED",
}
_VERBS = {"accepted": "was accepted", "skipped": "skipped files", "replaced": "met replaced tables"}
_UNKNOWN_SECONDS = -1
_UNLIMITED = -1
# PostgreSQL's kinds of settings in DWS's words.
_KINDS = {"bool": "boolean", "integer": "integer", "real": "float", "string": "string", "enum": "list"}


def job(operation: Operation) -> Json:
    name, failed = _JOBS[operation.kind], _has_failed(operation)
    code = failure_code(_FAILURES.get(operation.kind, "snapshot.failed"))
    return {
        "job_id": job_id(operation.id),
        "job_name": name,
        "begin_time": snapshot_time(operation.started),
        "end_time": snapshot_time(operation.ended) if operation.ended else None,
        "status": _status(operation, running="RUNNING", done="SUCCESS", failed="FAIL"),
        "failed_code": f"{name}-fail:{code}" if failed else None,
        "failed_detail": f"{code}:{operation.reason}" if failed else None,
        "progress": _percent(operation),
    }


def live_task(task: LiveTask, action_name: str) -> Json:
    operation = task.operation
    steps = [_capture_step(task, capture) for capture in task.captures] or [_whole_step(task)]
    return {
        "id": job_id(operation.id),
        "action_name": action_name,
        "status": _status(operation, running="RUNNING", done="SUCCESS", failed="FAILED"),
        "cluster_name": task.cluster.name,
        "submit_time": operation.started.strftime("%Y-%m-%d %H:%M:%S.0"),
        "items": [{"item_name": _JOBS[operation.kind], "sub_items": steps}],
    }


def event(happened: Event, project: str) -> Json:
    verb = _VERBS.get(happened.outcome, happened.outcome)
    source = f"{happened.kind} {happened.name or happened.id}"
    return {
        # The number alone would tell a project how busy the others are.
        "event_id": str(uuid.uuid5(uuid.UUID(hex=project), str(happened.number))),
        "name": happened.action,
        "display_name": happened.action,
        "category": "management",
        "description": f"{happened.action} of {source} {verb}",
        "severity": "warning" if happened.is_warning else "normal",
        "source_type": "backup" if happened.kind == "snapshot" else "cluster",
        "source_id": happened.id,
        "source_name": happened.name,
        "subject": f"{happened.action} {verb}",
        "context": happened.detail,
        "name_space": "DWS",
        "project_id": project,
        "occur_time": int(happened.time.timestamp() * 1000),
        "status": 1 if happened.failed else 0,
    }


def checked_names(verdict: Verdict) -> Json:
    """The objections, or null if there is no objection, as in DWS."""
    return {
        "database": verdict.database,
        "restore_table_list": [str(name) for name in verdict.missing] or None,
        "target_table_list": [str(name) for name in verdict.existing] or None,
    }


def node(cluster: Cluster, one: Node) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "status": node_status(cluster),
        "sub_status": "NORMAL",
        "spec": NODE_TYPE,
        "inst_create_type": "INST",
        "alias_name": f"{cluster.name}-{one.name}",
        "az_code": ZONE,
    }


def schema(size: SchemaSize, database: str) -> Json:
    """A schema's sizes in bytes. The skew is how far the emptiest node is below the fullest, in percent."""
    nodes = size.on_nodes
    fullest, emptiest = max(nodes, key=lambda name: nodes[name]), min(nodes, key=lambda name: nodes[name])
    skew = 100 * (nodes[fullest] - nodes[emptiest]) / nodes[fullest] if nodes[fullest] else 0.0
    return {
        "schema_name": size.schema,
        "database_name": database,
        "total_value": sum(nodes.values()),
        "perm_space": _UNLIMITED,
        "skew_percent": round(skew, 2),
        "min_value": nodes[emptiest],
        "max_value": nodes[fullest],
        "min_dn": emptiest,
        "max_dn": fullest,
        "dn_num": len(nodes),
    }


def configuration(cluster: Cluster) -> Json:
    return {
        "id": parameter_group_id(cluster),
        "name": "default",
        # The type by which Terraform finds the group of a cluster's settings.
        "type": "hiddenParameterGroup",
        "status": "In-Sync",
        "fail_reason": "",
    }


def parameters(by_role: dict[str, list[Setting]]) -> list[Json]:
    """One entry for each setting, with its value at each role."""
    found: dict[str, list[tuple[str, Setting]]] = {}
    for role, settings in by_role.items():
        for setting in settings:
            found.setdefault(setting.name, []).append((role, setting))
    return [_parameter([*found[name]]) for name in sorted(found)]


def _parameter(at_roles: list[tuple[str, Setting]]) -> Json:
    setting = at_roles[0][1]
    low, high = setting.bounds
    return {
        "name": setting.name,
        "values": [
            {"type": role, "value": one.value, "default_value": one.default} for role, one in at_roles
        ],
        "unit": setting.unit,
        "type": _KINDS[setting.kind],
        "readonly": True,
        "value_range": setting.choices or (f"{low}-{high}" if low and high else ""),
        "restart_required": setting.context == "postmaster",
        "description": setting.description,
    }


def _whole_step(task: LiveTask) -> Json:
    """Return the operation itself as the one step, for tasks without steps by node."""
    operation = task.operation
    return {
        "status": _status(operation, running="RUNNING", done="SUCCESS", failed="FAILED"),
        "detail": _progress_info(task, _percent(operation), operation.reason, size=0),
        "sub_item_name": task.cluster.name,
        "begin_time": snapshot_time(operation.started),
        "end_time": snapshot_time(operation.ended) if operation.ended else None,
        "estimated_time": _UNKNOWN_SECONDS,
    }


def _capture_step(task: LiveTask, capture: Capture) -> Json:
    total = capture.bytes_total
    share = 100 * capture.bytes_done / total if total else 0.0
    if capture.state is CaptureState.DONE:
        share = 100.0
    is_over = capture.state not in (CaptureState.COPYING, CaptureState.READY)
    names = {one.id: one.name for one in task.cluster.nodes}
    return {
        "status": _CAPTURES[capture.state],
        "detail": _progress_info(task, f"{share:.2f}%", capture.error, size=capture.bytes_done),
        "sub_item_name": names.get(capture.node, capture.node),
        "begin_time": snapshot_time(task.operation.started),
        "end_time": snapshot_time(capture.updated) if is_over else None,
        "estimated_time": _UNKNOWN_SECONDS,
    }


def _progress_info(task: LiveTask, progress: str, error: str, *, size: int) -> str:
    """Return JSON text with one value that is JSON text again, as in DWS."""
    operation, snapshot = task.operation, task.snapshot
    info = {
        "actionStartTime": snapshot_time(operation.started),
        "actionEndTime": snapshot_time(operation.ended) if operation.ended else "",
        "actionType": "Backup" if operation.kind is Task.SNAPSHOTTING else "Restore",
        "progress": progress,
        "key": snapshot.backup_key if snapshot else "",
        "backupSize": size,
        "errorMsg": error,
    }
    return json.dumps({"progressInfo": json.dumps(info)})


def _status(operation: Operation, *, running: str, done: str, failed: str) -> str:
    if operation.ended is None:
        return running
    return failed if _has_failed(operation) else done


def _has_failed(operation: Operation) -> bool:
    return operation.ended is not None and operation.outcome != DONE


def _percent(operation: Operation) -> str:
    return "100%" if operation.outcome == DONE else f"{operation.progress}%"
