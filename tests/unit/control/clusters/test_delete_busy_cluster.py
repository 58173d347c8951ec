"""A cluster is deleted although snapshots of it are taken and wait: they fail, and the deletion has its turn then."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, cast

import pytest
from sqlalchemy import text

from stillhouse.catalog import clusters, operations, snapshot_queue, snapshots
from stillhouse.catalog.access import audit_log
from stillhouse.control.clusters.facts import rename
from stillhouse.control.clusters.flows import _trash_snapshots
from stillhouse.control.clusters.requests import (
    RestoreRequest,
    delete_cluster,
    get_cluster,
    request_restore,
    restart_cluster,
    start_cluster,
    stop_cluster,
)
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.reports.jobs import find_job
from stillhouse.control.snapshots.create import _first_cause
from stillhouse.control.snapshots.queue import cancellation, fail, start_next, start_waiting
from stillhouse.control.snapshots.requests import delete_snapshot, get_snapshot
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import Operation
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import ClusterBusy, NodeUnreachable, ShuttingDown, StateForbids
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


on_both = pytest.mark.parametrize("control", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def cluster(control: Control) -> str:
    return available_cluster(control)


def begun(control: Control) -> int:
    """How often a deletion's flow was started."""
    return [flow for flow, _ in enqueued(control)].count("delete_cluster")


def held_by(control: Control, cluster: str) -> Operation:
    with control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None
    return operation


def taking(control: Control, snapshot: str) -> tuple[str, str]:
    """How the operation that took the snapshot ended, and why."""
    with control.database.reading() as reading:
        query = text("SELECT id FROM sh_operations WHERE subject_id = :id AND kind = 'SNAPSHOTTING'")
        (operation_id,) = reading.execute(query, {"id": snapshot}).scalars()
        operation = operations.read(reading, operation_id)
    assert operation.ended is not None
    return operation.outcome, operation.failure.reason if operation.failure else ""


def let_go(control: Control, snapshot_id: str) -> None:
    """The last transaction of a flow whose snapshot was cancelled."""
    with control.database.transaction() as transaction:
        snapshot = snapshots.read_snapshot(transaction, snapshot_id)
        clusters.lock_cluster(transaction, snapshot.cluster_id)
        fail(control, transaction, snapshot, Failure.of(cancellation(snapshot)))
        start_next(control, transaction, snapshot.cluster_id)


def flow_context(control: Control) -> FlowContext:
    nothing = cast(Any, None)
    return FlowContext(control, nothing, nothing, "0" * 8)


def tick(control: Control) -> None:
    """What the timer does, and a service that starts."""
    start_waiting(flow_context(control), control.clock.now())


@on_both
def test_a_deletion_fails_all_snapshots_and_begins_when_the_running_one_has_let_go(
    control: Control, cluster: str
) -> None:
    running, *waits = request_snapshots(control, cluster, "running", "second", "third")
    job = delete_cluster(control, PROJECT, cluster, 1)
    shown = get_cluster(control, PROJECT, cluster)
    assert (shown.status, shown.task) == (ClusterStatus.DELETING, Task.DELETING)
    assert find_job(control, PROJECT, job.replace("-", "")).ended is None
    assert begun(control) == 0, "the snapshot still has slots and sessions on the nodes"
    for snapshot in waits:
        found = get_snapshot(control, PROJECT, snapshot)
        assert found.status is SnapshotStatus.UNAVAILABLE
        assert found.reason == "the cluster is being deleted, and the snapshot's turn had not come"
    called_off = get_snapshot(control, PROJECT, running)
    assert (called_off.status, called_off.cancel_requested) == (SnapshotStatus.CREATING, True)
    tick(control)
    assert begun(control) == 0
    let_go(control, running)
    ended = get_snapshot(control, PROJECT, running)
    assert (ended.status, ended.reason) == (
        SnapshotStatus.UNAVAILABLE,
        "the snapshot was cancelled: the cluster is being deleted",
    )
    assert taking(control, running) == ("failed", ended.reason)
    assert begun(control) == 1
    assert held_by(control, cluster).id == job
    for _ in range(2):
        tick(control)
    assert begun(control) == 1
    assert [flow for flow, _ in enqueued(control)].count("create_snapshot") == 1


