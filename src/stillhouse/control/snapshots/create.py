"""The flow that takes a snapshot: begin, capture all nodes, cut, publish. Every step may run again after a crash.

begin            start a new attempt, with its pin; remove the leftovers of dead attempts from the nodes
capture_node     one child per node, in a process of its own: base, WAL, manifest
cut              cut, when every base is complete
publish          write the root, which commits; remove the pin; write the row; give the next snapshot its turn
fail             write the tombstone; remove the pin; write the row, with the reason; give the next one its turn
"""

from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import Any

from stillhouse import log, metrics
from stillhouse.catalog import captures, clusters, snapshots
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import record
from stillhouse.control.flow_context import FlowContext, snapshot_and_cluster
from stillhouse.control.reaping import reap
from stillhouse.control.snapshots import commit
from stillhouse.control.snapshots.cut_wait import CutWait, check_deadline
from stillhouse.control.snapshots.forecast import expect, foretell
from stillhouse.control.snapshots.pinning import beat, pin_attempt, unpin
from stillhouse.control.snapshots.queue import check_not_cancelled, fail, start_next
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import Cut, Snapshot, SnapshotStatus
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import (
    AttemptDead,
    Cancelled,
    CaptureInterrupted,
    CutFailed,
    InvalidInput,
    RepositoryDamaged,
    StillhouseError,
    Unavailable,
)
from stillhouse.repository.check.recheck import note_met
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import pins, presence, roots, scrubs
from stillhouse.repository.objects.presence import Present
from stillhouse.repository.upkeep.reach import reached
from stillhouse.warehouse.cut.cut import take_cut
from stillhouse.warehouse.cut.witness import HANDOVER_SECONDS, Witnesses

# One attempt after each pause: a node or a store that restarts is back after a while.
_PAUSES_SECONDS = (0.0, 1.0, 5.0)
_POLL_SECONDS = 0.1
# A capture that is ready, done or has failed rings, and so does a cancellation. The looks in between show the progress.
_LOOK_SECONDS = 2.0
_SHARE_OF_COPY = 95  # percent of the progress; the cut and the steps after it are short


def create_snapshot(place: FlowContext, run: StepRunner, snapshot_id: str) -> None:
    failure: dict[str, Any] | None = None
    for pause in _PAUSES_SECONDS:
        try:
            attempt = run.step("begin", _begin, place, snapshot_id, pause)
            nodes = run.step("nodes", _nodes, place, snapshot_id)
            children = [run.start_child("capture_node", f"{snapshot_id}/{attempt}/{node}") for node in nodes]
            no_cut = run.step("cut", _cut_when_ready, place, snapshot_id, attempt)
            results = [_outcome(run, child) for child in children]
            failure = _first_cause(no_cut, results)
            if failure is None:
                captured = [result["captured"] for result in results]
                run.surely("publish", _publish, place, snapshot_id, attempt, captured)
                place.control.bells.forget(snapshot_id)
                return
        except StillhouseError as error:
            failure = _described(error)
        if not failure["retryable"]:
            break
    assert failure is not None, "each attempt has ended in a failure"
    # A record of an earlier version has the hint in the reason.
    kept = Failure(failure["code"], failure["reason"], failure.get("hint", ""))
    run.surely("fail", _fail, place, snapshot_id, kept)
    place.control.bells.forget(snapshot_id)


def _described(error: StillhouseError) -> dict[str, Any]:
    """Describe an error. The cut's deadline is the whole snapshot's: once it has passed, no attempt has time left."""
    may_pass = error.retryable and not isinstance(error, CutFailed)
    failure = Failure.of(error)
    return {"reason": failure.reason, "hint": failure.hint, "retryable": may_pass, "code": failure.code}


def _outcome(run: StepRunner, child: str) -> dict[str, Any]:
    try:
        return {"captured": run.wait(child)}
    except StillhouseError as error:
        return {"failed": _described(error)}


