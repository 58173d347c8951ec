"""The flow that copies a snapshot: it writes a second root over the same manifests, and nothing else.

copy             write the root, under the copy's id; then the row
fail             write the tombstone; then the row, with the reason
"""

from dataclasses import replace
from itertools import chain

from stillhouse import log, metrics
from stillhouse.catalog import snapshots
from stillhouse.control.audit import record
from stillhouse.control.flow_context import FlowContext
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import Cancelled, InvalidInput, RepositoryDamaged, StillhouseError, Unavailable
from stillhouse.repository.objects import roots
from stillhouse.repository.upkeep.reach import manifests, reached

# One try after each pause: a store that restarts is back after a while.
_PAUSES_SECONDS = (0.0, 1.0, 5.0)


def copy_snapshot(place: FlowContext, run: StepRunner, copy_id: str) -> None:
    failure: Failure | None = None
    for pause in _PAUSES_SECONDS:
        try:
            run.step("copy", _copy, place, copy_id, pause)
            return
        except StillhouseError as error:
            failure = Failure.of(error)
            if not error.retryable:
                break
    assert failure is not None, "each try has ended in a failure"
    run.surely("fail", _fail, place, copy_id, failure)


def _copy(place: FlowContext, copy_id: str, pause_seconds: float) -> None:
    """Write the copy's root. Neither retention nor the cluster's deletion removes the source meanwhile."""
    place.control.clock.sleep(pause_seconds)
    copy = _read(place, copy_id)
    if copy.cancel_requested:
        raise Cancelled("the copy was cancelled")
    keys = place.vault.keys(copy.cluster_id)
    source = roots.read(place.vault.store, keys, copy.copied_from)
    if source is None:
        raise RepositoryDamaged(f"snapshot {copy.copied_from} is not in the repository")
    root = replace(
        source,
        snapshot=copy.id,
        name=copy.name,
        description=copy.description,
        type=copy.type,
        stored_bytes=0,
        copied_from=copy.copied_from,
    )
    below = chain.from_iterable(reached(place.vault.store, keys, stored) for stored in manifests(root))
    if roots.publish(place.vault.store, keys, root, below) is None:
        raise RepositoryDamaged(f"a tombstone holds the place of the copy {copy_id}")
    _mark_copied(place, copy_id)


def _fail(place: FlowContext, copy_id: str, failure: Failure) -> None:
    """Close the root's key with a tombstone, then the row. A root that is there shows that the copy succeeded."""
    copy = _read(place, copy_id)
    if copy.status is not SnapshotStatus.CREATING:
        return
    now = place.control.clock.now()
    try:
        keys = place.vault.keys(copy.cluster_id)
        root = roots.bury(place.vault.store, keys, copy_id, 0, failure.line, now.isoformat())
    except (Unavailable, InvalidInput, RepositoryDamaged) as error:
        # No other process writes for this copy any more, so the row may say so without the tombstone.
        root = None
        failure = replace(
            failure, reason=f"{failure.reason}; nor can the repository be told: {error.message}"
        )
    if root is not None:
        _mark_copied(place, copy_id)
        return
    log.get("snapshot").error("copy failed", snapshot=copy_id, source=copy.copied_from, reason=failure.line)
    if not failure.is_cancellation:
        seconds = (now - copy.started).total_seconds()
        metrics.count_ended(copy.cluster_id, "copy", seconds, failure.code)
    with place.control.database.transaction() as transaction:
        snapshots.mark_unavailable(transaction, copy_id, now, failure)
        resource = f"snapshot/{copy.copied_from}/copy/{copy_id}"
        outcome = "cancelled" if failure.is_cancellation else "failed"
        record(place.control, transaction, copy.project, "CopySnapshot", resource, outcome, failure.line)


def _read(place: FlowContext, copy_id: str) -> Snapshot:
    with place.control.database.reading() as reading:
        return snapshots.read_snapshot(reading, copy_id)


def _mark_copied(place: FlowContext, copy_id: str) -> None:
    with place.control.database.transaction() as transaction:
        snapshots.mark_copied(transaction, copy_id, place.control.clock.now())
