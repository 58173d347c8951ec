"""The flow that captures one node of a snapshot in a process of its own, and reports to the catalog."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from stillhouse import log, metrics
from stillhouse.catalog import captures
from stillhouse.control.flow_context import FlowContext, snapshot_and_cluster
from stillhouse.control.snapshots.pinning import is_pinned, newest_root
from stillhouse.control.snapshots.queue import check_not_cancelled
from stillhouse.domain.base_choice import Offer, offer_base
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.progress import Pace
from stillhouse.domain.reports.captures import Capture, CaptureState
from stillhouse.domain.snapshot import Cut
from stillhouse.domain.throttle import Care, Checkpoint, IoPriority
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import AttemptDead, StillhouseError
from stillhouse.node.capture.task import Captured, CaptureTask
from stillhouse.postgres.sessions import size
from stillhouse.repository.format.sealed import Stored
from stillhouse.workers.jobs import CaptureJob, capture_job
from stillhouse.workers.process import Done, Progress, Ready, Saved, Worker

# How soon a bell is heard while the process says nothing, and the process while no bell rings.
_POLL_SECONDS = 0.25
# How often the rows are looked at where no bell rings. All that they tell to a capture is also rung.
_LOOK_SECONDS = 5.0
_REPORT_SECONDS = 0.5


def capture_node(place: FlowContext, run: StepRunner, subject: str) -> dict[str, Any]:
    """Capture a node, in one step: a service that dies in it leaves nothing to go on from."""
    snapshot_id, number, node_id = subject.split("/")
    attempt = int(number)
    try:
        return run.step("capture", _capture_node, place, snapshot_id, attempt, node_id)
    except StillhouseError as error:
        # Record every failure, even a bug's: the snapshot's flow waits for this node's row, not for this flow.
        run.surely("note failure", _note_failure, place, snapshot_id, attempt, node_id, str(error))
        raise


def _capture_node(place: FlowContext, snapshot_id: str, attempt: int, node_id: str) -> dict[str, Any]:
    snapshot, cluster = snapshot_and_cluster(place, snapshot_id)
    node = _node(cluster, node_id)
    report = _Report(place, snapshot_id, attempt, node_id)
    expected = size.of_databases(node)
    report.begin(expected)
    offer = _offer(place, cluster, node, snapshot_id, attempt, is_full=snapshot.is_full)
    task = _task(place, cluster, node, snapshot_id, attempt, offer, report.parts(), expected)
    with place.copy_turns.turn(snapshot_id, report.go_on) as end_turn:
        begun = time.monotonic()
        captured = _conduct(place, task, report, end_turn)
    metrics.count_captured(
        cluster.id,
        captured.files,
        captured.pages_stored,
        {
            "live": captured.plain_bytes,
            "read": captured.read_bytes,
            "packed": captured.packed_bytes,
            "stored": captured.stored_bytes,
        },
        time.monotonic() - begun,
        is_whole=captured.base is None,
    )
    log.get("capture").info(
        "node captured",
        snapshot=snapshot_id,
        node=node.name,
        base=captured.base,
        whole_because=captured.whole_because,
        read_bytes=captured.read_bytes,
        stored_bytes=captured.stored_bytes,
        files=captured.files,
    )
    if captured.skipped:
        log.get("capture").warning(
            "files are not the account's own and were skipped",
            snapshot=snapshot_id,
            node=node.name,
            count=captured.skipped,
            skipped=captured.skipped_first,
        )
    if captured.replaced:
        log.get("capture").warning(
            "tables were replaced while they were read, and have no fingerprint",
            snapshot=snapshot_id,
            node=node.name,
            count=captured.replaced,
            first=captured.replaced_first,
        )
    return {**asdict(captured), "depth": offer.depth if captured.base else 0}


def _offer(
    place: FlowContext, cluster: Cluster, node: Node, snapshot_id: str, attempt: int, *, is_full: bool
) -> Offer:
    """Offer bases to the capture. The attempt's pin keeps them from being collected meanwhile."""
    keys = place.vault.keys_or_new(cluster.id)
    newest = newest_root(place, keys, cluster.id)
    offer = offer_base(
        None if newest is None else newest.nodes,
        node.id,
        node.lineage,
        whole_every=place.control.settings.whole_every,
        is_full=is_full,
    )
    if offer.manifest and not is_pinned(place, keys, snapshot_id, attempt, offer.manifest[0]):
        return Offer(None, 0, "the snapshot to build on was deleted meanwhile")
    return offer


def _note_failure(place: FlowContext, snapshot_id: str, attempt: int, node_id: str, reason: str) -> None:
    _, cluster = snapshot_and_cluster(place, snapshot_id)
    log.get("capture").warning(
        "capture failed",
        snapshot=snapshot_id,
        node=_node(cluster, node_id).name,
        attempt=attempt,
        reason=reason,
    )
    _Report(place, snapshot_id, attempt, node_id).fail(reason)


def _node(cluster: Cluster, node_id: str) -> Node:
    return next(node for node in cluster.nodes if node.id == node_id)


def _task(
    place: FlowContext,
    cluster: Cluster,
    node: Node,
    snapshot_id: str,
    attempt: int,
    offer: Offer,
    parts: tuple[Stored, ...],
    expected_bytes: int,
) -> CaptureTask:
    settings = place.control.settings
    return CaptureTask(
        node=node,
        cluster=cluster.id,
        snapshot=snapshot_id,
        attempt=attempt,
        slot=place.slot(snapshot_id, attempt),
        workers=settings.capture_workers,
        wal_retention_bytes=settings.wal_retention_bytes,
        care=Care(
            settings.capture_bytes_per_second,
            IoPriority(settings.capture_io_priority),
            Checkpoint(settings.capture_checkpoint),
        ),
        base=Stored(*offer.manifest) if offer.manifest else None,
        whole_because=offer.why,
        reads_all=offer.reads_all,
        parts=parts,
        expected_bytes=expected_bytes,
        fingerprint_seconds=settings.fingerprint_seconds,
    )


