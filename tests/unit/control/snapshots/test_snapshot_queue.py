"""Snapshots of a busy cluster wait for their turn: first in, first out, and a crash anywhere loses or doubles none."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any, cast

import pytest
from sqlalchemy import text

from stillhouse.catalog import captures, clusters, operations, snapshot_queue, snapshots
from stillhouse.catalog.access import audit_log
from stillhouse.control.clusters.requests import get_cluster, restart_cluster, stop_cluster
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.reports.monitoring import Monitor
from stillhouse.control.snapshots.queue import start_next, start_waiting
from stillhouse.control.snapshots.requests import (
    delete_snapshot,
    get_snapshot,
    list_snapshots,
    request_cancel,
)
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import ClusterBusy, NameTaken, ShuttingDown, StateForbids
from support.control.requests_bed import (
    PROJECT,
    available_cluster,
    end_operation,
    enqueued,
    finish_snapshot,
    request_snapshots,
    requests_bed,
)


@pytest.fixture
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(getattr(request, "param", "sqlite"), tmp_path) as bed:
        yield bed


# Where rows are locked on the one and writers follow each other on the other.
on_both = pytest.mark.parametrize("control", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def cluster(control: Control) -> str:
    return available_cluster(control)


def begun(control: Control) -> list[str]:
    """The snapshots whose flow was started, in that order."""
    with control.database.reading() as reading:
        query = text("SELECT subject_id FROM sh_operations WHERE kind = 'SNAPSHOTTING' ORDER BY started")
        held = list(reading.execute(query).scalars())
    assert sorted(subject for flow, subject in enqueued(control) if flow == "create_snapshot") == sorted(held)
    return held


def waiting(control: Control, cluster: str) -> list[str]:
    with control.database.reading() as reading:
        return snapshot_queue.waiting(reading, cluster)


def tick(control: Control) -> None:
    """What the timer does, and a service that starts."""
    nothing = cast(Any, None)
    start_waiting(FlowContext(control, nothing, nothing, "0" * 8), control.clock.now())


def lose_the_turn(control: Control, snapshot: str) -> None:
    """A snapshot ends, and the service with it before anyone else had its turn, as at a shutdown."""
    with control.database.transaction() as transaction:
        snapshots.mark_available(transaction, snapshot, control.clock.now(), plain_bytes=1, stored_bytes=1)


# --- who may wait -----------------------------------------------------------------------------------


@on_both
def test_snapshots_are_taken_in_the_order_of_their_requests(control: Control, cluster: str) -> None:
    asked = request_snapshots(control, cluster, "first", "second", "third", "fourth")
    assert begun(control) == asked[:1]
    for number, snapshot in enumerate(asked, 1):
        assert waiting(control, cluster) == asked[number:]
        finish_snapshot(control, snapshot)
        assert begun(control) == asked[: number + 1]
    assert get_cluster(control, PROJECT, cluster).task is None


def test_the_order_is_that_of_acceptance_also_when_the_clock_is_set_back(
    control: Control, cluster: str
) -> None:
    asked = request_snapshots(control, cluster, "first", "second")
    cast(Any, control.clock).time -= timedelta(hours=2)
    asked += request_snapshots(control, cluster, "third")
    finish_snapshot(control, asked[0])
    with control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None and operation.subject_id == asked[1]


def test_the_ninth_that_would_wait_is_refused_and_leaves_nothing(control: Control, cluster: str) -> None:
    asked = request_snapshots(control, cluster, "running", *(f"waiting-{n}" for n in range(8)))
    with pytest.raises(ClusterBusy, match="SNAPSHOTTING, and 8 snapshots wait, of 8 that may"):
        request_snapshots(control, cluster, "one-too-many")
    assert len(list_snapshots(control, PROJECT)) == 9
    finish_snapshot(control, asked[0])
    request_snapshots(control, cluster, "one-too-many")


def test_each_cluster_has_a_queue_of_its_own(control: Control, cluster: str) -> None:
    other = available_cluster(control, "other")
    request_snapshots(control, cluster, "running", *(f"waiting-{n}" for n in range(8)))
    (theirs,) = request_snapshots(control, other, "theirs")
    assert theirs in begun(control)


@on_both
def test_six_requests_at_once_are_all_accepted_and_one_is_begun(control: Control, cluster: str) -> None:
    together = Barrier(6)

    def request(number: int) -> str:
        together.wait()
        return request_snapshots(control, cluster, f"at-once-{number}")[0]

    with ThreadPoolExecutor(6) as pool:
        asked = set(pool.map(request, range(6)))
    for _ in range(6):
        (running,) = begun(control)[-1:]
        finish_snapshot(control, running)
    assert set(begun(control)) == asked
    assert len(begun(control)) == 6


def test_a_name_is_taken_from_the_acceptance_on(control: Control, cluster: str) -> None:
    request_snapshots(control, cluster, "running", "waiting")
    for taken in ("running", "WAITING"):
        with pytest.raises(NameTaken):
            request_snapshots(control, cluster, taken)
    assert len(waiting(control, cluster)) == 1


@pytest.mark.parametrize("act", [restart_cluster, stop_cluster])
def test_nothing_but_a_snapshot_waits_and_nothing_waits_for_anything_but_snapshots(
    control: Control, cluster: str, act: Any
) -> None:
    (running, _) = request_snapshots(control, cluster, "running", "waiting")
    with pytest.raises(ClusterBusy):
        act(control, PROJECT, cluster)
    finish_snapshot(control, running)
    with pytest.raises(ClusterBusy):
        act(control, PROJECT, cluster)  # the next one holds it: nothing comes in between
    finish_snapshot(control, begun(control)[-1])
    act(control, PROJECT, cluster)
    with pytest.raises(ClusterBusy, match=r"REBOOTING|STOPPING"):
        request_snapshots(control, cluster, "behind-another-task")


def test_without_a_queue_those_that_wait_already_are_taken_and_no_other(
    control: Control, cluster: str
) -> None:
    running, waits = request_snapshots(control, cluster, "running", "waiting")
    without = replace(control, settings=control.settings.model_copy(update={"snapshot_queue": 0}))
    with pytest.raises(ClusterBusy, match="busy: SNAPSHOTTING"):
        request_snapshots(without, cluster, "refused")
    finish_snapshot(without, running)
    assert begun(without) == [running, waits]


# --- one that waits ---------------------------------------------------------------------------------


def test_one_that_waits_is_creating_has_no_attempt_and_its_times_are_those_of_its_turn(
    control: Control, cluster: str
) -> None:
    running, waits = request_snapshots(control, cluster, "running", "waiting")
    accepted = get_snapshot(control, PROJECT, waits)
    assert (accepted.status, accepted.progress) == (SnapshotStatus.CREATING, 0)
    with control.database.reading() as reading:
        assert captures.latest_attempt(reading, waits) == 0
    finish_snapshot(control, running)
    begins = get_snapshot(control, PROJECT, waits)
    ended = get_snapshot(control, PROJECT, running).finished
    assert ended is not None and accepted.started < ended < begins.started
    assert begins.backup_key == begins.started.strftime("%Y%m%d_%H%M%S")
    with control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None and operation.started == begins.started


@pytest.mark.parametrize("call_off", [request_cancel, delete_snapshot])
def test_one_that_waits_can_be_called_off_and_the_others_keep_their_order(
    control: Control, cluster: str, call_off: Any
) -> None:
    running, off, stays = request_snapshots(control, cluster, "running", "called-off", "stays")
    call_off(control, PROJECT, off)
    assert waiting(control, cluster) == [stays]
    with control.database.reading() as reading:
        ended = snapshots.read_snapshot(reading, off)
        records = audit_log.list_records(reading, PROJECT, limit=3)
    assert (ended.status, bool(ended.finished)) == (SnapshotStatus.UNAVAILABLE, True)
    assert "before its turn came" in ended.reason
    assert (ended.deleted is not None) == (call_off is delete_snapshot)
    assert ("CreateSnapshot", "cancelled", ended.reason) in {(r.action, r.outcome, r.detail) for r in records}
    finish_snapshot(control, running)
    assert begun(control) == [running, stays]
    with pytest.raises(StateForbids):
        delete_snapshot(control, PROJECT, stays)  # taken by now, so only a cancellation ends it
    request_cancel(control, PROJECT, stays)
    assert get_snapshot(control, PROJECT, stays).cancel_requested


# --- whose turn it is -------------------------------------------------------------------------------


def test_a_turn_that_a_shutdown_kept_from_beginning_begins_at_the_next_start(
    control: Control, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, *waits = request_snapshots(control, cluster, "running", "second", "third")

    def refuse(*_: object) -> str:
        raise ShuttingDown("planted")

    with monkeypatch.context() as patched:
        patched.setattr(control.flows, "enqueue", refuse)
        finish_snapshot(control, running)
    assert get_snapshot(control, PROJECT, running).status is SnapshotStatus.AVAILABLE
    assert (begun(control), waiting(control, cluster)) == ([running], waits)
    tick(control)
    tick(control)
    assert (begun(control), waiting(control, cluster)) == ([running, waits[0]], waits[1:])


def test_a_request_does_not_overtake_those_whose_turn_was_lost(control: Control, cluster: str) -> None:
    running, second = request_snapshots(control, cluster, "running", "second")
    lose_the_turn(control, running)
    (third,) = request_snapshots(control, cluster, "third")
    assert (begun(control), waiting(control, cluster)) == ([running, second], [third])


def test_a_turn_killed_in_the_middle_was_none_and_begins_again(
    control: Control, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of its statements: all are one transaction with the end of the one before."""
    running, second = request_snapshots(control, cluster, "running", "second")

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    for where in ("snapshot_queue.remove", "snapshots.set_started", "operations.begin"):
        with monkeypatch.context() as patched:
            patched.setattr(f"stillhouse.control.snapshots.queue.{where}", die)
            with pytest.raises(RuntimeError):
                finish_snapshot(control, running)
        assert get_snapshot(control, PROJECT, running).status is SnapshotStatus.CREATING
        assert (begun(control), waiting(control, cluster)) == ([running], [second])
    finish_snapshot(control, running)
    assert (begun(control), waiting(control, cluster)) == ([running, second], [])


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_cluster_that_cannot_be_captured_fails_all_whose_turn_it_is(
    control: Control, cluster: str, state: str
) -> None:
    running, *waits = request_snapshots(control, cluster, "running", "second", "third")
    lose_the_turn(control, running)
    with control.database.transaction() as transaction:
        if state == "stopped":
            clusters.set_stopped(transaction, cluster, True, control.clock.now())
        else:
            clusters.set_status(transaction, cluster, ClusterStatus.FAILED, control.clock.now())
    tick(control)
    assert (begun(control), waiting(control, cluster)) == ([running], [])
    said = {get_snapshot(control, PROJECT, snapshot).reason for snapshot in waits}
    what = "the cluster was stopped" if state == "stopped" else "the cluster was in state FAILED"
    assert said == {f"{what} when its turn came"}


