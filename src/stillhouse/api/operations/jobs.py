"""The operations of the DWS API about jobs, live tasks and events."""

from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render_work
from stillhouse.api.shapes.jobs import Events, Job, LiveTask
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId, Limit, Offset
from stillhouse.api.shapes.request_more import JobId
from stillhouse.control.reports import jobs as work
from stillhouse.domain.cluster import Task
from stillhouse.errors import OperationUnknown

routes = router()

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


@routes.get(
    "/v1.0/{project_id}/job/{job_id}",
    operation_id="ListJobDetails",
    **answers(Job, "The job"),
)
def show_job(control: ControlOf, project_id: str, job_id: JobId) -> Json:
    return render_work.job(work.find_job(control, project_id, job_id))


@routes.get(
    "/v1/{project_id}/clusters/{cluster_id}/actions/{action_name}",
    operation_id="ListClusterActions",
    **answers(LiveTask, "The cluster's last task of this kind, step by step"),
)
def show_task(control: ControlOf, project_id: str, cluster_id: ClusterId, action_name: ActionName) -> Json:
    kind = _TASKS.get(action_name.removesuffix(_FAILED))
    if kind is None:
        raise OperationUnknown("the cluster has had no such task")
    failed = action_name.endswith(_FAILED)
    return render_work.live_task(
        work.live_task(control, project_id, cluster_id, kind, failed=failed), action_name
    )


@routes.get(
    "/v2/{project_id}/events",
    operation_id="ListEvents",
    **answers(Events, "One page of the project's events, the newest first, and their number in all"),
)
def list_events(
    control: ControlOf,
    project_id: str,
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = _MOST_EVENTS,
) -> Json:
    page, total = work.list_events(control, project_id, limit=min(limit, _MOST_EVENTS), skip=offset)
    return {"events": [render_work.event(one, project_id) for one in page], "count": total}
