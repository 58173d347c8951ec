"""Rules 1 to 4 of the cut on a real coordinator and two data nodes: sessions, look ahead, locks, catalog."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node
from stillhouse.errors import CutFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import databases_of
from stillhouse.postgres.sessions.options import as_options
from stillhouse.warehouse.cut.bounded_sessions import bounded
from stillhouse.warehouse.gate import gate
from stillhouse.warehouse.gate.coordinator_catalog import Mode
from support.databases.writers import Bank, distribute, server_of, until
from support.snapshots.cuts import OUR_LOCKS, OUR_SESSIONS, ask, grow_old, superuser, take, tell

pytest_plugins = ["support.snapshots.cut_fixtures"]
pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def test_1_every_session_is_bounded_by_the_server_itself(bank: Bank) -> None:
    with bounded(bank.cluster.coordinator, bank.database) as opened:
        shown = dict(ask(opened.connection, "SELECT name, setting FROM pg_settings"))
    assert shown["search_path"] == "pg_catalog, pg_temp"
    assert shown["lock_timeout"] == "200"
    assert shown["statement_timeout"] == "2000"
    assert shown["idle_in_transaction_session_timeout"] == "5000"
    if int(shown["server_version_num"]) >= 170000:
        assert shown["transaction_timeout"] == "5000"


def test_1_over_tcp_a_lost_client_is_noticed_within_seconds(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(node: Node, database: str, *, settings: dict[str, str], **_: Any) -> Any:
        return psycopg.connect(
            host=node.host,
            port=node.port,
            user="far",
            password=bank.password,
            dbname=database,
            autocommit=True,
            options=as_options(settings),
        )

    with superuser(bank.cluster.coordinator) as admin:
        tell(admin, f"CREATE ROLE far SUPERUSER LOGIN PASSWORD '{bank.password}'")
        with monkeypatch.context() as patched:
            patched.setattr(session, "connect", connect)
            with bounded(bank.cluster.coordinator, bank.database) as opened:
                shown = dict(ask(opened.connection, "SELECT name, setting FROM pg_settings"))
        admin.execute("DROP ROLE far")
    assert shown["tcp_user_timeout"] == "5000"
    assert (shown["tcp_keepalives_idle"], shown["tcp_keepalives_interval"]) == ("1", "1")


def test_1_the_lock_timeout_is_a_quarter_of_a_short_deadlock_timeout(bank: Bank) -> None:
    with superuser(bank.cluster.coordinator) as admin:
        name = bank.database
        tell(admin, f"ALTER DATABASE {name} SET deadlock_timeout = '400ms'")
        try:
            with bounded(bank.cluster.coordinator, name) as opened:
                assert ask(opened.connection, "SHOW lock_timeout") == [("100ms",)]
                assert opened.deadlock_seconds == 0.4
        finally:
            tell(admin, f"ALTER DATABASE {name} RESET deadlock_timeout")


def test_1_each_database_with_a_server_to_a_node_is_gated(bank: Bank, during_hold: Any) -> None:
    """Both databases of a new cluster have servers; `template1` and what has none are left alone."""
    gated: list[Any] = []

    def look(_: int) -> None:
        for name in ("postgres", bank.database):
            with superuser(bank.cluster.coordinator, name) as connection:
                mine = f"{OUR_SESSIONS} AND datname = '{name}' AND state = 'idle in transaction'"
                gated.append(len(ask(connection, mine)))

    during_hold(look)
    take(bank)
    assert gated == [1, 1]


def test_2_an_old_writer_is_waited_for_with_the_gate_open_and_named_at_the_deadline(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "shut", lambda *_: pytest.fail("the gate was shut"))
    with bank.connect() as writer, writer.transaction():
        writer.execute("UPDATE accounts SET balance = balance WHERE id = 1")
        ((pid,),) = ask(writer, "SELECT pg_backend_pid()")
        grow_old(writer)
        with pytest.raises(CutFailed, match=rf"pid {pid}, user {bank.cluster.user_name}, query started 2\d+"):
            take(bank, deadline=1)


def test_2_the_cut_follows_when_the_old_writer_ends(bank: Bank) -> None:
    with bank.connect() as writer, ThreadPoolExecutor() as threads:
        with writer.transaction():
            writer.execute("UPDATE accounts SET balance = balance WHERE id = 1")
            grow_old(writer)
            tries: list[None] = []
            waiting = threads.submit(take, bank, deadline=90, should_stop=lambda: tries.append(None))
            until(lambda: len(tries) > 1, 60)
            assert not waiting.done()
        assert waiting.result(60).tries > 1


def test_3_roots_and_lone_foreign_tables_are_locked_and_nothing_else(
    bank: Bank, lone_table: str, during_hold: Any
) -> None:
    with bank.connect() as owner:
        owner.execute("CREATE TABLE local_only (id int) PARTITION BY HASH (id)")
        owner.execute("CREATE TABLE local_0 PARTITION OF local_only FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
        owner.execute("CREATE TABLE deep (id int) PARTITION BY RANGE (id)")
        owner.execute("CREATE TABLE deep_0 PARTITION OF deep DEFAULT PARTITION BY RANGE (id)")
        server = server_of(owner, bank.cluster.data_nodes[0])
        owner.execute(f"CREATE FOREIGN TABLE deep_0_0 PARTITION OF deep_0 DEFAULT SERVER {server}".encode())
    locked: list[Any] = []

    def look(_: int) -> None:
        with superuser(bank.cluster.coordinator, bank.database) as connection:
            locked.extend(ask(connection, OUR_LOCKS))

    during_hold(look)
    try:
        take(bank)
    finally:
        with bank.connect() as owner:
            owner.execute("DROP TABLE deep, local_only")
    assert locked == [
        ("accounts", "ShareLock"),
        ("accounts_0", "ShareLock"),
        ("accounts_1", "ShareLock"),
        (lone_table, "ShareRowExclusiveLock"),
        ("deep", "ShareLock"),
        ("deep_0", "ShareLock"),
        ("deep_0_0", "ShareLock"),
    ]


def test_3_the_gate_asks_in_oid_order(bank: Bank, lone_table: str) -> None:
    with gate.gate_sessions(bank.cluster, databases_of(bank.cluster.coordinator)) as parts:
        for part in parts:
            oids = [table.oid for table in part.wiring.tables]
            assert oids == sorted(oids)
    assert {f"public.{lone_table}", "public.accounts"} <= gated(bank)


def test_3_a_server_that_leads_elsewhere_is_not_gated(bank: Bank) -> None:
    with stranger(bank):
        assert "public.far" not in gated(bank)


def test_3_a_server_that_may_be_a_node_under_another_name_is_gated(bank: Bank) -> None:
    """Nothing else in this database points to the node; an overlooked one would tear the cut unseen."""
    node = bank.cluster.data_nodes[0]
    with stranger(bank), superuser(bank.cluster.coordinator, bank.database) as admin:
        server = server_of(admin, node)
        tell(admin, f"ALTER SERVER {server} OPTIONS (SET host 'dn1.example.org')")
        try:
            assert "public.far" in gated(bank)
        finally:
            tell(admin, f"ALTER SERVER {server} OPTIONS (SET host '{node.host}')")


@contextmanager
def stranger(bank: Bank) -> Iterator[None]:
    """A foreign table of somebody else's server."""
    with superuser(bank.cluster.coordinator, bank.database) as admin:
        tell(admin, "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'far.example.org')")
        tell(admin, "CREATE FOREIGN TABLE public.far (id int) SERVER far")
        yield
        tell(admin, "DROP SERVER far CASCADE")


