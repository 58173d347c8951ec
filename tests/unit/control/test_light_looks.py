"""Looks that are taken all the time read little and write nothing, and a change is told instead of looked for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stillhouse.catalog import captures, snapshot_lists, snapshots
from stillhouse.catalog.schema.database import Database
from stillhouse.control.snapshots import create
from stillhouse.control.snapshots.requests import request_cancel, request_snapshot
from stillhouse.control.threads.bells import Bells
from stillhouse.domain import retention
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.errors import CatalogUnavailable
from support.control.automated_bed import PROJECT, Bed, automated_bed
from support.control.catalog_rows import many_snapshots


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with automated_bed(tmp_path) as bed:
        yield bed


@contextmanager
def writes(database: Database) -> Iterator[list[str]]:
    """The transactions that may write."""
    begun: list[str] = []
    transaction = database.transaction

    def noted() -> Any:
        begun.append("write")
        return transaction()

    database.transaction = noted  # type: ignore[method-assign]
    try:
        yield begun
    finally:
        database.transaction = transaction  # type: ignore[method-assign]


def test_a_look_at_captures_writes_only_a_changed_percentage(bed: Bed) -> None:
    cluster = bed.cluster()
    snapshot = request_snapshot(bed.control, PROJECT, name="looked-at", cluster_id=cluster)
    now = bed.clock.now()
    with bed.control.database.transaction() as transaction:
        attempt = captures.begin_attempt(transaction, snapshot, ["n1"], now)
        captures.set_bytes(transaction, snapshot, "n1", attempt, now, done=50, total=100)
    with writes(bed.control.database) as begun:
        assert not create._all_ready(bed.place, snapshot, attempt)
        assert begun == ["write"]
        for _ in range(5):
            assert not create._all_ready(bed.place, snapshot, attempt)
        assert begun == ["write"]
    with bed.control.database.transaction() as transaction:
        captures.set_state(transaction, snapshot, "n1", attempt, CaptureState.READY, now)
    assert create._all_ready(bed.place, snapshot, attempt)


def test_retention_reads_only_what_may_be_due(tmp_path: Path) -> None:
    """Of a thousand snapshots, those past their days and the newest; judged as if all had been read."""
    database = Database.in_directory(tmp_path)
    database.migrate()
    newest = many_snapshots(tmp_path / "catalog.sqlite", PROJECT, 1000, "AUTO")
    with database.reading() as reading:
        cluster = snapshots.read_snapshot(reading, newest).cluster_id
        every = snapshots.of_cluster(reading, cluster)
        for now in (every[0].started, every[0].started - timedelta(minutes=100)):
            for minutes in (0, 10, 990, 2000):
                days = minutes / 24 / 60
                read = snapshot_lists.for_retention(reading, cluster, now - timedelta(days=days), now)
                due = [v.snapshot.id for v in retention.plan(every, days, now) if v.expires]  # type: ignore[arg-type]
                found = [v.snapshot.id for v in retention.plan(read, days, now) if v.expires]  # type: ignore[arg-type]
                assert found == due
                assert len(read) <= len(due) + 1
    database.close()


def test_a_bell_wakes_its_own_waiters() -> None:
    bells, heard = Bells(), []
    waiter = threading.Thread(target=lambda: heard.append(bells.wait("mine", 0, 60)))
    waiter.start()
    bells.ring("another's")
    bells.ring("mine")
    waiter.join(60)
    assert heard == [1]
    assert bells.wait("mine", 0, 60) == 1, "a ring before the wait is not lost"
    assert bells.wait("mine", 1, 0) == 1
    bells.forget("mine")
    assert bells.wait("mine", 0, 0) == 0


def test_writers_of_one_process_wait_for_their_turn_without_a_connection(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    database.migrate()
    pool, done = database._engine.pool, []

    def write() -> None:
        with database.transaction():
            done.append(datetime.now(UTC))

    with database.transaction():
        before = pool.checkedout()  # type: ignore[attr-defined]
        writers = [threading.Thread(target=write) for _ in range(20)]
        for writer in writers:
            writer.start()
        assert pool.checkedout() == before == 1  # type: ignore[attr-defined]
        assert not done
    for writer in writers:
        writer.join(60)
    assert len(done) == 20
    database.close()


def test_a_writer_that_waits_too_long_is_told_so(tmp_path: Path) -> None:
    Database.in_directory(tmp_path).migrate()
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}", busy_seconds=0.05)
    refused = []

    def write() -> None:
        with pytest.raises(CatalogUnavailable), database.transaction():
            pass
        refused.append(True)

    with database.transaction():
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(60)
    assert refused == [True]
    database.close()


def test_a_cancellation_rings_when_it_is_committed(bed: Bed) -> None:
    snapshot = request_snapshot(bed.control, PROJECT, name="called-off", cluster_id=bed.cluster())
    heard = bed.control.bells.wait(snapshot, -1, 0)
    request_cancel(bed.control, PROJECT, snapshot)
    assert bed.control.bells.wait(snapshot, heard, 60) > heard


def test_nobody_waits_for_a_bell_when_the_service_ends() -> None:
    bells, heard = Bells(), [0]
    waiter = threading.Thread(target=lambda: heard.append(bells.wait("s", 0, 60)))
    waiter.start()
    bells.end()
    waiter.join(30)
    assert heard == [0, 0], "woken, though it has not rung"
