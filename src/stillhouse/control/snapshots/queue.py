"""The queue for a cluster: snapshots wait for each other, first in, first out; a deletion waits for one at most.

The transaction that ends a snapshot hands its cluster to the next one, so nothing comes in between, and a crash leaves
either both done or neither. A waiting snapshot is two rows: it has no thread, no flow and no pin before its turn. A
deletion cancels all snapshots and holds the cluster from then on. Its flow begins when the snapshot at work has
removed its traces from the nodes and the repository.
"""

from datetime import datetime
from functools import partial

from stillhouse import log, metrics
from stillhouse.catalog import clusters, operations, snapshot_queue, snapshots
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import record
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import attempt
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.reports.failure import CANCELLED, Failure
from stillhouse.domain.reports.operations import FAILED
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import Cancelled, ClusterBusy, ShuttingDown, StateForbids

AFTER = "after_snapshot"
"""Key in the detail of a deletion's operation: the snapshot that its flow waits for. Empty once the flow has begun."""

_BEING_DELETED = "the cluster is being deleted"


def take_or_wait(control: Control, transaction: Transaction, cluster: Cluster, snapshot: Snapshot) -> None:
    """Begin a snapshot of a free cluster, or let it wait behind those before it. Raises ClusterBusy if too many do.

    The cluster is locked, and held by nothing but a snapshot.
    """
    ahead = len(snapshot_queue.waiting(transaction, cluster.id))
    if cluster.task is None and not ahead:
        take(control, transaction, snapshot)
        return
    most = control.settings.snapshot_queue
    if ahead >= most:
        full = f", and {ahead} snapshots wait, of {most} that may" if most else ""
        raise ClusterBusy(
            f"cluster {cluster.id} is busy: {Task.SNAPSHOTTING}{full}",
            hint="ask again when one of them has ended",
        )
    snapshots.insert_snapshot(transaction, snapshot)
    snapshot_queue.add(transaction, cluster.id, snapshot.id)
    start_next(control, transaction, cluster.id)


def take(control: Control, transaction: Transaction, snapshot: Snapshot) -> None:
    """Make the snapshot's row, the operation that holds its cluster, and its flow, or nothing. Raises ClusterBusy."""
    operations.begin(transaction, snapshot.cluster_id, Task.SNAPSHOTTING, snapshot.id, snapshot.started)
    snapshots.insert_snapshot(transaction, snapshot)
    control.flows.enqueue(transaction, "create_snapshot", snapshot.id)


def start_next(control: Control, transaction: Transaction, cluster_id: str) -> None:
    """Give the cluster, if it is free, to the snapshot that waits longest; the cluster is locked.

    If the cluster cannot be captured, for example because it is stopped, all waiting snapshots fail. A deletion that
    has waited begins.
    """
    _start_deletion(control, transaction, cluster_id)
    cluster = clusters.read_cluster(transaction, cluster_id)
    waiting = [] if cluster.task else snapshot_queue.waiting(transaction, cluster_id)
    if not waiting:
        return
    if obstacle := _obstacle(cluster):
        failure = Failure(
            StateForbids.code, f"{obstacle} when its turn came", "take it again when the cluster is at work"
        )
        fail_waiting(control, transaction, cluster_id, failure)
        return
    try:
        control.flows.enqueue(transaction, "create_snapshot", waiting[0])
    except ShuttingDown:
        return  # nothing is written yet: it goes on waiting, and has its turn when the service is back
    now = control.clock.now()
    snapshot_queue.remove(transaction, waiting[0])
    snapshots.set_started(transaction, waiting[0], now)
    operations.begin(transaction, cluster_id, Task.SNAPSHOTTING, waiting[0], now)
    log.get("snapshot").info("snapshot has its turn", snapshot=waiting[0], cluster=cluster_id)


def _start_deletion(control: Control, transaction: Transaction, cluster_id: str) -> None:
    operation = operations.active(transaction, cluster_id)
    if operation is None or operation.kind is not Task.DELETING or not operation.detail.get(AFTER):
        return
    snapshot = snapshots.find_any(transaction, operation.detail[AFTER])
    if snapshot is not None and snapshot.status is SnapshotStatus.CREATING:
        return
    try:
        control.flows.enqueue(transaction, "delete_cluster", cluster_id)
    except ShuttingDown:
        return  # it goes on waiting, and begins when the service is back
    operations.add_detail(transaction, operation.id, {AFTER: ""})
    log.get("cluster").info("deletion begins", cluster=cluster_id)


