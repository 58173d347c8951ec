"""Whose turn it is on a cluster: snapshots wait for each other, first in, first out, and for nothing else.

The transaction that ends a snapshot hands its cluster to the next one, so nothing comes in between, and a crash leaves
either both done or neither. A waiting snapshot is two rows: no thread, no flow and no pin are its own before its turn.
"""

from datetime import datetime
from functools import partial

from stillhouse import log, metrics
from stillhouse.catalog import clusters, operations, snapshot_queue, snapshots
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import record
from stillhouse.control.context import Control
from stillhouse.control.timetable import attempt
from stillhouse.control.workplace import Workplace
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.snapshot import Snapshot
from stillhouse.errors import ClusterBusy, ShuttingDown


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
    """The snapshot's row, the operation that holds its cluster, and its flow, all or none. Raises ClusterBusy."""
    operations.begin(transaction, snapshot.cluster_id, Task.SNAPSHOTTING, snapshot.id, snapshot.started)
    snapshots.insert_snapshot(transaction, snapshot)
    control.flows.enqueue(transaction, "create_snapshot", snapshot.id)


def start_next(control: Control, transaction: Transaction, cluster_id: str) -> None:
    """Give the cluster, if it is free, to the snapshot that waits longest; the cluster is locked.

    Where it cannot be captured, as one that is stopped, all that wait for it fail.
    """
    cluster = clusters.read_cluster(transaction, cluster_id)
    waiting = [] if cluster.task else snapshot_queue.waiting(transaction, cluster_id)
    if not waiting:
        return
    if obstacle := _obstacle(cluster):
        fail_waiting(control, transaction, cluster_id, f"{obstacle} when its turn came")
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


def start_waiting(place: Workplace, now: datetime) -> None:
    """Give free clusters to those that wait: a service that ended before it could is the reason that there are any."""
    control = place.control
    with control.database.reading() as reading:
        metrics.show_waiting(snapshot_queue.lengths(reading))
        free = snapshot_queue.held_up_by_nothing(reading)

    def look_at(cluster_id: str) -> None:
        with control.database.transaction() as transaction:
            clusters.lock_cluster(transaction, cluster_id)
            start_next(control, transaction, cluster_id)

    for cluster_id in free:
        attempt(f"snapshots that wait for {cluster_id}", partial(look_at, cluster_id))


def leave_queue(control: Control, transaction: Transaction, snapshot: Snapshot, reason: str) -> bool:
    """Fail a snapshot that waits. False, and nothing changed, if it does not; its cluster is locked."""
    waited = snapshot_queue.remove(transaction, snapshot.id)
    if waited:
        fail(control, transaction, snapshot, reason)
    return waited


def fail_waiting(control: Control, transaction: Transaction, cluster_id: str, reason: str) -> None:
    """Fail all that wait for a cluster, which is locked."""
    for snapshot_id in snapshot_queue.waiting(transaction, cluster_id):
        leave_queue(control, transaction, snapshots.read_snapshot(transaction, snapshot_id), reason)


def fail(control: Control, transaction: Transaction, snapshot: Snapshot, reason: str) -> None:
    """CREATING becomes UNAVAILABLE; its cluster, the audit and the log say why."""
    now = control.clock.now()
    metrics.count_snapshot("failed")
    log.get("snapshot").error(
        "snapshot failed", snapshot=snapshot.id, cluster=snapshot.cluster_id, reason=reason
    )
    snapshots.mark_unavailable(transaction, snapshot.id, now, reason)
    clusters.note_failure(transaction, snapshot.cluster_id, now, code="snapshot.failed", reason=reason)
    resource = f"cluster/{snapshot.cluster_id}/snapshot/{snapshot.id}"
    record(control, transaction, snapshot.project, "CreateSnapshot", resource, "failed", reason)


def _obstacle(cluster: Cluster) -> str:
    if cluster.status is not ClusterStatus.AVAILABLE:
        return f"the cluster was in state {cluster.status}"
    return "the cluster was stopped" if cluster.stopped else ""
