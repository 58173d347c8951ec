"""The project's clusters: the state of each node, the last good snapshot, and when the next one is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stillhouse.console.visit import Page, Visit
from stillhouse.control.reports import operations
from stillhouse.control.reports.operations import Condition
from stillhouse.control.schedule import preview
from stillhouse.control.snapshots import requests
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus

PARTS = {"clusters": "parts/clusters.html"}


@dataclass(frozen=True)
class Row:
    """`last_good` and `next_due` are `None` if there is none, or if the caller may not know."""

    condition: Condition
    last_good: Snapshot | None
    next_due: datetime | None


def page(visit: Visit) -> Page:
    return Page("clusters.html", _values(visit, is_asking=True))


def live(visit: Visit) -> Mapping[str, Any]:
    return _values(visit, is_asking=False)


def _values(visit: Visit, *, is_asking: bool) -> dict[str, Any]:
    found = operations.look_at_clusters(visit.control, visit.project, is_asking=is_asking)
    return {"rows": [Row(one, _last_good(visit, one), _next_due(visit, one)) for one in found]}


def _last_good(visit: Visit, condition: Condition) -> Snapshot | None:
    if not visit.may("ListSnapshots"):
        return None
    found, _ = requests.list_page(
        visit.control,
        visit.project,
        cluster_id=condition.cluster.id,
        status=SnapshotStatus.AVAILABLE,
        limit=1,
    )
    return found[0] if found else None


def _next_due(visit: Visit, condition: Condition) -> datetime | None:
    if not visit.may("ShowPolicyPreview"):
        return None
    runs = preview.next_runs(visit.control, visit.project, condition.cluster.id, 1)
    return runs[0].due if runs else None