def _first_cause(no_cut: dict[str, Any] | None, results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return why the attempt failed, if it did. Reasons that the next attempt would meet as well come first.

    A capture that was given up because another failed gives no reason of its own. A failure in a cancelled snapshot
    is no reason either: its cluster may be about to be deleted.
    """
    if no_cut and no_cut["code"] == Cancelled.code:
        return no_cut
    failed = [result["failed"] for result in results if "failed" in result]
    own = [failure for failure in failed if failure["code"] != AttemptDead.code]
    own.sort(key=lambda failure: bool(failure["retryable"]))
    return next(iter([*own, *([no_cut] if no_cut else []), *failed]), None)


def _nodes(place: FlowContext, snapshot_id: str) -> list[str]:
    return [node.id for node in snapshot_and_cluster(place, snapshot_id)[1].nodes]


def _begin(place: FlowContext, snapshot_id: str, pause_seconds: float) -> int:
    """Begin a new attempt and return its number. Earlier attempts learn that they are dead when they next report."""
    clock = place.control.clock
    latest = clock.monotonic() + pause_seconds
    while clock.monotonic() < latest:
        _check_going_on(place, snapshot_id)
        clock.sleep(_POLL_SECONDS)
    cluster = _check_wanted(place, snapshot_id)
    check_deadline(place.control, snapshot_id)
    foretell(place.control, snapshot_id, cluster)
    with place.control.database.transaction() as transaction:
        nodes = [node.id for node in cluster.nodes]
        attempt = captures.begin_attempt(transaction, snapshot_id, nodes, place.control.clock.now())
    reap(place, cluster)
    pin_attempt(place, snapshot_id, cluster, attempt)
    return attempt


def _check_wanted(place: FlowContext, snapshot_id: str) -> Cluster:
    """Return the snapshot's cluster. Raises Cancelled, or the error that ends a flow at shutdown."""
    _check_going_on(place, snapshot_id)
    return snapshot_and_cluster(place, snapshot_id)[1]


def _check_going_on(place: FlowContext, snapshot_id: str) -> None:
    place.control.flows.check_running()
    with place.control.database.reading() as reading:
        check_not_cancelled(reading, snapshot_id)


def _cut_when_ready(place: FlowContext, snapshot_id: str, attempt: int) -> dict[str, Any] | None:
    """Wait for every base, then cut. On a failure, give up all captures and return its description."""
    control = place.control
    _, cluster = snapshot_and_cluster(place, snapshot_id)
    last_beat, heard = control.clock.monotonic(), 0
    begun = last_beat
    try:
        while not _all_ready(place, snapshot_id, attempt):
            control.flows.check_running()
            heard = control.bells.wait(snapshot_id, heard, _LOOK_SECONDS)
            if control.clock.monotonic() - last_beat >= pins.BEAT_SECONDS:
                beat(place, snapshot_id, cluster.id, attempt)
                last_beat = control.clock.monotonic()
        copied = control.clock.monotonic()
        with Witnesses() as witnesses:
            cut = _take_cut(place, snapshot_id, attempt, cluster, witnesses)
            metrics.count_cut(cluster.id, cut.pause_seconds, cut.tries)
            metrics.observe_phase(cluster.id, "copy", copied - begun)
            metrics.observe_phase(cluster.id, "cut", control.clock.monotonic() - copied)
            with control.database.transaction() as transaction:
                captures.save_cut(transaction, snapshot_id, attempt, cut)
                snapshots.set_progress(transaction, snapshot_id, _SHARE_OF_COPY + 2, control.clock.now())
            control.bells.ring(snapshot_id)
            _hand_over(place, snapshot_id, attempt, cut)
    except StillhouseError as error:
        with control.database.transaction() as transaction:
            captures.abandon(transaction, snapshot_id, control.clock.now())
        control.bells.ring(snapshot_id)
        return _described(error)
    return None


def _take_cut(
    place: FlowContext, snapshot_id: str, attempt: int, cluster: Cluster, witnesses: Witnesses
) -> Cut:
    control, waiting = place.control, CutWait(place.control, snapshot_id)

    def should_stop() -> bool:
        waiting.note()
        return _is_called_off(place, snapshot_id, attempt)

    try:
        cut = take_cut(
            cluster,
            place.slot(snapshot_id, attempt),
            deadline_seconds=control.settings.cut_deadline_seconds,
            waited_seconds=waiting.before,
            clock=control.clock,
            should_stop=should_stop,
            witnesses=witnesses if control.settings.fingerprint_seconds > 0 else None,
            tell=lambda expected: expect(control, snapshot_id, cluster, expected),
        )
    except CutFailed:
        waiting.use_up()
        raise
    waiting.note()
    return cut


def _hand_over(place: FlowContext, snapshot_id: str, attempt: int, cut: Cut) -> None:
    """Keep the cut's witnesses for a little while, until the captures have ended: by then they read on their own."""
    clock, heard = place.control.clock, 0
    latest = clock.monotonic() + (HANDOVER_SECONDS if any(p.witness.snapshots for p in cut.points) else 0)
    while clock.monotonic() < latest:
        place.control.flows.check_running()
        with place.control.database.reading() as reading:
            rows = captures.list_captures(reading, snapshot_id, attempt)
        if not any(row.state is CaptureState.READY for row in rows):
            break
        heard = place.control.bells.wait(snapshot_id, heard, _LOOK_SECONDS)


def _all_ready(place: FlowContext, snapshot_id: str, attempt: int) -> bool:
    """Tell whether the cut may be taken, and record the progress. Raises for the first capture that failed.

    It is asked often, so it reads little, and writes only when the percentage has changed.
    """
    with place.control.database.reading() as reading:
        shown = check_not_cancelled(reading, snapshot_id)
        rows = captures.list_captures(reading, snapshot_id, attempt)
    done, total = sum(row.bytes_done for row in rows), sum(row.bytes_total for row in rows)
    percent = done * _SHARE_OF_COPY // total if total else 0
    if percent > shown:
        with place.control.database.transaction() as transaction:
            snapshots.set_progress(transaction, snapshot_id, percent, place.control.clock.now())
    for row in rows:
        if row.state is CaptureState.FAILED:
            raise CaptureInterrupted(row.error)
        if row.state is CaptureState.ABANDONED:
            raise AttemptDead(
                f"attempt {attempt} was given up by a service that ended before it could say why"
            )
    return all(row.state is CaptureState.READY for row in rows)


def _is_called_off(place: FlowContext, snapshot_id: str, attempt: int) -> bool:
    """Tell whether the attempt is cancelled. Raises the error of a failed capture, which is no cancellation."""
    place.control.flows.check_running()
    return not _all_ready(place, snapshot_id, attempt)


def _publish(place: FlowContext, snapshot_id: str, attempt: int, captured: list[dict[str, Any]]) -> None:
    """Create the root, then switch the row. After a crash between the two, the root is read again."""
    _check_wanted(place, snapshot_id)
    snapshot, cluster = snapshot_and_cluster(place, snapshot_id)
    with place.control.database.reading() as reading:
        cut = captures.read_cut(reading, snapshot_id, attempt)
    assert cut is not None, "nodes end only after the cut was recorded"
    begun = place.control.clock.monotonic()
    keys = place.vault.keys_or_new(cluster.id)
    named = [Stored(**result["manifest"]) for result in captured]
    now = place.control.clock.now()
    try:
        below = list(chain.from_iterable(reached(place.vault.store, keys, stored) for stored in named))
        present = presence.find(place.vault.store, (key for key, _ in below))
        overdue = len(_overdue_packs(place, keys, present))
        root = commit.root_of(snapshot, cluster, attempt, cut, captured, overdue_packs=overdue, now=now)
        published = roots.publish(place.vault.store, keys, root, below, present)
    except RepositoryDamaged as met:
        note_met(place.vault.store, keys, named, met, place.control.clock.now())
        raise CaptureInterrupted(str(met), hint="another attempt reads it anew from the node") from met
    if published is None:
        raise AttemptDead("the snapshot was closed by a tombstone before it could be published")
    unpin(place, snapshot_id, cluster.id)
    metrics.observe_phase(cluster.id, "publish", place.control.clock.monotonic() - begun)
    _mark_available(place, snapshot, published)


def _overdue_packs(place: FlowContext, keys: ClusterKeys, present: Present) -> tuple[str, ...]:
    """Return packs below the root that were not read whole for too long: a snapshot uses its base's packs unread."""
    folder = layout.packs_of(str(keys.cluster))
    written = {
        key.removeprefix(folder): one.modified for key, one in present.items() if key.startswith(folder)
    }
    max_age = timedelta(days=place.control.settings.scrub_max_age_days)
    return scrubs.overdue(place.vault.store, keys, written, place.control.clock.now(), max_age)


def _mark_available(place: FlowContext, snapshot: Snapshot, root: Root) -> None:
    snapshot_id, cluster_id, now = snapshot.id, snapshot.cluster_id, place.control.clock.now()
    with place.control.database.transaction() as transaction:
        clusters.lock_cluster(transaction, cluster_id)
        is_first = snapshots.mark_available(
            transaction, snapshot_id, now, plain_bytes=root.plain_bytes, stored_bytes=root.stored_bytes
        )
        if is_first:
            _record_warnings(place, transaction, cluster_id, root)
        clusters.note_failure(transaction, cluster_id, now, code="", reason="")
        for node in root.nodes:
            clusters.set_lineage(transaction, node.node_id, node.lineage)
        start_next(place.control, transaction, cluster_id)
    if is_first:
        metrics.count_snapshot(cluster_id, "available")
        metrics.count_ended(cluster_id, "snapshot", (now - snapshot.started).total_seconds())
    log.get("snapshot").info(
        "snapshot available",
        snapshot=snapshot_id,
        stored_bytes=root.stored_bytes,
        scrub_overdue_packs=root.scrub_overdue_packs or 0,
    )


def _record_warnings(place: FlowContext, transaction: Transaction, cluster_id: str, root: Root) -> None:
    """Record the parts missing in a snapshot that succeeded, and the events in the cluster while it was taken."""
    resource = f"cluster/{cluster_id}/snapshot/{root.snapshot}"
    for node in root.nodes:
        warnings = {}
        if count := node.skipped:
            warnings["skipped"] = f"{count} not the account's own, as {node.skipped_first}"
        if count := node.replaced:
            warnings["replaced"] = f"{count} without a fingerprint, as {node.replaced_first}"
        for outcome, what in warnings.items():
            detail = f"node {node.name}: {what}"
            record(place.control, transaction, root.project, "CreateSnapshot", resource, outcome, detail)


def _fail(place: FlowContext, snapshot_id: str, failure: Failure) -> None:
    """Close the root's key with a tombstone, then the row. A root that is there shows that the snapshot succeeded."""
    snapshot, cluster = snapshot_and_cluster(place, snapshot_id)
    if snapshot.status is not SnapshotStatus.CREATING:
        return
    now = place.control.clock.now()
    with place.control.database.transaction() as transaction:
        captures.abandon(transaction, snapshot_id, now)
    try:
        keys = place.vault.keys_or_new(cluster.id)
        root = roots.bury(place.vault.store, keys, snapshot_id, 0, failure.line, now.isoformat())
    except (Unavailable, InvalidInput, RepositoryDamaged) as error:
        # The store is down, closed to our KEK, or lacks the cluster's keys. No other process writes for this snapshot
        # any more, so the row may say so without the tombstone.
        root = None
        failure = replace(failure, reason=f"{failure.reason}; nor can the repository be told: {error}")
    else:
        unpin(place, snapshot_id, cluster.id)
    if root is not None:
        _mark_available(place, snapshot, root)
        return
    reap(place, cluster)
    with place.control.database.transaction() as transaction:
        clusters.lock_cluster(transaction, cluster.id)
        fail(place.control, transaction, snapshot, failure)
        start_next(place.control, transaction, cluster.id)
