"""Our own operation that reads the audit log of a project."""

from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import extensions
from stillhouse.api.shapes.ours.extensions import AuditRecords
from stillhouse.api.shapes.values import AwareTime, Json, Limit, unless_empty
from stillhouse.control import audit

_MOST = 1000

routes = Router()


@routes.operation("ListAuditRecords", AuditRecords, "The newest records of the project, the newest first")
def list_audit_records(
    control: ControlOf,
    project_id: str,
    since: Annotated[AwareTime | None, unless_empty(None)] = None,
    limit: Annotated[Limit, Query()] = 100,
) -> Json:
    """At most 1,000 at once: older ones are found by `stillhouse audit list --data` on the service's host."""
    found = audit.list_records(control, project_id, since=since, limit=min(limit, _MOST))
    return {"records": [extensions.audit_record(one) for one in found], "count": len(found)}
