"""The gate with hundreds of distributed tables: few statements, several sessions, all or nothing, told beforehand."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Cluster
from stillhouse.errors import CutFailed, StateForbids
from stillhouse.postgres.sessions.databases import databases_of
from stillhouse.warehouse.cluster.fdw import DATABASES
from stillhouse.warehouse.cut.cut import foresee
from stillhouse.warehouse.gate import gate, lock_plan
from stillhouse.warehouse.gate.coordinator_catalog import Mode, lock_statement
from stillhouse.warehouse.gate.lock_plan import Expected
from support.databases.many_tables import distribute_many
from support.databases.writers import Bank, found_bank, until
from support.snapshots.cuts import OUR_LOCKS, OUR_SESSIONS, ask, grow_old, superuser, take, tell

pytest_plugins = ["support.snapshots.cut_fixtures"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("nothing_left_behind")]

TABLES = 300
LOCKS = 3 * (TABLES + 1)  # each root has two partitions; one table is the bank's
SESSIONS = 4


@pytest.fixture(scope="module")
def bank(make_warehouse: Callable[[int], tuple[Cluster, str]]) -> Bank:
    bank = found_bank(*make_warehouse(2))
    distribute_many(bank, 0, TABLES)
    return bank


@pytest.fixture(autouse=True)
def several_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the locks out among several sessions, as those of thousands of tables are."""
    monkeypatch.setattr(lock_plan, "_LOCKS_EACH", LOCKS // SESSIONS)


@contextmanager
def opened(bank: Bank) -> Iterator[tuple[tuple[gate.GatedDatabase, ...], ThreadPoolExecutor]]:
    databases = databases_of(bank.cluster.coordinator)
    with gate.gate_sessions(bank.cluster, databases) as parts, ThreadPoolExecutor() as threads:
        yield parts, threads


def statements_of_ours(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the statements that the gate's sessions get from now on."""
    said: list[str] = []
    really = gate._execute

    def execute(session: Any, statement: str) -> None:
        said.append(statement)
        really(session, statement)

    monkeypatch.setattr(gate, "_execute", execute)
    return said


def test_hundreds_of_tables_are_locked_by_a_statement_of_each_session(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(bank) as (parts, threads):
        assert [len(part.shares) for part in parts] == [1, SESSIONS]
        said = statements_of_ours(bank, monkeypatch)
        gate.shut(parts, Mode.SHARE, SystemClock(), threads)
        locking = [statement for statement in said if "LOCK TABLE" in statement]
        assert len(locking) <= SESSIONS + 1  # one more for the very first table
        assert sum(len(re.findall(r"public\.many_\d+", statement)) for statement in locking) >= TABLES


def test_the_sessions_together_hold_every_table_while_the_points_are_made(
    bank: Bank, during_hold: Any
) -> None:
    held: list[Any] = []
    refused: list[int] = []

    def look(_: int) -> None:
        with superuser(bank.cluster.coordinator, bank.database) as admin, bank.connect() as writer:
            held.extend(ask(admin, OUR_LOCKS))
            held_by = "SELECT count(DISTINCT pid) FROM pg_locks WHERE mode = 'ShareLock' AND granted"
            assert ask(admin, held_by) == [(SESSIONS,)]
            writer.execute("SET lock_timeout = '20ms'")
            for number in (0, TABLES // 2, TABLES - 1):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    writer.execute(f"INSERT INTO many_{number} VALUES (1, 1)".encode())
                refused.append(number)

    during_hold(look)
    assert take(bank).tries == 1
    assert len({name for name, mode in held if mode == "ShareLock"}) == len(held) == LOCKS
    assert len(refused) == 3


def test_the_coordinators_that_we_make_have_room_and_time_for_the_locks(bank: Bank) -> None:
    names = "current_setting('max_locks_per_transaction'), current_setting('deadlock_timeout')"
    shown = {}
    for node in bank.cluster.nodes:
        with superuser(node) as admin:
            (shown[node.name],) = ask(admin, f"SELECT {names}")
    assert shown == {"cn": ("1024", "2s"), "dn1": ("64", "1s"), "dn2": ("64", "1s")}


def test_more_locks_than_the_server_bears_are_refused_before_the_first(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_plan, "_OUR_PART", LOCKS / (1024 * 164) / 2)
    said = statements_of_ours(bank, monkeypatch)
    with pytest.raises(StateForbids, match=rf"needs {LOCKS} locks .* made for {1024 * 164}") as refused:
        take(bank)
    assert "max_locks_per_transaction" in refused.value.hint
    assert said == []


def test_a_lock_phase_of_more_than_half_of_deadlock_timeout_is_refused_with_the_number(
    bank: Bank, during_hold: Any
) -> None:
    """This holds even if the locks of the rehearsal alone would have run into that limit."""
    points = during_hold(lambda _: None)
    with superuser(bank.cluster.coordinator, bank.database) as admin:
        tell(admin, f"ALTER DATABASE {bank.database} SET deadlock_timeout = '1ms'")
        try:
            with pytest.raises(
                CutFailed, match=rf"\({LOCKS} locks\) would take 0\.\d+ s, and may take 0\.0005 s"
            ):
                take(bank, deadline=0)
        finally:
            tell(admin, f"ALTER DATABASE {bank.database} RESET deadlock_timeout")
    assert points == []


def test_a_rehearsal_without_end_is_a_number_as_well(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LONGEST_LOCK_SECONDS", 0.001)
    monkeypatch.setattr(gate, "_longest", lambda _: 0.0005)
    with pytest.raises(CutFailed, match=r"would take 0\.\d+ s, and may take 0\.0005 s"):
        take(bank, deadline=0)


def test_locks_may_not_take_longer_than_our_transactions_last(bank: Bank) -> None:
    with superuser(bank.cluster.coordinator) as admin, ExitStack() as settings:
        for name in DATABASES:
            tell(admin, f"ALTER DATABASE {name} SET deadlock_timeout = '1min'")
            settings.callback(tell, admin, f"ALTER DATABASE {name} RESET deadlock_timeout")
        expected = foresee(bank.cluster, SystemClock())
    assert expected is not None
    assert expected.longest_lock_seconds == 4.0


def test_locks_slower_than_rehearsed_are_told_with_the_number_and_rehearsed_for_longer(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise writers would be held up in vain at each try, until the deadline."""
    look_ahead = gate.look_ahead
    slack: list[float] = []

    def slow(connection: Any, tables: Any, mode: Mode) -> str:
        return "SELECT pg_sleep(60)" if mode is Mode.SHARE else lock_statement(connection, tables, mode)

    def look(*given: Any) -> Expected:
        monkeypatch.setattr(gate, "lock_statement", slow if not slack else lock_statement)
        slack.append(given[-1])
        return look_ahead(*given)

    monkeypatch.setattr(gate, "look_ahead", look)
    assert take(bank).tries == 2
    assert slack == [1.0, 2.0]
    slack.clear()
    with pytest.raises(CutFailed, match=rf"\({LOCKS} locks\) took too long: more than 1 s"):
        take(bank, deadline=0)


def test_what_a_cut_will_cost_is_told_before_it(bank: Bank) -> None:
    told: list[Expected] = []
    take(bank, tell=told.append)
    assert [(one.tables, one.locks) for one in told] == [(TABLES + 1, LOCKS)]
    assert 0 < told[0].lock_seconds < told[0].pause_seconds


def test_what_a_cut_will_cost_is_told_long_before_it_and_whoever_writes(bank: Bank) -> None:
    with bank.connect() as writer, writer.transaction():
        writer.execute("INSERT INTO many_1 VALUES (1, 1)")
        grow_old(writer)
        expected = foresee(bank.cluster, SystemClock())
    assert expected is not None
    assert (expected.tables, expected.locks) == (TABLES + 1, LOCKS)


def test_what_cannot_be_told_now_is_left_to_the_cut(bank: Bank) -> None:
    with bank.connect() as owner, owner.transaction():
        owner.execute("LOCK TABLE many_1 IN ACCESS EXCLUSIVE MODE")
        assert foresee(bank.cluster, SystemClock()) is None


def test_a_rehearsal_holds_no_writer_up(bank: Bank) -> None:
    with opened(bank) as (parts, threads), bank.connect() as writer:
        writer.execute("SET lock_timeout = '20ms'")
        gate.shut(parts, Mode.REHEARSAL, SystemClock(), threads)
        for number in (0, TABLES - 1):
            writer.execute(f"INSERT INTO many_{number} VALUES (1, 1)".encode())


def test_of_hundreds_whoever_holds_one_partition_is_named(bank: Bank) -> None:
    """A prepared transaction, since it has no process; in a partition, since writers may write there directly."""
    with bank.connect() as writer:
        writer.execute("BEGIN")
        # It takes the lock, and asks no data node: then postgres_fdw would refuse to prepare.
        writer.execute(f"EXPLAIN INSERT INTO many_{TABLES - 5}_1 VALUES (1, 1)".encode())
        writer.execute("PREPARE TRANSACTION 'in the way'")
        try:
            with opened(bank) as (parts, threads), pytest.raises(CutFailed, match="transaction 'in the way'"):
                gate.shut(parts, Mode.SHARE, SystemClock(), threads)
        finally:
            writer.execute("ROLLBACK PREPARED 'in the way'")


def test_of_hundreds_whoever_waits_for_a_lock_before_the_gate_is_named(bank: Bank) -> None:
    """A plain reader is not in the way, but a session that waits behind it is: locks are granted in turn."""
    with (
        superuser(bank.cluster.coordinator, bank.database) as admin,
        bank.connect() as reader,
        bank.connect() as owner,
        ThreadPoolExecutor() as threads,
    ):
        reader.execute("BEGIN; LOCK TABLE many_9 IN ACCESS SHARE MODE")
        waiting = threads.submit(owner.execute, "ALTER TABLE many_9 ADD note text")
        pid = owner.info.backend_pid
        until(lambda: ask(admin, f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND NOT granted") != [], 10)
        try:
            with opened(bank) as (parts, gate_threads), pytest.raises(CutFailed, match=f"for pid {pid}"):
                gate.shut(parts, Mode.SHARE, SystemClock(), gate_threads)
        finally:
            reader.execute("ROLLBACK")
            waiting.result(10)
            owner.execute("ALTER TABLE many_9 DROP note")


def test_a_busy_moment_refuses_no_snapshot(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Expected(tables=1, locks=3, lock_seconds=0.6, hold_seconds=0.0, longest_lock_seconds=0.5)
    looks = iter([slow, slow])
    really = gate.foresee
    monkeypatch.setattr(gate, "foresee", lambda *given: next(looks, None) or really(*given))
    expected = foresee(bank.cluster, SystemClock())
    assert expected is not None
    assert expected.fits


def test_an_old_prepared_transaction_is_named_with_the_gate_open(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_OLD_SECONDS", 0.0)
    monkeypatch.setattr(gate, "shut", lambda *_: pytest.fail("the gate was shut"))
    with bank.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("EXPLAIN INSERT INTO many_3 VALUES (1, 1)")
        writer.execute("PREPARE TRANSACTION 'forgotten'")
        try:
            with pytest.raises(CutFailed, match=f"transaction 'forgotten' of user {bank.cluster.user_name}"):
                take(bank, deadline=0)
        finally:
            writer.execute("ROLLBACK PREPARED 'forgotten'")


def test_when_one_session_gets_no_lock_all_have_given_up_theirs(bank: Bank) -> None:
    with bank.connect() as holder, bank.connect() as writer, opened(bank) as (parts, threads):
        writer.execute("SET lock_timeout = '20ms'")
        with holder.transaction():
            holder.execute(f"LOCK TABLE many_{TABLES - 1} IN ROW EXCLUSIVE MODE".encode())
            with pytest.raises(CutFailed, match=f"pid {holder.info.backend_pid}"):
                gate.shut(parts, Mode.SHARE, SystemClock(), threads)
            for number in (0, TABLES // 2):
                writer.execute(f"INSERT INTO many_{number} VALUES (1, 1)".encode())


def test_a_writer_between_two_sessions_of_the_gate_is_let_through(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He holds a lock that one of them waits for, and waits for the other's lock: no server sees this deadlock."""
    monkeypatch.setattr(
        gate, "_OLD_SECONDS", 3600.0
    )  # on a slow machine he is old before the gate first shuts
    first, last = "many_0", f"many_{TABLES - 1}"
    with (
        superuser(bank.cluster.coordinator, bank.database) as admin,
        bank.connect() as writer,
        ThreadPoolExecutor() as threads,
    ):
        writer.execute("SET lock_timeout = '30s'")
        writer.execute("BEGIN")
        writer.execute(f"INSERT INTO {last} VALUES (1, 1)".encode())
        taking = threads.submit(take, bank)
        until(lambda: (first, "ShareLock") in ask(admin, OUR_LOCKS), 30)
        threads.submit(writer.execute, f"INSERT INTO {first} VALUES (1, 1)".encode()).result(60)
        writer.execute("COMMIT")
        assert taking.result(60).tries > 1


def test_a_session_of_several_that_dies_makes_the_try_invalid(bank: Bank, during_hold: Any) -> None:
    def kill(number: int) -> None:
        if number == 1:
            with superuser(bank.cluster.coordinator, bank.database) as admin:
                holding = f"{OUR_SESSIONS} AND state = 'idle in transaction' ORDER BY backend_start DESC"
                pid = ask(admin, holding)[0][0]
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
                until(lambda: (pid,) not in ask(admin, holding), 10)

    during_hold(kill)
    assert take(bank).tries == 2


def test_another_table_under_a_gated_ones_name_makes_it_start_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables are locked by name: another table that took the name would be locked, and writes would pass."""
    really = gate.caught_up
    looks: list[Any] = []

    def caught_up(*given: Any) -> Any:
        found = really(*given)
        looks.append(found)
        if len(looks) == 3:  # two are the rehearsal's, after this one the gate is shut
            with bank.connect() as owner:
                owner.execute("ALTER TABLE many_7 RENAME TO hidden")
                owner.execute("CREATE TABLE many_7 (id int, amount int)")
        return found

    monkeypatch.setattr(gate, "caught_up", caught_up)
    try:
        assert take(bank).tries == 2
    finally:
        with bank.connect() as owner:
            owner.execute("DROP TABLE many_7")
            owner.execute("ALTER TABLE hidden RENAME TO many_7")


def test_a_schema_that_changed_its_name_and_back_makes_it_start_again(bank: Bank, during_hold: Any) -> None:
    """A schema may be renamed while its tables are locked: which of two was locked by that name, nobody knows."""

    def rename(number: int) -> None:
        if number == 1:
            with superuser(bank.cluster.coordinator, bank.database) as admin:
                tell(admin, "ALTER SCHEMA public RENAME TO elsewhere")
                tell(admin, "ALTER SCHEMA elsewhere RENAME TO public")

    during_hold(rename)
    assert take(bank).tries == 2