def _conduct(
    place: FlowContext, task: CaptureTask, report: "_Report", end_turn: Callable[[], None]
) -> Captured:
    """Run the capture in its process: pass on its progress, tell it of the cut, stop it when it is cancelled.

    A node that is copied gives its turn to the next, since all must be copied before the cut.
    """
    worker: Worker[Captured] = Worker(capture_job, CaptureJob(place.vault.repository, task))
    try:
        ready = told = False
        heard, looked = 0, 0.0
        while True:
            rung = heard
            if ready and not told:
                rung = report.wait_for_bell(heard, _POLL_SECONDS)
            event = worker.poll(0 if ready and not told else _POLL_SECONDS)
            if isinstance(event, Done):
                report.state(CaptureState.DONE)
                result: Captured = event.result
                return result
            if isinstance(event, Progress):
                report.progress(event.done, event.total)
            if isinstance(event, Saved):
                report.saved(event.part)
            if isinstance(event, Ready):
                report.state(CaptureState.READY)
                ready = True
                end_turn()
            report.check_running()
            if rung == heard and time.monotonic() - looked < _LOOK_SECONDS and not isinstance(event, Ready):
                continue
            heard, looked = rung, time.monotonic()
            if (cut := report.look(wants_cut=ready and not told)) is not None:
                worker.say(next(point for point in cut.points if point.node == task.node.id))
                told = True
    finally:
        worker.end()


class _Report:
    """One capture's row in the catalog, and the state of its snapshot there."""

    def __init__(self, place: FlowContext, snapshot_id: str, attempt: int, node_id: str) -> None:
        self._place, self._key = place, (snapshot_id, node_id, attempt)
        self._total, self._last, self._pace = 1, 0.0, Pace()
        self._came_further, self._done = place.control.flows.pulse(), 0

    def begin(self, total: int) -> None:
        """Begin the row. Raises AttemptDead if a service that has died had begun this attempt."""
        self._total = max(total, 1)
        with self._place.control.database.transaction() as transaction:
            row = self._row(captures.list_captures(transaction, self._key[0], self._key[2]))
            if row.bytes_total or row.state is not CaptureState.COPYING:
                raise AttemptDead(
                    f"attempt {self._key[2]} was given up before: another node's capture failed, or the service ended"
                )
            captures.set_bytes(transaction, *self._key, self._now(), done=0, total=self._total)

    def progress(self, done: int, total: int) -> None:
        """Report progress. `total` is the copy's estimate of all bytes; it changes as files are looked at."""
        if done > self._done:  # a capture that waits for its cut reports too
            self._done = done
            self._came_further()
        now = time.monotonic()
        self._total = max(total, done, 1)
        self._pace.add(now, done)
        if now - self._last < _REPORT_SECONDS:
            return
        self._last, rate = now, self._pace.bytes_per_second
        with self._place.control.database.transaction() as transaction:
            captures.set_bytes(
                transaction, *self._key, self._now(), done=done, total=self._total, per_second=rate
            )

    def saved(self, part: Stored) -> None:
        self._came_further()
        with self._place.control.database.transaction() as transaction:
            captures.add_part(transaction, *self._key, (part.id, part.size, part.hash), self._now())

    def parts(self) -> tuple[Stored, ...]:
        """Return the parts that earlier attempts have saved."""
        with self._place.control.database.reading() as reading:
            return tuple(Stored(*part) for part in captures.parts_of(reading, *self._key[:2]))

    def state(self, state: CaptureState) -> None:
        self._came_further()
        with self._place.control.database.transaction() as transaction:
            if state is CaptureState.READY:
                captures.set_bytes(transaction, *self._key, self._now(), done=self._total, total=self._total)
            captures.set_state(transaction, *self._key, state, self._now())
        self._place.control.bells.ring(self._key[0])

    def fail(self, reason: str) -> None:
        with self._place.control.database.transaction() as transaction:
            row = self._row(captures.list_captures(transaction, self._key[0], self._key[2]))
            if row.state is not CaptureState.ABANDONED:
                captures.set_state(transaction, *self._key, CaptureState.FAILED, self._now(), error=reason)
        self._place.control.bells.ring(self._key[0])

    def go_on(self) -> None:
        """Raise what ends a capture that waits for its turn: cancellation, another attempt, or the service's end."""
        self._came_further()
        self.check_running()
        self.look(wants_cut=False)

    def check_running(self) -> None:
        """Raise the error that ends flows if the service is shutting down."""
        self._place.control.flows.check_running()

    def wait_for_bell(self, heard: int, seconds: float) -> int:
        return self._place.control.bells.wait(self._key[0], heard, seconds)

    def look(self, *, wants_cut: bool) -> Cut | None:
        """Check that the capture may go on, and return the cut if it is wanted and there.

        Raises Cancelled or AttemptDead. It is asked often, so it reads little.
        """
        with self._place.control.database.reading() as reading:
            check_not_cancelled(reading, self._key[0])
            if captures.state_of(reading, *self._key) is CaptureState.ABANDONED:
                raise AttemptDead(f"attempt {self._key[2]} was given up")
            return captures.read_cut(reading, self._key[0], self._key[2]) if wants_cut else None

    def _row(self, rows: list[Capture]) -> Capture:
        return next(row for row in rows if row.node == self._key[1])

    def _now(self) -> Any:
        return self._place.control.clock.now()
