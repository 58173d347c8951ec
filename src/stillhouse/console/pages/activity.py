"""Work on clusters, events and the audit: the newest first, with a filter for each."""

from typing import Any

from stillhouse.console.visit import Page, Visit
from stillhouse.control import audit
from stillhouse.control.reports import jobs, operations
from stillhouse.errors import InvalidInput

_MOST = 100


def page(visit: Visit) -> Page:
    kinds = {"work": _work, "events": _events, "audit": _audit}
    kind = visit.query.get("show", "work")
    if kind not in kinds:
        raise InvalidInput("show is one of work, events, audit")
    allowed = {
        "work": visit.may("ListOperations"),
        "events": visit.may("ListEvents"),
        "audit": visit.may("ListAuditRecords"),
    }
    return Page("activity.html", {"kind": kind, "allowed": allowed} | kinds[kind](visit))


def _work(visit: Visit) -> dict[str, Any]:
    visit.demand("ListOperations")
    cluster_id, only_failed = visit.query.get("cluster") or None, "failed" in visit.query
    found = operations.list_operations(
        visit.control, visit.project, cluster_id=cluster_id, only_failed=only_failed, limit=_MOST
    )
    known = operations.look_at_clusters(visit.control, visit.project, is_asking=False)
    names = {one.cluster.id: one.cluster.name for one in known}
    return {"work": found, "clusters": names, "cluster_id": cluster_id, "only_failed": only_failed}


def _events(visit: Visit) -> dict[str, Any]:
    visit.demand("ListEvents")
    number = visit.page_number()
    found, total = jobs.list_events(visit.control, visit.project, limit=_MOST, skip=(number - 1) * _MOST)
    return {"events": found, "number": number, "pages": max(1, -(-total // _MOST))}


def _audit(visit: Visit) -> dict[str, Any]:
    visit.demand("ListAuditRecords")
    return {"records": audit.list_records(visit.control, visit.project, limit=_MOST)}
