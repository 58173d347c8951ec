"""The repository as far as it is the project's: its size by cluster, known damage, and the trash."""

from stillhouse.console.visit import Page, Visit
from stillhouse.control.clusters import requests as clusters
from stillhouse.control.reports import capacity
from stillhouse.control.schedule import snapshot_policies
from stillhouse.control.snapshots import trash
from stillhouse.control.upkeep import findings

_MOST_TRASH = 200


def page(visit: Visit) -> Page:
    control, project = visit.control, visit.project
    sizes = []
    if visit.may("ListClusterStates", "ListSnapshotStatistics"):
        sizes = [
            (one, snapshot_policies.storage_statistics(control, project, one.id).used)
            for one in clusters.list_clusters(control, project)
        ]
    deleted = trash.list_trash(control, project)
    touched, known = findings.list_damage(control, project)
    return Page(
        "repository.html",
        {
            "sizes": sizes,
            "trash": deleted[:_MOST_TRASH],
            "trash_total": len(deleted),
            "damaged": touched,
            "objects": [one for said in known.values() for one in said.objects],
            "host": capacity.measure(control),
        },
    )