def gated(bank: Bank) -> set[str]:
    with gate.gate_sessions(bank.cluster, databases_of(bank.cluster.coordinator)) as parts:
        return {table.name for part in parts for table in part.wiring.tables}


def test_7_whoever_is_at_work_in_a_closed_database_is_waited_for(bank: Bank) -> None:
    """It has no gate: nobody enters it, but who was inside when it was closed may write through its servers."""
    with superuser(bank.cluster.coordinator) as admin:
        tell(admin, "CREATE DATABASE closing")
        with superuser(bank.cluster.coordinator, "closing") as inside:
            tell(admin, "ALTER DATABASE closing ALLOW_CONNECTIONS false")
            tell(inside, "SELECT 1")
            assert take(bank).tries == 1, "at rest he is in nobody's way"
            inside.pgconn.send_query(b"SELECT pg_sleep(60)")
            working = "SELECT FROM pg_stat_activity WHERE datname = 'closing' AND state = 'active'"
            until(lambda: ask(admin, working), 10)
            with pytest.raises(CutFailed, match=rf"pid {inside.info.backend_pid}, .* in a closed database"):
                take(bank, deadline=0.5)
        tell(admin, "DROP DATABASE closing WITH (FORCE)")


def test_3_a_lone_foreign_table_keeps_its_triggers(bank: Bank, lone_table: str) -> None:
    with bank.connect() as owner:
        owner.execute("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        owner.execute(
            f"CREATE TRIGGER keep BEFORE INSERT ON {lone_table}"
            " FOR EACH ROW EXECUTE FUNCTION nothing()".encode()
        )
        before = ask(owner, "SELECT tgname, tgenabled, xmin FROM pg_trigger WHERE tgname = 'keep'")
        take(bank)
        assert ask(owner, "SELECT tgname, tgenabled, xmin FROM pg_trigger WHERE tgname = 'keep'") == before
        owner.execute("DROP FUNCTION nothing CASCADE")


