"""Requests for proofs of snapshots, and the schedules that make them by themselves."""

from collections.abc import Sequence
from datetime import datetime

from stillhouse.catalog import snapshot_lists
from stillhouse.catalog.checks import proofs
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.lookup import known_cluster, known_snapshot, usable_snapshot
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.proof import Proof, ProofSchedule, ProofState, due_for_proof
from stillhouse.errors import InvalidInput, SnapshotUnknown, StateForbids

_MOST_DAYS = 3650


def request_proof(control: Control, project: str, snapshot_id: str) -> Proof:
    """Accept the proof of a snapshot; the flow `prove_snapshot` carries it out. Meanwhile nothing deletes it."""
    with audited(control, project, "ProveSnapshot", f"snapshot/{snapshot_id}") as transaction:
        _, snapshot = usable_snapshot(transaction, project, snapshot_id)
        proof = Proof(
            id=new_uuid(),
            snapshot_id=snapshot.id,
            state=ProofState.RUNNING,
            access_key=control.caller.access_key,
            progress=0,
            started=control.clock.now(),
        )
        proofs.begin(transaction, proof)
        control.flows.enqueue(transaction, "prove_snapshot", proof.id)
    return proof


def latest_proof(control: Control, project: str, snapshot_id: str) -> Proof | None:
    """Return the latest proof; `None` for a snapshot that was never proved."""
    with control.database.reading() as reading:
        return proofs.latest(reading, known_snapshot(reading, project, snapshot_id).id)


def latest_states(control: Control, project: str, snapshot_ids: Sequence[str]) -> dict[str, ProofState]:
    """Return the state of the latest proof of each of the project's snapshots that ever had one."""
    with control.database.reading() as reading:
        return proofs.latest_states(reading, project, snapshot_ids)


def set_schedule(control: Control, project: str, cluster_id: str, schedule: ProofSchedule) -> None:
    with audited(control, project, "SetProofSchedule", f"cluster/{cluster_id}") as transaction:
        if not 0 <= schedule.every_days <= _MOST_DAYS:
            raise InvalidInput(f"every_days must be between 0 (never) and {_MOST_DAYS}")
        cluster = known_cluster(transaction, project, cluster_id)
        proofs.set_schedule(transaction, cluster.id, schedule, control.clock.now())


def get_schedule(control: Control, project: str, cluster_id: str) -> ProofSchedule:
    with control.database.reading() as reading:
        return proofs.schedule_of(reading, known_cluster(reading, project, cluster_id).id)


def start_due_proofs(place: FlowContext, now: datetime) -> list[str]:
    """Start the proofs that are due, one at a time on this host. Returns the ids of their snapshots.

    A timer calls this every few seconds: a proof that cannot begin now begins at a later call.
    """
    control, due = place.control, []
    with control.database.reading() as reading:
        if proofs.any_running(reading):
            return []
        for cluster_id, schedule in proofs.schedules(reading):
            found = {one.id: one for one in snapshot_lists.available_of_cluster(reading, cluster_id)}
            snapshot_id = due_for_proof(schedule, [*found], proofs.last_begun(reading, cluster_id), now)
            if snapshot_id is not None:
                due.append(found[snapshot_id])
    for snapshot in due:
        try:
            request_proof(control, snapshot.project, snapshot.id)
        except (SnapshotUnknown, StateForbids):
            continue  # the snapshot was deleted meanwhile, or somebody else asked for its proof
        return [snapshot.id]
    return []