def test_the_audit_tells_the_deletion_and_the_end_of_each_snapshot(control: Control, cluster: str) -> None:
    running, waits = request_snapshots(control, cluster, "running", "waiting")
    delete_cluster(control, PROJECT, cluster, 0)
    let_go(control, running)
    with control.database.reading() as reading:
        records = audit_log.list_records(reading, PROJECT, limit=4)
    told = {(one.action, one.outcome, one.resource.rpartition("/")[2]) for one in records}
    assert told >= {
        ("DeleteCluster", "accepted", cluster),
        ("CreateSnapshot", "cancelled", running),
        ("CreateSnapshot", "cancelled", waits),
    }


def test_nothing_comes_in_between_and_a_second_deletion_is_refused_as_ever(
    control: Control, cluster: str
) -> None:
    older, running = request_snapshots(control, cluster, "older", "running")
    finish_snapshot(control, older)
    delete_cluster(control, PROJECT, cluster, 1)
    requests: list[Any] = [
        lambda: request_snapshots(control, cluster, "late"),
        lambda: restart_cluster(control, PROJECT, cluster),
        lambda: stop_cluster(control, PROJECT, cluster),
        lambda: start_cluster(control, PROJECT, cluster),
        lambda: rename(control, PROJECT, cluster, "renamed"),
        lambda: delete_cluster(control, PROJECT, cluster, 0),
        lambda: delete_snapshot(control, PROJECT, running),
        lambda: request_restore(control, PROJECT, older, RestoreRequest(name="copy")),
    ]
    for request in requests:
        with pytest.raises(StateForbids):
            request()
    let_go(control, running)
    for request in requests[:6]:
        with pytest.raises(StateForbids):
            request()
    assert held_by(control, cluster).detail["keep_last_manual"] == 1


@pytest.mark.parametrize("act", [restart_cluster, stop_cluster])
def test_a_deletion_waits_for_nothing_but_snapshots(control: Control, cluster: str, act: Any) -> None:
    act(control, PROJECT, cluster)
    with pytest.raises(ClusterBusy):
        delete_cluster(control, PROJECT, cluster, 0)
    assert get_cluster(control, PROJECT, cluster).status is ClusterStatus.AVAILABLE


def test_a_refused_deletion_calls_nothing_off(control: Control, cluster: str) -> None:
    """An older snapshot that would go with the cluster is being restored."""
    older, running, waits = request_snapshots(control, cluster, "older", "running", "waiting")
    finish_snapshot(control, older)
    restored = request_restore(control, PROJECT, older, RestoreRequest(name="copy"))
    with pytest.raises(ClusterBusy, match="being restored"):
        delete_cluster(control, PROJECT, cluster, 0)
    assert not get_snapshot(control, PROJECT, running).cancel_requested
    assert get_snapshot(control, PROJECT, waits).status is SnapshotStatus.CREATING
    assert held_by(control, cluster).kind is Task.SNAPSHOTTING
    delete_cluster(control, PROJECT, cluster, 1)  # keeps the one that is restored
    end_operation(control, restored, ClusterStatus.AVAILABLE)


def test_only_snapshots_that_can_be_restored_count_as_kept(control: Control, cluster: str) -> None:
    older, running, waits = request_snapshots(control, cluster, "older", "running", "waiting")
    finish_snapshot(control, older)
    delete_cluster(control, PROJECT, cluster, 1)
    let_go(control, running)
    with control.database.reading() as reading:
        given_up = {one.id for one in snapshots.given_up_with_cluster(reading, cluster, 1)}
    assert given_up == {running, waits}


def test_a_snapshot_published_before_its_cancellation_reached_it_is_one_that_succeeded(
    control: Control, cluster: str
) -> None:
    (running,) = request_snapshots(control, cluster, "running")
    delete_cluster(control, PROJECT, cluster, 1)
    finish_snapshot(control, running)
    assert get_snapshot(control, PROJECT, running).status is SnapshotStatus.AVAILABLE
    assert taking(control, running) == ("done", "")
    assert begun(control) == 1