def test_3_event_triggers_take_no_part(bank: Bank, lone_table: str) -> None:
    """An operator's own rule against DDL must not stop the cut, nor the cut fill his log of DDL."""
    with superuser(bank.cluster.coordinator, bank.database) as admin:
        if admin.info.server_version < 170000:
            pytest.skip("PostgreSQL 17 is the first that can leave event triggers out")
        admin.execute(
            "CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no DDL'; END$$"
        )
        admin.execute("CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION public.no_ddl()")
        try:
            assert take(bank).tries == 1
        finally:
            admin.execute("DROP EVENT TRIGGER no_ddl")
            admin.execute("DROP FUNCTION public.no_ddl")


def test_3_a_lone_foreign_table_is_not_written_during_the_hold(
    bank: Bank, lone_table: str, during_hold: Any
) -> None:
    refused: list[str] = []

    def write(_: int) -> None:
        with bank.connect() as writer:
            writer.execute("SET lock_timeout = '50ms'")
            for table in (lone_table, "accounts"):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    writer.execute(f"INSERT INTO {table} (id) VALUES (-1)".encode())
                refused.append(table)

    during_hold(write)
    take(bank)
    assert refused == [lone_table, "accounts"]


def test_3_readers_do_not_wait(bank: Bank, during_hold: Any) -> None:
    totals: list[int] = []

    def read(_: int) -> None:
        with bank.connect() as reader:
            reader.execute("SET statement_timeout = '1s'")
            totals.append(int(ask(reader, "SELECT sum(balance) FROM accounts")[0][0]))

    during_hold(read)
    take(bank)
    assert totals == [bank.total]


def test_3_when_a_lock_is_not_granted_everything_is_rolled_back_and_tried_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = gate.shut

    def shut(*given: Any) -> None:
        """The first try meets a writer that was not there at the look ahead."""
        if given[1] is Mode.REHEARSAL:
            really(*given)
            return
        monkeypatch.setattr(gate, "shut", really)
        with bank.connect() as writer, writer.transaction():
            writer.execute("UPDATE accounts SET balance = balance WHERE id = 1")
            really(*given)

    monkeypatch.setattr(gate, "shut", shut)
    assert take(bank).tries == 2


