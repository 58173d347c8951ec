"""The flow that collects a cluster's part of the repository, and the duty that starts it when it is due.

release          begin purges: snapshots that were in the trash for long enough can no longer come back
collect          purge, mark and delete, in a process of its own
forget           remove the rows of purged snapshots
end              free the cluster; other operations could take it all along
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from stillhouse import log
from stillhouse.catalog import clusters, operations, snapshot_sizes, snapshots, trash
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import audited, record
from stillhouse.control.clusters.flows import settle_mark
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.reports.operations import count_operation
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.collection import Collected, Rules
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE, EMPTIED, FAILED, LEFT, YIELDED
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.durable.flows import FlowInterrupted, StepRunner
from stillhouse.errors import ClusterUnknown, InvalidInput, ShuttingDown, StillhouseError
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.objects import deletion_endings, roots
from stillhouse.repository.objects.deletion_endings import Ending
from stillhouse.storage.store import ObjectStore
from stillhouse.workers import process
from stillhouse.workers.jobs import CollectJob, collect_job

Last = tuple[datetime | None, str]
"""When a cluster's last collection ended, `None` if it has not, and its outcome."""

_AT_ONCE = 2  # of all clusters: it is work for quiet hours


def start_due_collections(place: FlowContext, now: datetime) -> list[str]:
    """Begin the collections that are due, a few at a time. Returns the ids of their clusters.

    To be called every few seconds. A cluster that another operation holds is left for a later call.
    """
    control = place.control
    started: list[str] = []
    with control.database.transaction() as transaction:
        last = operations.collections(transaction)
        free = _AT_ONCE - sum(ended is None for ended, _ in last.values())
        for cluster_id in _with_objects(transaction, last):
            if len(started) >= free:
                break
            if _is_due(control, last.get(cluster_id), now) and not operations.active(transaction, cluster_id):
                _begin(control, transaction, cluster_id)
                started.append(cluster_id)
    return started


def request_collection(control: Control, project: str, cluster_id: str) -> None:
    """Begin a collection now, of a deleted cluster too. Raises ClusterBusy while another operation holds it."""
    with audited(control, project, "CollectCluster", f"cluster/{cluster_id}") as transaction:
        _begin(control, transaction, _any_cluster(transaction, project, cluster_id).id)


def draft_collection(control: Control, project: str, cluster_id: str) -> Collected:
    """Return the plan of a collection at this moment, and change nothing. Reads all manifests, which takes a while."""
    if control.vault is None:
        raise InvalidInput("only a running service drafts collections")
    with control.database.reading() as reading:
        cluster = _any_cluster(reading, project, cluster_id)
        before = control.clock.now() - timedelta(days=control.settings.trash_days)
        over = [
            one.id
            for one in trash.trash_of(reading, cluster.id)
            if one.deleted is not None and one.deleted <= before and not one.use
        ]
        job = _job(control, control.vault, reading, cluster, over, dry_run=True)
    try:
        return _conduct(control, job, None) or Collected()
    except FlowInterrupted:
        raise ShuttingDown("the service is shutting down", hint="ask again when it is back") from None


def collect_cluster(place: FlowContext, run: StepRunner, operation_id: str) -> None:
    """Collect a cluster. The operation `operation_id` holds it until another operation wants it."""
    try:
        run.step("release", _release, place, operation_id)
        done = run.step("collect", _collect, place, operation_id)
        run.step("forget", _forget, place, operation_id)
        run.surely("end", _end, place, operation_id, _outcome(done), done=done)
    except StillhouseError as error:
        run.surely("fail", _end, place, operation_id, FAILED, Failure.of(error))


def _with_objects(transaction: Transaction, last: Mapping[str, Last]) -> list[str]:
    """List clusters that may have objects in the repository; those not collected for the longest time come first."""
    left = {cluster for cluster, (_, outcome) in last.items() if outcome != EMPTIED}
    never = datetime.min.replace(tzinfo=UTC)
    order = {
        one: (last.get(one, (None, ""))[0] or never, one)
        for one in clusters.with_snapshots(transaction) | left
    }
    return sorted(order, key=order.__getitem__)


def _is_due(control: Control, last: Last | None, now: datetime) -> bool:
    if last is None:
        return True
    ended, outcome = last
    if ended is None:
        return False
    return outcome == YIELDED or ended + timedelta(hours=control.settings.collect_every_hours) <= now


def _begin(control: Control, transaction: Transaction, cluster_id: str) -> None:
    operation = operations.begin(transaction, cluster_id, Task.COLLECTING, cluster_id, control.clock.now())
    control.flows.enqueue(transaction, "collect_cluster", operation)


def _any_cluster(transaction: Transaction, project: str, cluster_id: str) -> Cluster:
    """Find the project's cluster. It may be deleted: its snapshots may still be there."""
    cluster = clusters.read_cluster(transaction, cluster_id)
    if cluster.project != project:
        raise ClusterUnknown(f"cluster {cluster_id} does not exist")
    return cluster


def _release(place: FlowContext, operation_id: str) -> None:
    """Begin purges, and make the repository's trash marks agree with the rows: a purge goes by both."""
    control = place.control
    place.vault.check_identity()
    with control.database.reading() as reading:
        cluster_id = operations.read(reading, operation_id).cluster_id
    restarted = _begin_anew(place, cluster_id)
    with control.database.transaction() as transaction:
        now = control.clock.now()
        trash.release(transaction, cluster_id, now - timedelta(days=control.settings.trash_days), now)
        deleted = {one.id for one in trash.trash_of(transaction, cluster_id)}
        usable = set(trash.usable(transaction, cluster_id))
    marked = {one.key.rpartition("/")[2] for one in place.vault.store.list(layout.trash_of(cluster_id))}
    for snapshot_id in sorted((deleted & usable) ^ (marked & usable) | restarted):
        settle_mark(place, snapshot_id)


