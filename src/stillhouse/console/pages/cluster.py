"""One cluster: its nodes, its work at this moment, its snapshots page by page, and the next runs of its policies."""

from collections.abc import Mapping
from typing import Any

from stillhouse.console import plots
from stillhouse.console.pages import snapshots
from stillhouse.console.visit import Page, Visit
from stillhouse.control.clusters.addresses import as_reached
from stillhouse.control.reports import operations, progress
from stillhouse.control.schedule import preview, snapshot_policies
from stillhouse.control.snapshots import requests

PARTS = {"now": "parts/cluster_now.html", "snapshots": "parts/snapshots.html", "plots": "parts/plots.html"}
_RUNS = 10
_IN_PLOTS = 200


def page(visit: Visit) -> Page:
    values = _now(visit, is_asking=True) | _snapshots(visit) | _policies(visit)
    cluster = values["condition"].cluster
    suggested = f"{cluster.name[:48]}-{visit.control.clock.now():%Y%m%d-%H%M}"
    return Page("cluster.html", values | {"suggested": visit.form.get("name", suggested)})


def live(visit: Visit) -> Mapping[str, Any]:
    return _now(visit, is_asking=False) | _snapshots(visit)


def _now(visit: Visit, *, is_asking: bool) -> dict[str, Any]:
    condition = operations.look_at_cluster(
        visit.control, visit.project, visit.named["cluster"], is_asking=is_asking
    )
    reached = as_reached(visit.control, condition.cluster)
    shown = progress.of_cluster(visit.control, visit.project, condition.cluster.id)
    return {"condition": condition, "reached": reached, "shown": shown}


def _snapshots(visit: Visit) -> dict[str, Any]:
    if not visit.may("ListClusterSnapshots"):
        return {"listed": None, "time_line": None, "growth": None}
    cluster_id = visit.named["cluster"]
    latest, _ = requests.list_cluster_snapshots(visit.control, visit.project, cluster_id, limit=_IN_PLOTS)
    return {
        "listed": snapshots.listed(visit, cluster_id),
        "time_line": plots.time_line(latest),
        "growth": plots.growth(latest),
    }


def _policies(visit: Visit) -> dict[str, Any]:
    if not visit.may("ListSnapshotPolicy", "ShowPolicyPreview"):
        return {"policies": None}
    settings, found = snapshot_policies.list_policies(visit.control, visit.project, visit.named["cluster"])
    runs = preview.next_runs(visit.control, visit.project, visit.named["cluster"], _RUNS)
    return {"policies": found, "settings": settings, "runs": runs}