def test_3_who_kept_a_lock_from_the_gate_is_named(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_wait_for_old", lambda *_: None)
    with bank.connect() as writer, writer.transaction():
        writer.execute("UPDATE accounts SET balance = balance WHERE id = 1")
        ((pid,),) = ask(writer, "SELECT pg_backend_pid()")
        with pytest.raises(
            CutFailed, match=rf"lock timeout, in database {bank.database} for pid {pid}, user"
        ):
            take(bank, deadline=1)


def test_3_the_locks_are_given_up_before_a_waiting_writer_looks_for_deadlocks(bank: Bank) -> None:
    """Many locks, each granted within lock_timeout, may together take longer than deadlock_timeout."""

    class Slow(SystemClock):
        seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 0.6
            return self.seconds

    with (
        gate.gate_sessions(bank.cluster, databases_of(bank.cluster.coordinator)) as parts,
        ThreadPoolExecutor() as threads,
        pytest.raises(CutFailed, match="took too long"),
    ):
        gate.shut(parts, Mode.SHARE, Slow(), threads)


def test_3_no_writer_that_deadlocks_with_the_gate_is_killed(bank: Bank) -> None:
    """The writer holds a late table and wants an early one that the gate has: against the gate's order.

    It waits first, as the gate is kept busy by a third table in between; so were the gate to wait for
    deadlock_timeout, it is the writer that would look for a deadlock first, and be killed.
    """
    for table in ("middle", "late"):
        distribute(bank, table, "id int, balance bigint")
    with (
        superuser(bank.cluster.coordinator, bank.database) as admin,
        bank.connect() as between,
        bank.connect() as writer,
        ThreadPoolExecutor() as threads,
    ):
        between.execute("BEGIN")
        between.execute("INSERT INTO middle VALUES (1, 0)")
        taking = threads.submit(take, bank, deadline=900)
        waiting = f"SELECT 1 FROM pg_locks WHERE NOT granted AND pid = {writer.info.backend_pid}"
        while True:
            writer.execute("BEGIN")
            writer.execute("INSERT INTO late VALUES (1, 0)")
            until(lambda: ("accounts", "ShareLock") in ask(admin, OUR_LOCKS), 240)
            writing = threads.submit(writer.execute, "UPDATE accounts SET balance = balance WHERE id = 1")
            until(lambda begun=writing: begun.done() or ask(admin, waiting), 60)
            if not writing.done():
                break
            writer.execute("ROLLBACK")  # on a busy machine the gate may have let go before the writer came
        between.execute("COMMIT")
        writing.result(60)
        writer.execute("COMMIT")
        assert taking.result(60).tries > 1
        writer.execute("DROP TABLE middle, late")


def test_3_writers_that_deadlock_with_one_another_lose_one_and_the_cut_comes(bank: Bank) -> None:
    """Two rows of one data node in opposite order: the data node kills one of the two, as it would anyway."""
    first, second = bank.halves[0][:2]
    met = threading.Barrier(2)

    def move(one: int, other: int) -> str:
        with bank.connect() as writer:
            try:
                with writer.transaction():
                    writer.execute("UPDATE accounts SET balance = balance WHERE id = %s", [one])
                    met.wait(10)
                    writer.execute("UPDATE accounts SET balance = balance WHERE id = %s", [other])
            except psycopg.Error as error:
                return error.sqlstate or ""
        return "moved"

    with ThreadPoolExecutor() as threads:
        movers = [threads.submit(move, first, second), threads.submit(move, second, first)]
        assert take(bank).points
        ends = sorted(mover.result(30) for mover in movers)
    assert ends == ["40P01", "moved"]


def test_4_a_table_that_appears_before_the_catalog_is_read_again_makes_it_start_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, during_hold: Any
) -> None:
    points = during_hold(lambda _: None)
    really = gate.shut

    def shut(*given: Any) -> None:
        really(*given)
        if given[1] is Mode.SHARE:
            monkeypatch.setattr(gate, "shut", really)
            distribute(bank, "sudden", "id int")

    monkeypatch.setattr(gate, "shut", shut)
    assert take(bank).tries == 2
    assert len(points) == 1, "the first try went on to make points"
    with bank.connect() as owner:
        owner.execute("DROP TABLE sudden")


def test_4_a_table_created_and_written_between_lock_and_point_makes_it_start_again(
    bank: Bank, during_hold: Any
) -> None:
    def create(number: int) -> None:
        if number == 1:
            distribute(bank, "unforeseen", "id int")
            with bank.connect() as writer:
                writer.execute("INSERT INTO unforeseen SELECT generate_series(1, 8)")

    during_hold(create)
    assert take(bank).tries == 2
    with bank.connect() as owner:
        owner.execute("DROP TABLE unforeseen")
