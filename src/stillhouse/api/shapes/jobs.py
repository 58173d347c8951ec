"""Jobs, live tasks and events: the bodies of their answers, and how they are shown."""

import json
import uuid
from typing import Annotated

from pydantic import AfterValidator

from stillhouse.api.shapes.clusters import failure_code
from stillhouse.api.shapes.values import Answer, Int32, Int64, Json, NullableText, snapshot_time
from stillhouse.control.reports import jobs
from stillhouse.domain.cluster import Task
from stillhouse.domain.reports import events
from stillhouse.domain.reports.captures import Capture, CaptureState
from stillhouse.domain.reports.operations import DONE, Operation

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


def _job_id(text: str) -> str:
    if len(text) != 32 or not all(char in "0123456789abcdefABCDEF" for char in text):
        raise ValueError("must be 32 hexadecimal digits")
    return text.lower()


JobId = Annotated[str, AfterValidator(_job_id)]


class Job(Answer):
    job_id: str
    job_name: str
    begin_time: str
    end_time: NullableText
    status: str
    failed_code: NullableText
    failed_detail: NullableText
    progress: str


class TaskStep(Answer):
    status: str
    detail: str
    sub_item_name: str
    begin_time: NullableText
    end_time: NullableText
    estimated_time: Int32


class TaskItem(Answer):
    item_name: str
    sub_items: list[TaskStep]


class LiveTask(Answer):
    id: str
    action_name: str
    status: str
    cluster_name: str
    submit_time: str
    items: list[TaskItem]


class Event(Answer):
    event_id: str
    name: str
    display_name: str
    category: str
    description: str
    severity: str
    source_type: str
    source_id: str
    source_name: str
    subject: str
    context: str
    name_space: str
    project_id: str
    occur_time: Int64
    status: Int32


class Events(Answer):
    events: list[Event]
    count: Int32


def job_id(operation_id: str | None) -> str | None:
    """The job's id as in DWS, of 32 hex digits: an operation's id without its dashes."""
    return None if operation_id is None else operation_id.replace("-", "")


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
        "failed_detail": f"{code}:{_why(operation)}" if failed else None,
        "progress": _percent(operation),
    }


def live_task(task: jobs.LiveTask, action_name: str) -> Json:
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


def event(happened: events.Event, project: str) -> Json:
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


def _whole_step(task: jobs.LiveTask) -> Json:
    """Return the operation itself as the one step, for tasks without steps by node."""
    operation = task.operation
    return {
        "status": _status(operation, running="RUNNING", done="SUCCESS", failed="FAILED"),
        "detail": _progress_info(task, _percent(operation), _why(operation), size=0),
        "sub_item_name": task.cluster.name,
        "begin_time": snapshot_time(operation.started),
        "end_time": snapshot_time(operation.ended) if operation.ended else None,
        "estimated_time": _UNKNOWN_SECONDS,
    }


def _capture_step(task: jobs.LiveTask, capture: Capture) -> Json:
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


def _progress_info(task: jobs.LiveTask, progress: str, error: str, *, size: int) -> str:
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


def _why(operation: Operation) -> str:
    return operation.failure.line if operation.failure else ""


def _percent(operation: Operation) -> str:
    return "100%" if operation.outcome == DONE else f"{operation.progress}%"