def test_a_snapshot_that_is_being_restored_stays_where_another_one_is_kept_in_its_place(
    control: Control, cluster: str
) -> None:
    """It was to be kept, so it may be restored; then the one that was being taken succeeded after all."""
    older, running = request_snapshots(control, cluster, "older", "running")
    finish_snapshot(control, older)
    request_restore(control, PROJECT, older, RestoreRequest(name="copy"))
    delete_cluster(control, PROJECT, cluster, 1)
    finish_snapshot(control, running)
    _trash_snapshots(flow_context(control), cluster)
    with control.database.reading() as reading:
        assert {one.id for one in snapshots.of_cluster(reading, cluster)} == {older, running}


def test_an_automated_snapshot_is_called_off_alike(control: Control, cluster: str) -> None:
    (running,) = request_snapshots(control, cluster, "running")
    with control.database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_snapshots SET type = 'AUTO' WHERE id = :id"), {"id": running})
    delete_cluster(control, PROJECT, cluster, 0)
    assert get_snapshot(control, PROJECT, running).cancel_requested
    let_go(control, running)
    assert begun(control) == 1


def test_a_service_that_ends_before_the_hand_over_begins_the_deletion_at_its_next_start(
    control: Control, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (running,) = request_snapshots(control, cluster, "running")
    delete_cluster(control, PROJECT, cluster, 0)

    def refuse(*_: object) -> str:
        raise ShuttingDown("planted")

    with monkeypatch.context() as patched:
        patched.setattr(control.flows, "enqueue", refuse)
        let_go(control, running)
    assert get_snapshot(control, PROJECT, running).status is SnapshotStatus.UNAVAILABLE
    assert begun(control) == 0
    for _ in range(2):
        tick(control)
    assert begun(control) == 1


@pytest.mark.parametrize(
    "where", ["snapshots.request_cancel", "operations.end", "snapshot_queue.waiting", "leave_queue"]
)
def test_an_acceptance_killed_in_the_middle_was_none(
    control: Control, cluster: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    running, waits = request_snapshots(control, cluster, "running", "waiting")

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(f"stillhouse.control.snapshots.queue.{where}", die)
        with pytest.raises(RuntimeError):
            delete_cluster(control, PROJECT, cluster, 0)
    shown = get_cluster(control, PROJECT, cluster)
    assert (shown.status, shown.task) == (ClusterStatus.AVAILABLE, Task.SNAPSHOTTING)
    assert not get_snapshot(control, PROJECT, running).cancel_requested
    with control.database.reading() as reading:
        assert snapshot_queue.waiting(reading, cluster) == [waits]


def test_a_hand_over_killed_in_the_middle_was_none_and_is_made_again(
    control: Control, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (running,) = request_snapshots(control, cluster, "running")
    delete_cluster(control, PROJECT, cluster, 0)

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    for where in ("snapshots.find_any", "operations.add_detail"):
        with monkeypatch.context() as patched:
            patched.setattr(f"stillhouse.control.snapshots.queue.{where}", die)
            with pytest.raises(RuntimeError):
                let_go(control, running)
        assert get_snapshot(control, PROJECT, running).status is SnapshotStatus.CREATING
        assert begun(control) == 0
    let_go(control, running)
    assert begun(control) == 1


@on_both
def test_a_deletion_and_the_end_of_its_snapshot_at_once_begin_one_flow(
    control: Control, cluster: str
) -> None:
    """Whichever is first. Snapshots wait behind the one that ends, and none of them has a turn after the deletion."""
    running, *_ = request_snapshots(control, cluster, "running", "second", "third")
    together = Barrier(2)

    def end() -> None:
        together.wait()
        let_go(control, running)

    def delete() -> None:
        together.wait()
        delete_cluster(control, PROJECT, cluster, 0)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(end), pool.submit(delete)]:
            one.result()
    after = held_by(control, cluster).detail.get("after_snapshot")
    if after:  # the second one had its turn in between
        let_go(control, after)
    assert begun(control) == 1
    with control.database.reading() as reading:
        states = {one.status for one in snapshots.of_cluster(reading, cluster)}
    assert states == {SnapshotStatus.UNAVAILABLE}


def test_a_cancellation_is_the_reason_whatever_fails_after_it() -> None:
    cancelled = {"reason": "the snapshot was cancelled", "retryable": False, "code": "cancelled"}
    gone = {"failed": {"reason": "no answer", "retryable": True, "code": NodeUnreachable.code}}
    assert _first_cause(cancelled, [gone]) == cancelled
