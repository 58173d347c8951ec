"""The operations of the DWS API about jobs, live tasks and events."""

from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import jobs
from stillhouse.api.shapes.jobs import Events, Job, JobId, LiveTask
from stillhouse.api.shapes.values import ClusterId, Json, Limit, Offset
from stillhouse.control.reports import jobs as work
from stillhouse.domain.cluster import Task
from stillhouse.errors import OperationUnknown

routes = Router()

_FAILED = "_FAILED"
# The actions of DWS that happen here.
_TASKS = {one.value: one for one in (Task.SNAPSHOTTING, Task.RESTORING, Task.FINE_GRAINED_RESTORING)}
_MOST_EVENTS = 1000

ActionName = Literal[
    "GROWING",
    "RESIZE_FAILURE",
    "RESTORING",
    "RESTORING_FAILED",
    "SNAPSHOTTING",
    "SNAPSHOTTING_FAILED",
    "FINE_GRAINED_RESTORING",
    "FINE_GRAINED_RESTORING_FAILED",
]


@routes.operation("ListJobDetails", Job, "The job")
def show_job(control: ControlOf, project_id: str, job_id: JobId) -> Json:
    return jobs.job(work.find_job(control, project_id, job_id))


@routes.operation("ListClusterActions", LiveTask, "The cluster's last task of this kind, step by step")
def show_task(control: ControlOf, project_id: str, cluster_id: ClusterId, action_name: ActionName) -> Json:
    kind = _TASKS.get(action_name.removesuffix(_FAILED))
    if kind is None:
        raise OperationUnknown("the cluster has had no such task")
    failed = action_name.endswith(_FAILED)
    return jobs.live_task(work.live_task(control, project_id, cluster_id, kind, failed=failed), action_name)


@routes.operation(
    "ListEvents", Events, "One page of the project's events, the newest first, and their number in all"
)
def list_events(
    control: ControlOf,
    project_id: str,
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = _MOST_EVENTS,
) -> Json:
    page, total = work.list_events(control, project_id, limit=min(limit, _MOST_EVENTS), skip=offset)
    return {"events": [jobs.event(one, project_id) for one in page], "count": total}