def _begin_anew(place: FlowContext, cluster_id: str) -> set[str]:
    """Restart the deletion of snapshots after an undelete that reached the repository and was then lost, or refused.

    No purge takes these snapshots, and users see them in the trash. Their deletion counts from now, so that a later
    purge takes them.
    """
    control = place.control
    with control.database.reading() as reading:
        usable = set(trash.usable(reading, cluster_id))
        deleted = [one for one in trash.trash_of(reading, cluster_id) if one.id in usable]
    if not deleted:
        return set()
    keys = place.vault.keys(cluster_id)
    ended = [one for one in deleted if _was_brought_back(place.vault.store, keys, one)]
    with control.database.transaction() as transaction:
        for one in ended:
            trash.begin_anew(transaction, one, control.clock.now())
    return {one.id for one in ended}


def _was_brought_back(store: ObjectStore, keys: ClusterKeys, snapshot: Snapshot) -> bool:
    """Tell whether an undelete has ended the deletion of the row's time or the mark's: it ends both, one by one."""
    assert snapshot.deleted is not None, "it is in the trash"
    times = {snapshot.deleted.isoformat(), roots.trashed_since(store, keys, snapshot.id)}
    return any(
        deletion_endings.find(store, keys, snapshot.id, time) is Ending.UNDELETED for time in times if time
    )


def _collect(place: FlowContext, operation_id: str) -> dict[str, Any] | None:
    """Return the work that was done; `None` if the collection gave way to another operation."""
    control = place.control
    with control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, operations.read(reading, operation_id).cluster_id)
        job = _job(control, place.vault, reading, cluster, trash.released(reading, cluster.id), dry_run=False)
    done = _conduct(control, job, operation_id)
    if done is None:
        return None
    log.get("collection").info("collected", cluster=cluster.id, **asdict(done))
    return asdict(done)


def _job(
    control: Control,
    vault: Vault,
    reading: Transaction,
    cluster: Cluster,
    released: list[str],
    *,
    dry_run: bool,
) -> CollectJob:
    settings = control.settings
    rules = Rules(
        grace=timedelta(hours=settings.collect_grace_hours),
        trash=timedelta(days=settings.trash_days),
        released=frozenset(released),
        given_up=cluster.status is ClusterStatus.DELETED,
    )
    known = frozenset(trash.usable(reading, cluster.id))
    return CollectJob(vault.repository, cluster.id, rules, known, dry_run)


class _GaveWayError(Exception):
    """Another operation has taken the cluster."""


def _conduct(control: Control, job: CollectJob, operation_id: str | None) -> Collected | None:
    """Run the collection in its process, and end it as soon as another operation has taken the cluster."""

    watch = control.flows.watch()

    def on_event(event: object) -> None:
        watch(event)
        if operation_id is not None and not _is_held(control, operation_id):
            raise _GaveWayError

    try:
        return process.run(collect_job, job, on_event)
    except _GaveWayError:
        return None


def _is_held(control: Control, operation_id: str) -> bool:
    with control.database.reading() as reading:
        return operations.is_active(reading, operation_id)


def _forget(place: FlowContext, operation_id: str) -> None:
    """Remove rows of snapshots that the repository has purged; one brought back in time is in the trash again."""
    with place.control.database.reading() as reading:
        cluster_id = operations.read(reading, operation_id).cluster_id
        released = [snapshots.read_snapshot(reading, one) for one in trash.released(reading, cluster_id)]
    for snapshot in released:
        # A failed snapshot has no root, and its cluster may not even have keys.
        is_there = snapshot.status is SnapshotStatus.AVAILABLE and _has_root(place, snapshot)
        with place.control.database.transaction() as transaction:
            (trash.take_back if is_there else trash.forget)(transaction, snapshot.id)
            if not is_there and snapshot.status is SnapshotStatus.AVAILABLE:
                snapshot_sizes.forget(transaction, cluster_id)


def _has_root(place: FlowContext, snapshot: Snapshot) -> bool:
    keys = place.vault.keys(snapshot.cluster_id)
    return roots.read(place.vault.store, keys, snapshot.id) is not None


def _end(
    place: FlowContext,
    operation_id: str,
    outcome: str,
    failure: Failure | None = None,
    *,
    done: dict[str, Any] | None = None,
) -> None:
    """End the operation. The objects and bytes that are left of the cluster stay with it, for the metrics."""
    control = place.control
    with control.database.transaction() as transaction:
        now = control.clock.now()
        if not operations.end(transaction, operation_id, now, outcome, failure):
            return
        operation = operations.read(transaction, operation_id)
        if done is not None:
            left = [done["kept"] + done["marked"], done["kept_bytes"] + done["marked_bytes"]]
            operations.add_detail(transaction, operation_id, {LEFT: left})
        if outcome != YIELDED:
            count_operation(operation, now, failure)
        if failure:
            cluster = clusters.read_cluster(transaction, operation.cluster_id)
            log.get("collection").error("collection failed", cluster=cluster.id, reason=failure.line)
            resource = f"cluster/{cluster.id}"
            record(control, transaction, cluster.project, "CollectCluster", resource, "failed", failure.line)


def _outcome(done: dict[str, Any] | None) -> str:
    if done is None:
        return YIELDED
    return EMPTIED if done["keys_gone"] else DONE
