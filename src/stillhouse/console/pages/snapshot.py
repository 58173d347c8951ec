"""One snapshot: its facts, its progress while it is taken, its latest proof, and the actions that it allows."""

from collections.abc import Mapping
from typing import Any

from stillhouse.console.visit import Page, Visit
from stillhouse.control.clusters.addresses import default_port
from stillhouse.control.proofs import requests as proofs
from stillhouse.control.reports import progress
from stillhouse.control.snapshots import fates
from stillhouse.control.snapshots.fates import Fated
from stillhouse.control.upkeep import findings
from stillhouse.domain.proof import ProofState
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType

PARTS = {"now": "parts/snapshot_now.html", "actions": "parts/snapshot_actions.html"}


def page(visit: Visit) -> Page:
    return Page("snapshot.html", live(visit))


def live(visit: Visit) -> Mapping[str, Any]:
    control, project, snapshot_id = visit.control, visit.project, visit.named["snapshot"]
    fated = fates.find(control, project, snapshot_id)
    is_there = fated.snapshot.deleted is None
    is_taken = is_there and fated.snapshot.status is SnapshotStatus.CREATING
    proof = (
        proofs.latest_proof(control, project, snapshot_id) if is_there and visit.may("ShowProof") else None
    )
    is_damaged = is_there and fated.snapshot.damaged and visit.may("ShowSnapshotDamage")
    return {
        "fated": fated,
        "shown": progress.of_snapshot(control, project, snapshot_id) if is_taken else None,
        "proof": proof,
        "damage": findings.damage_of(control, project, snapshot_id)[1] if is_damaged else None,
        "can": _possible(visit, fated, is_proving=proof is not None and proof.state is ProofState.RUNNING),
        "port": default_port(control),
    }


def report(visit: Visit) -> Page:
    """Show the report of the latest proof, to be printed."""
    fated = fates.find(visit.control, visit.project, visit.named["snapshot"])
    proof = proofs.latest_proof(visit.control, visit.project, visit.named["snapshot"])
    return Page("proof.html", {"fated": fated, "proof": proof, "now": visit.control.clock.now()})


def _possible(visit: Visit, fated: Fated, *, is_proving: bool) -> set[str]:
    """Return the actions that the snapshot's state and the caller's policies leave; `control` decides in the end."""
    snapshot = fated.snapshot
    is_good = snapshot.status is SnapshotStatus.AVAILABLE
    if snapshot.deleted is not None:
        by_state = {"UndeleteSnapshot"} if is_good else set()
    elif snapshot.status is SnapshotStatus.CREATING:
        by_state = {"CancelSnapshot"}
    else:
        by_state = {"RestoreCluster"} if is_good else set()
        if is_good and not is_proving:
            by_state.add("ProveSnapshot")
        if is_good and snapshot.type is SnapshotType.AUTO:
            by_state.add("CopySnapshot")
        if snapshot.type is SnapshotType.MANUAL:
            by_state.add("DeleteSnapshot")
    return {operation for operation in by_state if visit.may(operation)}