def start_waiting(place: FlowContext, now: datetime) -> None:
    """Begin snapshots and deletions that wait for nothing any more. They are left by a service that was killed."""
    control = place.control
    with control.database.reading() as reading:
        free = snapshot_queue.held_up_by_nothing(reading)
        deleted = [
            one.cluster_id for one in operations.all_active(reading, Task.DELETING) if one.detail.get(AFTER)
        ]

    def look_at(cluster_id: str) -> None:
        with control.database.transaction() as transaction:
            clusters.lock_cluster(transaction, cluster_id)
            start_next(control, transaction, cluster_id)

    for cluster_id in [*free, *deleted]:
        attempt(f"what waits for cluster {cluster_id}", partial(look_at, cluster_id))


def leave_queue(control: Control, transaction: Transaction, snapshot: Snapshot, failure: Failure) -> bool:
    """Fail a snapshot that waits; its cluster is locked. Returns False, and changes nothing, if it does not wait."""
    waited = snapshot_queue.remove(transaction, snapshot.id)
    if waited:
        fail(control, transaction, snapshot, failure)
    return waited


def call_off(control: Control, transaction: Transaction, cluster_id: str) -> str:
    """Fail all snapshots that wait for the locked cluster, and take it from the one at work, for a deletion.

    Returns the id of the snapshot at work, or "". It stays CREATING until its flow, which stops at its next step, has
    removed its traces.
    """
    unborn = Failure(CANCELLED, f"{_BEING_DELETED}, and the snapshot's turn had not come")
    fail_waiting(control, transaction, cluster_id, unborn)
    operation = operations.active(transaction, cluster_id)
    if operation is None or operation.kind is not Task.SNAPSHOTTING:
        return ""
    now = control.clock.now()
    # The snapshot's row is locked before the operation's, in the same order as by reports of progress.
    snapshots.request_cancel(transaction, operation.subject_id, now)
    control.bells.ring_at_commit(transaction, operation.subject_id)
    operations.end(transaction, operation.id, now, FAILED, Failure(CANCELLED, _BEING_DELETED))
    return operation.subject_id


def check_not_cancelled(reading: Transaction, snapshot_id: str) -> int:
    """Raise Cancelled if the snapshot is to be given up; return its progress in percent.

    Flows ask this often, so it reads little.
    """
    is_cancelled, progress = snapshots.look_at(reading, snapshot_id)
    if is_cancelled:
        raise cancellation(snapshots.read_snapshot(reading, snapshot_id))
    return progress


def cancellation(snapshot: Snapshot) -> Cancelled:
    """Return the error that ends a snapshot's flow when its `cancel_requested` is set."""
    why = f": {_BEING_DELETED}" if snapshot.cluster_status is ClusterStatus.DELETING else ""
    return Cancelled(f"the snapshot was cancelled{why}")


def fail_waiting(control: Control, transaction: Transaction, cluster_id: str, failure: Failure) -> None:
    """Fail all that wait for a cluster, which is locked."""
    for snapshot_id in snapshot_queue.waiting(transaction, cluster_id):
        leave_queue(control, transaction, snapshots.read_snapshot(transaction, snapshot_id), failure)


def fail(control: Control, transaction: Transaction, snapshot: Snapshot, failure: Failure) -> None:
    """Turn the snapshot from CREATING to UNAVAILABLE; its row, its cluster, the audit and the log say why."""
    now, outcome = control.clock.now(), "cancelled" if failure.is_cancellation else "failed"
    metrics.count_snapshot(snapshot.cluster_id, outcome)
    if not failure.is_cancellation:
        seconds = (now - snapshot.started).total_seconds()
        metrics.count_ended(snapshot.cluster_id, "snapshot", seconds, failure.code)
    said = log.get("snapshot")
    tell = said.info if failure.is_cancellation else said.error
    tell(
        f"snapshot {outcome}",
        snapshot=snapshot.id,
        cluster=snapshot.cluster_id,
        code=failure.code,
        reason=failure.line,
    )
    snapshots.mark_unavailable(transaction, snapshot.id, now, failure)
    # Clients of DWS read there why their snapshot has ended, also if it was cancelled.
    kind = CANCELLED if failure.is_cancellation else "snapshot.failed"
    clusters.note_failure(transaction, snapshot.cluster_id, now, code=kind, reason=failure.line)
    resource = f"cluster/{snapshot.cluster_id}/snapshot/{snapshot.id}"
    record(control, transaction, snapshot.project, "CreateSnapshot", resource, outcome, failure.line)


def _obstacle(cluster: Cluster) -> str:
    if cluster.status is not ClusterStatus.AVAILABLE:
        return f"the cluster was in state {cluster.status}"
    return "the cluster was stopped" if cluster.stopped else ""
