"""The forms that change something. Each asks `control` for one operation, and returns the page to go to then."""

from stillhouse.console.visit import Visit
from stillhouse.control.clusters import requests as clusters
from stillhouse.control.clusters.requests import RestoreRequest
from stillhouse.control.proofs import requests as proofs
from stillhouse.control.snapshots import fates, requests, trash
from stillhouse.errors import InvalidInput


def take_snapshot(visit: Visit) -> str:
    snapshot_id = requests.request_snapshot(
        visit.control,
        visit.project,
        name=visit.form.get("name", "").strip(),
        cluster_id=visit.named["cluster"],
        description=visit.form.get("description", "").strip(),
    )
    return f"/console/snapshots/{snapshot_id}"


def restore(visit: Visit) -> str:
    wanted = RestoreRequest(name=visit.form.get("name", "").strip(), port=_port(visit))
    cluster_id = clusters.request_restore(visit.control, visit.project, visit.named["snapshot"], wanted)
    return f"/console/clusters/{cluster_id}"


def copy(visit: Visit) -> str:
    copy_id = requests.request_copy(
        visit.control, visit.project, visit.named["snapshot"], name=visit.form.get("name", "").strip()
    )
    return f"/console/snapshots/{copy_id}"


def prove(visit: Visit) -> str:
    proofs.request_proof(visit.control, visit.project, visit.named["snapshot"])
    return _snapshot(visit, "proving")


def cancel(visit: Visit) -> str:
    requests.request_cancel(visit.control, visit.project, visit.named["snapshot"])
    return _snapshot(visit, "cancelled")


def delete(visit: Visit) -> str:
    """Delete a snapshot, whose name must have been typed."""
    name = fates.find(visit.control, visit.project, visit.named["snapshot"]).snapshot.name
    if visit.form.get("confirm", "").strip() != name:
        raise InvalidInput("The name that was typed is not the snapshot's: nothing was deleted.")
    requests.delete_snapshot(visit.control, visit.project, visit.named["snapshot"])
    return _snapshot(visit, "deleted")


def undelete(visit: Visit) -> str:
    trash.undelete_snapshot(visit.control, visit.project, visit.named["snapshot"])
    return _snapshot(visit, "undeleted")


def _snapshot(visit: Visit, done: str) -> str:
    return f"/console/snapshots/{visit.named['snapshot']}?done={done}"


def _port(visit: Visit) -> int:
    text = visit.form.get("port", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidInput("a port is a number")
    return int(text)