def test_those_that_wait_go_on_waiting_while_another_task_holds_the_cluster(
    control: Control, cluster: str
) -> None:
    running, second = request_snapshots(control, cluster, "running", "second")
    lose_the_turn(control, running)
    restart_cluster(control, PROJECT, cluster)
    tick(control)
    assert (begun(control), waiting(control, cluster)) == ([running], [second])
    end_operation(control, cluster, ClusterStatus.AVAILABLE)
    tick(control)
    assert begun(control) == [running, second]


def test_a_collection_gives_way_to_a_turn(control: Control, cluster: str) -> None:
    running, second = request_snapshots(control, cluster, "running", "second")
    lose_the_turn(control, running)
    with control.database.transaction() as transaction:
        operations.begin(transaction, cluster, Task.COLLECTING, cluster, control.clock.now())
    tick(control)
    assert begun(control) == [running, second]


def test_the_metrics_tell_how_many_wait(control: Control, cluster: str) -> None:
    request_snapshots(control, cluster, "running", "second", "third")
    tick(control)
    gauge = f'stillhouse_snapshots_waiting{{cluster="{cluster}",'
    monitor = Monitor(control)

    def told() -> str:
        (line,) = [line for line in monitor.scrape().decode().splitlines() if line.startswith(gauge)]
        return line.rpartition(" ")[2]

    assert told() == "2.0"
    for _ in range(2):
        finish_snapshot(control, begun(control)[-1])
    tick(control)
    assert told() == "0.0"


@on_both
def test_a_turn_begins_once_however_many_look(control: Control, cluster: str) -> None:
    running, *waits = request_snapshots(control, cluster, "running", "second", "third")
    lose_the_turn(control, running)
    together = Barrier(4)

    def look(_: int) -> None:
        together.wait()
        with control.database.transaction() as transaction:
            clusters.lock_cluster(transaction, cluster)
            start_next(control, transaction, cluster)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, range(4)))
    assert (begun(control), waiting(control, cluster)) == ([running, waits[0]], waits[1:])
