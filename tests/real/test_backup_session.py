"""A backup's session on PostgreSQL 18 and 15: however it ends, nothing keeps WAL; and nothing ends it needlessly."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex
from stillhouse.errors import CaptureFailed, CaptureInterrupted, NodeUnreachable
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.sessions.watchdog import Watchdog
from stillhouse.postgres.wal import slot
from stillhouse.postgres.wal.backup import BackupSession, held_settings
from stillhouse.postgres.wal.feed import SegmentFiles, wal_tree
from stillhouse.postgres.wal.slot import WalPosition
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers import warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.warehouses import log_in, rows
from support.snapshots.captures import SLOTS
from support.snapshots.cuts import superuser, tell
from support.snapshots.held_sessions import hold_for_ever

pytestmark = pytest.mark.long

NEVER, OFTEN = 3600.0, 0.2  # seconds between beats
SEGMENT = 16 << 20
VERSIONS = [pytest.param(18, id="18"), pytest.param(15, id="15", marks=needs_fifteen)]
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Home:
    site: Site
    cluster: Cluster

    @property
    def node(self) -> Node:
        return self.cluster.coordinator


@pytest.fixture(scope="module", params=VERSIONS)
def home(site: Site, request: pytest.FixtureRequest) -> Iterator[Home]:
    if request.param == 15:
        site = replace(site, binaries=find_binaries(site.data, site.binaries.account, pg_bin=PG_BIN))
    cluster = warehouses.build(site, 1)
    yield Home(site, cluster)
    embedded.destroy(site, cluster.id)


@pytest.fixture
def node(home: Home) -> Node:
    return home.node


@pytest.fixture(autouse=True)
def _nothing_keeps_wal(home: Home) -> Iterator[None]:
    yield
    until(lambda: rows(home.node, SLOTS) == [], 10)


def name() -> str:
    return f"stillhouse_test_{new_hex()}_1"


@contextmanager
def holding(node: Node, beat_seconds: float = NEVER) -> Iterator[BackupSession]:
    with closing(BackupSession(node, name(), beat_seconds=beat_seconds)) as backup:
        yield backup


@contextmanager
def setting(node: Node, **values: str) -> Iterator[None]:
    """For all sessions that begin from now on."""
    with superuser(node) as connection:
        for each, value in values.items():
            tell(connection, f"ALTER SYSTEM SET {each} = '{value}'")
        tell(connection, "SELECT pg_reload_conf()")
        until(lambda: all(rows(node, f"SHOW {each}") == [(value,)] for each, value in values.items()), 10)
        yield
        for each in values:
            tell(connection, f"ALTER SYSTEM RESET {each}")
        tell(connection, "SELECT pg_reload_conf()")
        until(lambda: all(rows(node, f"SHOW {each}") != [(value,)] for each, value in values.items()), 10)


def ended(backup: BackupSession) -> CaptureInterrupted:
    """The reason, as soon as it is known."""
    heard: list[CaptureInterrupted] = []

    def listen() -> bool:
        try:
            backup.check()
        except CaptureInterrupted as error:
            heard.append(error)
        return bool(heard)

    until(listen, 30)
    return heard[0]


def checkpoint(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")


def fill_segments(node: Node, number: int) -> None:
    with superuser(node) as connection:
        for _ in range(number):
            tell(connection, "SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000))")
            tell(connection, "SELECT pg_switch_wal()")


def has_aged(node: Node, seconds: float, what: str = "state_change") -> Callable[[], bool]:
    """Whether the session has not been spoken to for so long."""
    query = (
        f"SELECT clock_timestamp() > {what} + interval '{seconds} s' FROM pg_stat_activity"
        " WHERE application_name LIKE 'stillhouse stillhouse_test_%'"
    )
    return lambda: rows(node, query) == [(True,)]


# --- it ends ------------------------------------------------------------------------------------------


def test_the_slot_is_temporary_and_goes_with_its_session(node: Node) -> None:
    with holding(node) as backup:
        backup.start()
        assert rows(node, "SELECT slot_name, temporary, active FROM pg_replication_slots") == [
            (backup.name, True, True)
        ]


@pytest.mark.parametrize("moment", ["in backup mode", "in the starting checkpoint"])
def test_after_kill_9_nothing_keeps_wal(node: Node, moment: str) -> None:
    """A spread checkpoint may take minutes; the server notices all the same that nobody waits for it."""
    fast = moment == "in backup mode"
    with setting(node, checkpoint_timeout="1h"):
        if not fast:
            dirty(node)
        ours, theirs = _PROCESSES.Pipe()
        held = (node, name(), OFTEN, theirs)
        process = _PROCESSES.Process(target=hold_for_ever, args=held, kwargs={"fast": fast})
        process.start()
        theirs.close()
        assert ours.recv() == "holding"
        if fast:
            assert ours.recv() == "started"
        else:
            starting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_backup_start%' AND wait_event_type = 'IPC'"
            until(lambda: bool(rows(node, starting)), 10)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        until(lambda: rows(node, SLOTS) == [], 20)
        with pytest.raises(EOFError):  # it was killed where it should be
            ours.recv()


def dirty(node: Node) -> None:
    """So many pages that a spread checkpoint takes its time."""
    with superuser(node) as connection:
        tell(connection, "DROP TABLE IF EXISTS public.dirty")
        tell(
            connection, "CREATE TABLE public.dirty AS SELECT repeat('x', 500) FROM generate_series(1, 30000)"
        )


def test_after_the_servers_crash_nothing_keeps_wal(home: Home) -> None:
    with holding(home.node) as backup:
        backup.start()
        server.stop(home.site.binaries, home.node, "immediate")
        server.start(home.site.binaries, home.node)
        assert rows(home.node, SLOTS) == []
        assert "was restarted" in str(ended(backup))


def test_a_server_that_was_shut_down_is_said_to_be(home: Home) -> None:
    with holding(home.node) as backup:
        server.stop(home.site.binaries, home.node)
        try:
            assert "was shut down" in str(ended(backup))
        finally:
            server.start(home.site.binaries, home.node)


def test_a_crash_of_another_process_is_named(node: Node) -> None:
    with holding(node) as backup:
        with superuser(node) as other, suppress(psycopg.OperationalError):
            os.kill(other.pgconn.backend_pid, signal.SIGKILL)
            tell(other, "SELECT 1")
        assert "one of its processes crashed" in str(ended(backup))
    until(lambda: answers(node), 20)


def answers(node: Node) -> bool:
    try:
        return rows(node, "SELECT pg_is_in_recovery()") == [(False,)]
    except (psycopg.Error, NodeUnreachable):
        return False


def test_the_end_is_noticed_at_once_and_not_at_the_stop(node: Node) -> None:
    with holding(node, NEVER) as backup:
        backup.start()
        slot.remove_slots(node, [backup.name])
        told = ended(backup)
        assert "somebody ended the backup's session on node cn" in str(told)
        assert "pg_terminate_backend" in told.hint
        for use in (backup.stop, lambda: backup.advance(0), backup.check):
            with pytest.raises(CaptureInterrupted, match="somebody ended"):
                use()


def test_the_beat_notices_an_end_that_nobody_asks_for(node: Node) -> None:
    with holding(node, OFTEN) as backup:
        slot.remove_slots(node, [backup.name])
        until(lambda: not backup._beat.is_alive(), 10)
        with pytest.raises(CaptureInterrupted, match="somebody ended"):
            backup.check()


def test_an_error_is_the_end_and_said_so(node: Node) -> None:
    """The server drops a temporary slot at any error of its session."""
    with holding(node) as backup:
        backup.start()
        backup.stop()
        with pytest.raises(CaptureInterrupted, match="backup is not in progress"):
            backup.stop()
        until(lambda: rows(node, SLOTS) == [], 10)
        with pytest.raises(CaptureInterrupted, match="backup is not in progress"):
            backup.check()


@pytest.mark.parametrize("moment", ["at rest", "in the starting checkpoint"])
def test_the_watchdog_ends_a_session_whatever_it_is_doing(node: Node, moment: str) -> None:
    with (
        setting(node, checkpoint_timeout="1h"),
        holding(node) as backup,
        closing(WalPosition(node)) as position,
    ):
        feed = SegmentFiles(backup, position, wal_tree(Path(node.directory, "pgdata"), None))
        watchdog = Watchdog(backup, feed, lambda: 1 << 40, 2 * SEGMENT)
        if moment == "at rest":
            fill_segments(node, 3)
            told = str(ended(backup))
        else:
            dirty(node)
            threading.Thread(target=fill_segments, args=(node, 3)).start()
            with pytest.raises(CaptureInterrupted) as caught:
                backup.start(fast=False)
            told = str(caught.value)
        watchdog.stop()
        assert "bytes of WAL were retained" in told and "wal_retention_bytes" in told
        until(lambda: rows(node, SLOTS) == [], 10)


# --- it does not end ----------------------------------------------------------------------------------


def test_no_time_out_of_the_server_or_the_role_ends_it(node: Node) -> None:
    timeouts = ["statement_timeout", "lock_timeout", "idle_session_timeout"]
    timeouts += ["idle_in_transaction_session_timeout"]
    if rows(node, "SELECT 1 FROM pg_settings WHERE name = 'transaction_timeout'"):
        timeouts.append("transaction_timeout")
    with superuser(node) as admin:
        for each in timeouts:
            tell(admin, f"ALTER ROLE stillhouse SET {each} = '100ms'")
        try:
            with holding(node) as backup:
                backup.start()
                for each in timeouts:
                    tell(admin, f"ALTER ROLE stillhouse RESET {each}")
                until(has_aged(node, 0.5), 10)
                backup.advance(0)
                backup.stop()
        finally:
            for each in timeouts:
                tell(admin, f"ALTER ROLE stillhouse RESET {each}")


def test_nothing_is_ever_asked_backwards(node: Node) -> None:
    with holding(node) as backup:
        start = backup.start()
        backup.advance(start)
        for lsn in (0, start - SEGMENT, start):
            backup.advance(lsn)
        backup.advance(start + 100 * SEGMENT)  # the server goes no further than its WAL has come
        assert start <= backup.holds_from < start + 100 * SEGMENT
        backup.advance(start)
        assert rows(node, SLOTS) == [(backup.name,)]


def test_a_slot_that_is_touched_is_not_idle(node: Node) -> None:
    """PostgreSQL 18 looks at a checkpoint, and ends the session of a slot that was idle for too long."""
    if not rows(node, "SELECT 1 FROM pg_settings WHERE name = 'idle_replication_slot_timeout'"):
        pytest.skip("this PostgreSQL does not end idle slots")
    with setting(node, idle_replication_slot_timeout="1s"):
        with holding(node, OFTEN) as backup:
            backup.start()
            until(has_aged(node, 2, "backend_start"), 10)
            fill_segments(node, 1)
            checkpoint(node)
            backup.stop()
        with holding(node, NEVER) as backup:
            until(has_aged(node, 2), 10)
            fill_segments(node, 1)
            checkpoint(node)
            told = ended(backup)
            assert "idle_replication_slot_timeout is 1 s" in str(told)
            assert "raise idle_replication_slot_timeout" in told.hint


def test_max_slot_wal_keep_size_is_named_when_it_ends_the_slot(node: Node) -> None:
    with setting(node, max_slot_wal_keep_size="20MB"), holding(node) as backup:
        backup.start()
        fill_segments(node, 4)
        until(lambda: checkpoint(node) or rows(node, SLOTS) == [], 10)  # type: ignore[func-returns-value]
        told = ended(backup)
        assert "max_slot_wal_keep_size is 20 MB" in str(told)
        assert "raise max_slot_wal_keep_size" in told.hint


# --- it does not begin --------------------------------------------------------------------------------


def test_a_server_without_a_free_slot_says_so(node: Node) -> None:
    ((most,),) = rows(node, "SELECT setting::int FROM pg_settings WHERE name = 'max_replication_slots'")
    with superuser(node) as others:
        for number in range(most):
            tell(others, f"SELECT pg_create_physical_replication_slot('other_{number}', false, true)")
        with pytest.raises(CaptureInterrupted, match="all replication slots are in use") as caught:
            BackupSession(node, name())
        assert "raise max_replication_slots" in caught.value.hint


def test_a_server_that_can_have_no_slots_is_refused_for_good(home: Home) -> None:
    binaries, node = home.site.binaries, home.node
    server.stop(binaries, node)
    server.start(binaries, node, {"max_replication_slots": "0"})
    try:
        with pytest.raises(CaptureFailed, match="max_replication_slots") as caught:
            BackupSession(node, name())
        assert "max_replication_slots above 0" in caught.value.hint
    finally:
        server.restart(binaries, node)


# --- over a network -----------------------------------------------------------------------------------


def test_over_tcp_a_lost_client_is_noticed_by_the_server(node: Node) -> None:
    wanted = held_settings(10.0)
    options = " ".join(f"-c {each}={value}" for each, value in wanted.items())
    with psycopg.connect(
        host=node.host,
        port=node.port,
        user=warehouses.USER,
        password=warehouses.PASSWORD,
        dbname="postgres",
        options=options,
    ) as connection:
        shown = {each: connection.execute(f"SHOW {each}".encode()).fetchone() for each in wanted}
    assert shown["tcp_keepalives_idle"] == shown["tcp_keepalives_interval"] == ("10",)
    assert shown["tcp_keepalives_count"] == ("3",)
    assert shown["tcp_user_timeout"] in [("30s",), ("30000",)]
    assert shown["client_connection_check_interval"] == ("10s",)
    with log_in(node) as ordinary:
        assert ordinary.execute("SHOW client_connection_check_interval").fetchone() == ("0",)
