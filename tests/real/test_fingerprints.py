"""Fingerprints stored at the cut are those of the restored clone, whatever was written meanwhile; or there are none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.snapshot import Witness
from stillhouse.node.capture import fingerprints
from stillhouse.node.capture.fingerprints import Fingerprints
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Connection
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cut import cut
from stillhouse.warehouse.cut import witness as witness_module
from stillhouse.warehouse.cut.witness import Seen, Witnesses, judge
from stillhouse.warehouse.gate import gate
from stillhouse.warehouse.proof import tables as proof_tables
from stillhouse.warehouse.proof.compare_with_cut import Compared, compare_at_cut
from support.databases.writers import Bank, found_bank, until, writing
from support.repositories.crafted_lines import Line
from support.servers.warehouses import MakeWarehouse, log_in
from support.snapshots.captures import (
    HASTY,
    Shot,
    Vault,
    capture_cluster,
    lines,
    open_vault,
    restored_cluster,
    take_one,
)
from support.snapshots.cuts import ask, superuser, tell, without_autovacuum

pytestmark = pytest.mark.long

SECONDS = 60.0
OUR_SESSIONS = """
    SELECT pid FROM pg_stat_activity WHERE application_name IN ('stillhouse witness', 'stillhouse fingerprints')
"""


# -- over several cuts, with writers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank(make_warehouse: MakeWarehouse) -> Bank:
    cluster, password = make_warehouse(2, "bank")
    for node in cluster.nodes:
        without_autovacuum(node)
    return found_bank(cluster, password)


def witness_line(found: list[Line]) -> Line:
    (line,) = (line for line in found if line["t"] == "witness")
    assert bool(line["databases"]) != bool(line["why"])
    return line


def compared(vault: Vault, shot: Shot, node: Node) -> Compared:
    found = lines(vault, shot.captured[node.name])
    assert witness_line(found)["why"] == ""
    tables = [line for line in found if line["t"] == "table"]
    return compare_at_cut(node, witness_line(found)["databases"], tables, lambda: None)


def test_what_is_stored_at_the_cut_is_what_the_clone_holds(
    bank: Bank, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vault = open_vault(tmp_path_factory.mktemp("vault"), bank.cluster)
    with writing(bank, 4) as writers:
        first = capture_cluster(bank.cluster, vault, fingerprint_seconds=SECONDS)
        second = capture_cluster(bank.cluster, vault, base=first, fingerprint_seconds=SECONDS)
    assert [writer.errors for writer in writers] == [[]] * 4
    for shot in (first, second):
        with restored_cluster(site, bank.cluster, shot, vault, settings=HASTY) as clone:
            seen = [compared(vault, shot, node) for node in clone.cluster.nodes]
        assert [(one.findings, one.left_out) for one in seen] == [([], [])] * 3
        assert sum(one.rows for one in seen) == 64
    digests = {
        line["digest"]
        for shot in (first, second)
        for line in lines(vault, shot.captured["dn1"])
        if line["t"] == "table" and line["name"] == "accounts_0"
    }
    assert len(digests) == 2, "the writers wrote"


# -- the rule of the witness --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(make_warehouse: MakeWarehouse) -> Cluster:
    cluster, _ = make_warehouse(1, "house")
    without_autovacuum(cluster.coordinator)
    with superuser(cluster.coordinator) as connection:
        tell(connection, "CREATE TABLE public.t (id int)")
    return cluster


@pytest.fixture
def node(house: Cluster) -> Iterator[Node]:
    """Whatever a test did, no transaction of ours is left open."""
    yield house.coordinator
    with superuser(house.coordinator) as connection:
        until(lambda: not ask(connection, OUR_SESSIONS), 10)


@contextmanager
def witness_of(house: Cluster) -> Iterator[Witness]:
    with Witnesses() as witnesses:
        (point,) = take_one(house, witnesses=witnesses).points
        yield point.witness


@pytest.mark.usefixtures("node")
def test_a_quiet_server_has_a_witness_in_each_database(house: Cluster) -> None:
    with witness_of(house) as witness:
        assert [name for name, _ in witness.snapshots] == ["postgres", "gaussdb"]
        assert witness.why == ""


def test_a_commit_between_snapshot_and_point_is_noticed(
    house: Cluster, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the server is given another point, until one is quiet."""
    mark_nodes = cut.mark_nodes
    names: list[str] = []

    def write_and_mark(nodes: Any, name: str, *rest: Any) -> Any:
        names.append(name)
        if len(names) <= busy:
            with superuser(node) as writer:
                tell(writer, "INSERT INTO public.t VALUES (1)")
        return mark_nodes(nodes, name, *rest)

    monkeypatch.setattr(cut, "mark_nodes", write_and_mark)
    monkeypatch.setattr(cut, "_POINTS", 3)
    busy = 2
    with witness_of(house) as witness:
        assert (len(names), witness.why) == (3, "")
    names, busy = [], 3
    with witness_of(house) as witness:
        assert witness == Witness(why="transactions ended at the moment of the cut")
    assert len({*names}) == 3


@pytest.mark.parametrize("busy", [2, 3])
def test_a_cluster_whose_node_is_not_quiet_is_given_a_few_more_points(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, busy: int
) -> None:
    """The transaction is the node's own: the gate does not hold it up."""
    mark_nodes = cut.mark_nodes
    names: list[str] = []
    disturbed = bank.cluster.data_nodes[0]

    def write_and_mark(nodes: Any, name: str, *rest: Any) -> Any:
        names.append(name)
        if len(names) <= busy:
            with superuser(disturbed) as writer:
                tell(writer, "CREATE TABLE IF NOT EXISTS public.own (id int)")
                tell(writer, "INSERT INTO public.own VALUES (1)")
        return mark_nodes(nodes, name, *rest)

    monkeypatch.setattr(cut, "mark_nodes", write_and_mark)
    with Witnesses() as witnesses:
        points = take_one(bank.cluster, witnesses=witnesses).points
        lost = {point.node: point.witness.why for point in points if point.witness.why}
    assert len({*names}) == 3 and {point.name for point in points} == {names[-1]}
    ended = "transactions ended at the moment of the cut"
    assert lost == ({disturbed.id: ended} if busy == 3 else {})


def test_a_transaction_that_is_in_the_wal_and_not_yet_seen_is_noticed(
    house: Cluster, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit waits for a standby. Every snapshot is the same, yet recovery would bring the row back."""
    monkeypatch.setattr(cut, "_POINTS", 2)
    with superuser(node) as admin, superuser(node) as writer:
        tell(admin, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        tell(admin, "SELECT pg_reload_conf()")
        until(lambda: ask(writer, "SHOW synchronous_standby_names") == [("nobody",)], 10)
        committing = threading.Thread(target=tell, args=(writer, "INSERT INTO public.t VALUES (2)"))
        committing.start()
        waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        until(lambda: ask(admin, waits), 10)
        try:
            with witness_of(house) as witness:
                assert witness.snapshots == ()
                assert "client backend" in witness.why
        finally:
            tell(admin, "ALTER SYSTEM RESET synchronous_standby_names")
            tell(admin, "SELECT pg_reload_conf()")
            committing.join(30)


@pytest.mark.usefixtures("node")
def test_transactions_that_wait_are_no_hindrance(house: Cluster) -> None:
    """One for its client, one for a lock, and a prepared one: none of them commits."""
    with superuser(house.coordinator) as idle, superuser(house.coordinator) as blocked:
        tell(idle, "BEGIN")
        tell(idle, "INSERT INTO public.t VALUES (3)")
        tell(idle, "LOCK TABLE public.t")
        tell(blocked, "BEGIN")
        tell(blocked, "SELECT pg_current_xact_id()")
        waiting = threading.Thread(target=tell, args=(blocked, "INSERT INTO public.t VALUES (4)"))
        waiting.start()
        with superuser(house.coordinator, "gaussdb") as other:
            tell(other, "BEGIN")
            tell(other, "SELECT pg_current_xact_id()")
            tell(other, "PREPARE TRANSACTION 'orphan'")
            until(lambda: ask(other, "SELECT FROM pg_locks WHERE NOT granted"), 10)
            with witness_of(house) as witness:
                assert witness.why == ""
            tell(other, "ROLLBACK PREPARED 'orphan'")
        tell(idle, "ROLLBACK")
        waiting.join(30)


def test_who_bears_an_id_is_in_doubt_until_seen_at_rest() -> None:
    at_work = Seen((("7", "a", "client backend 1", False), ("8", "a", "client backend 2", True)), ())
    doubts = {"7": "client backend 1"}
    assert at_work.in_doubt() == doubts
    assert judge(doubts, (), at_work) == (doubts, set(), False)
    assert judge(doubts, (), Seen((), ())) == ({}, {"7"}, True)
    committing = Seen((("", "a", "client backend 3", False),), (("9", "a"), ("10", "b")))
    assert committing.in_doubt() == {"9": "client backend 3"}
    assert judge({"9": ""}, (), Seen((), (("9", "a"),))) == ({}, {"9"}, False)


def test_who_is_seen_at_rest_must_still_be_there_at_the_next_look() -> None:
    """Its id was read before it had done with its commit, and that it waits for its client after."""
    at_rest = Seen((("7", "a", "client backend 1", True),), ())
    assert judge({"7": "client backend 1"}, (), at_rest) == ({}, {"7"}, False)
    assert judge({}, {"7"}, at_rest) == ({}, set(), False)
    assert judge({}, {"7"}, Seen((), ()))[2]


def test_a_witness_that_dies_costs_the_fingerprints_and_not_the_cut(
    house: Cluster, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_nodes = cut.mark_nodes

    def kill_and_mark(*given: Any) -> Any:
        with superuser(node) as admin:
            ask(admin, f"SELECT pg_terminate_backend(pid) FROM ({OUR_SESSIONS}) AS ours")
            until(lambda: not ask(admin, OUR_SESSIONS), 10)
        return mark_nodes(*given)

    monkeypatch.setattr(cut, "mark_nodes", kill_and_mark)
    with witness_of(house) as witness:
        assert witness.snapshots == ()
        assert witness.why.startswith("its witness ended: ")


def test_the_pause_holds_two_round_trips_more(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """One to the witnesses' sessions and one to the nodes', all asked before any is waited for."""
    shut = False
    executed, at_once = 0, list[int]()
    execute, ask_at_once = psycopg.Connection.execute, session.ask_at_once

    def count(connection: Any, query: Any, *given: Any, **options: Any) -> Any:
        nonlocal executed
        executed += shut
        return execute(connection, query, *given, **options)

    def count_at_once(connections: Any, query: str) -> Any:
        if shut:
            at_once.append(len(connections))
        return ask_at_once(connections, query)

    def around(name: str, is_shut: bool) -> None:
        wrapped = getattr(gate, name)

        def call(*given: Any) -> Any:
            nonlocal shut
            shut = is_shut
            return wrapped(*given)

        monkeypatch.setattr(gate, name, call)

    around("shut", True)
    around("reopen", False)
    monkeypatch.setattr(psycopg.Connection, "execute", count)
    monkeypatch.setattr(witness_module, "ask_at_once", count_at_once)
    take_one(bank.cluster)
    without, executed = executed, 0
    with Witnesses() as witnesses:
        take_one(bank.cluster, witnesses=witnesses)
    nodes, databases = 3, 2
    assert (executed, at_once) == (without, [nodes * databases, nodes])


# -- what is read, after the gate is open again -------------------------------------------------------------------


def read_lines(node: Node, witness: Witness, seconds: float = SECONDS) -> list[Line]:
    reading = Fingerprints(node, witness, seconds)
    try:
        assert reading.done(60)
        found = list(reading.lines())
    finally:
        reading.stop()
    assert witness_line(found)["why"] == ""
    return found


def read(node: Node, witness: Witness, seconds: float = SECONDS) -> dict[str, Line]:
    found = read_lines(node, witness, seconds)
    return {line["name"]: line for line in found if line["t"] == "table" and line["database"] == "postgres"}


KINDS = """
    CREATE TABLE public.toasted (v text);
    ALTER TABLE public.toasted ALTER v SET STORAGE EXTERNAL;
    INSERT INTO public.toasted SELECT repeat(md5(g::text), 1000) FROM generate_series(1, 5) g;
    CREATE TABLE public.part (k int, v text) PARTITION BY LIST (k);
    CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES IN (1);
    CREATE TABLE public.part_2 PARTITION OF public.part DEFAULT;
    INSERT INTO public.part VALUES (1, 'a'), (2, 'b'), (3, 'c');
    CREATE TYPE public.mood AS ENUM ('sad', 'glad');
    CREATE TABLE public.moods (m public.mood, many public.mood[]);
    INSERT INTO public.moods VALUES ('glad', '{sad}');
    CREATE TABLE public.named (r regclass, "odd %s {} name" int);
    INSERT INTO public.named VALUES ('public.part', 1);
    CREATE MATERIALIZED VIEW public.summary AS SELECT count(*) FROM public.part;
    CREATE MATERIALIZED VIEW public.hollow AS SELECT 1 WITH NO DATA;
    CREATE SEQUENCE public.counter;
    CREATE TABLE public.kept (a int, b int);
    INSERT INTO public.kept VALUES (1, 2);
"""
GONE = """
    DROP TABLE IF EXISTS public.toasted, public.part, public.moods, public.named, public.kept, public.renamed CASCADE;
    DROP MATERIALIZED VIEW IF EXISTS public.summary, public.hollow;
    DROP SEQUENCE IF EXISTS public.counter;
    DROP TYPE IF EXISTS public.mood;
"""


@pytest.fixture
def tables(node: Node) -> Iterator[Connection]:
    with superuser(node) as connection:
        tell(connection, GONE + KINDS)
        yield connection
        tell(connection, GONE)


def test_partitioned_tables_are_named_though_they_have_no_rows(
    house: Cluster, node: Node, tables: Connection
) -> None:
    with witness_of(house) as witness:
        tell(tables, "CREATE TABLE public.later (k int) PARTITION BY LIST (k)")
        found = read_lines(node, witness)
        tell(tables, "DROP TABLE public.later")
    assert witness_line(found)["partitioned"] is True
    (line,) = (line for line in found if line["t"] == "partitioned")
    assert line == {"t": "partitioned", "database": "postgres", "schema": "public", "name": "part"}
    assert "part" not in {one["name"] for one in found if one["t"] == "table"}


def test_every_kind_of_table_is_read(house: Cluster, node: Node, tables: Connection) -> None:
    with witness_of(house) as witness:
        found = read(node, witness)
    assert {name: line["rows"] for name, line in found.items() if "rows" in line and name != "t"} == {
        "toasted": 5,
        "part_1": 1,
        "part_2": 2,
        "moods": 1,
        "named": 1,
        "summary": 1,
        "kept": 1,
        "pg_largeobject": 0,
        "pg_largeobject_metadata": 0,
    }
    assert found["hollow"]["left_out"] == "it is not populated"
    assert {"part", "counter"}.isdisjoint(found)
    assert compare_at_cut(node, ["postgres"], found.values(), lambda: None).findings == []


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO public.kept VALUES (3, 4)",
        "UPDATE public.kept SET a = 9",
        "DELETE FROM public.kept",
        "ALTER TABLE public.part RENAME TO renamed",  # regclass prints the present name
        "VACUUM public.kept",
    ],
)
def test_what_is_written_after_the_cut_is_not_read(
    house: Cluster, node: Node, tables: Connection, change: str
) -> None:
    with witness_of(house) as witness:
        before = read(node, witness)
        tell(tables, change)
        assert read(node, witness) == before


ALTERED = "it was dropped, rewritten or altered meanwhile"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("TRUNCATE public.kept", ALTERED),
        ("VACUUM FULL public.kept", ALTERED),
        ("ALTER TABLE public.kept ADD c int DEFAULT 3", ALTERED),
        ("ALTER TABLE public.kept ALTER b TYPE bigint", ALTERED),
        ("ALTER TABLE public.kept DROP b; ALTER TABLE public.kept ADD b int DEFAULT 2", ALTERED),
        ("ALTER TABLE public.kept RENAME b TO c", "does not exist"),
        ("DROP TABLE public.kept", "does not exist"),
        ("DROP TABLE public.kept; CREATE TABLE public.kept (a int, b int)", "was replaced while it was read"),
    ],
)
def test_a_table_that_the_snapshot_no_longer_shows_as_it_was_is_left_out(
    house: Cluster, node: Node, tables: Connection, change: str, why: str
) -> None:
    with witness_of(house) as witness:
        for statement in change.split("; "):
            tell(tables, statement)
        found = read(node, witness)
    assert why in found["kept"]["left_out"]
    assert [name for name, line in found.items() if "left_out" in line] == ["hollow", "kept"]


def test_a_renamed_label_leaves_out_the_whole_database(
    house: Cluster, node: Node, tables: Connection
) -> None:
    with witness_of(house) as witness:
        tell(tables, "ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'")
        assert all("left_out" in line and "digest" not in line for line in read(node, witness).values())


def test_no_function_of_a_users_runs_as_superuser(house: Cluster, node: Node) -> None:
    raises = "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE 'run by %', current_user; END $$"
    with log_in(node) as user:
        user.execute("CREATE TYPE trap AS (v int)")
        user.execute(f"CREATE FUNCTION snap(trap) RETURNS text {raises}".encode())
        user.execute("CREATE CAST (trap AS text) WITH FUNCTION snap(trap) AS IMPLICIT")
        user.execute("CREATE TABLE trapped (t trap, o oid)")
        user.execute("INSERT INTO trapped VALUES (ROW(1), 1)")
        user.execute(
            "CREATE FUNCTION hash_record_extended(trapped, int) RETURNS bigint LANGUAGE sql AS 'SELECT 1'"
        )
        user.execute("ALTER TABLE trapped ENABLE ROW LEVEL SECURITY")
        try:
            with witness_of(house) as witness:
                assert read(node, witness)["trapped"]["rows"] == 1
        finally:
            user.execute("DROP TABLE trapped CASCADE")
            user.execute("DROP TYPE trap CASCADE")


# -- it never harms the warehouse ---------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Reading `part_2` takes a minute, unless it is cancelled; set once it has begun."""
    begun = threading.Event()

    def read_slowly(connection: Connection, relation: proof_tables.Relation) -> proof_tables.Rows:
        rows = proof_tables.read_rows(connection, relation)
        if relation.name == "part_2":
            begun.set()
            tell(connection, "SELECT pg_sleep(60)")
        return rows

    monkeypatch.setattr(fingerprints, "read_rows", read_slowly)
    return begun


def test_the_reading_gives_way_to_whoever_waits_for_it(
    house: Cluster, node: Node, tables: Connection, slow: threading.Event
) -> None:
    with witness_of(house) as witness:
        reading = Fingerprints(node, witness, SECONDS)
        assert slow.wait(30)
        tell(tables, "SET statement_timeout = '20s'")
        tell(tables, "ALTER TABLE public.part ADD c int")
        assert reading.done(30)
        left_out = {line["name"]: line.get("left_out") for line in reading.lines() if line["t"] == "table"}
        reading.stop()
    assert left_out["part_2"] == "another session waited for its lock"
    assert left_out["named"] is None


def test_only_the_table_at_hand_is_locked(
    house: Cluster, node: Node, tables: Connection, slow: threading.Event
) -> None:
    locked = """
        SELECT DISTINCT l.relation::regclass::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE a.application_name = 'stillhouse fingerprints' AND l.relation >= 16384 AND l.database <> 0
    """
    with witness_of(house) as witness:
        reading = Fingerprints(node, witness, SECONDS)
        assert slow.wait(30)
        assert ask(tables, locked) == [("public.part_2",)]
        reading.stop()


def test_a_reading_that_is_stopped_ends_at_once(
    house: Cluster, node: Node, tables: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is told just before it sends its next statement, where a cancellation finds nothing to cancel."""
    begun, told = threading.Event(), threading.Event()
    cancelled = Fingerprints._cancel

    def cancel(reading: Fingerprints) -> None:
        cancelled(reading)
        told.set()

    def read_slowly(connection: Connection, relation: proof_tables.Relation) -> proof_tables.Rows:
        begun.set()
        assert told.wait(30)
        tell(connection, "SELECT pg_sleep(600)")
        return proof_tables.Rows(0, "")

    monkeypatch.setattr(fingerprints, "read_rows", read_slowly)
    monkeypatch.setattr(Fingerprints, "_cancel", cancel)
    with witness_of(house) as witness:
        reading = Fingerprints(node, witness, 10 * SECONDS)
        assert begun.wait(30)
        reading.stop()
    until(lambda: not ask(tables, OUR_SESSIONS), 10)


def test_what_there_is_no_time_for_is_said_to_be_left_out(
    house: Cluster, node: Node, tables: Connection
) -> None:
    with witness_of(house) as witness:
        found = read(node, witness, seconds=0)
    assert found["kept"]["left_out"] == "there was no time"
    assert not any("digest" in line for line in found.values())


@pytest.mark.parametrize(
    ("witness", "why"),
    [(Witness(), "fingerprints are switched off"), (Witness(why="it was not quiet"), "it was not quiet")],
)
def test_without_a_witness_nothing_is_read_and_it_is_said_why(node: Node, witness: Witness, why: str) -> None:
    reading = Fingerprints(node, witness, SECONDS)
    assert reading.done(30)
    assert list(reading.lines()) == [{"t": "witness", "databases": [], "why": why, "partitioned": False}]
    reading.stop()


def test_a_witness_that_is_gone_leaves_no_half_truth(house: Cluster, node: Node) -> None:
    with witness_of(house) as witness:
        pass
    reading = Fingerprints(node, witness, SECONDS)
    assert reading.done(30)
    found: list[Line] = list(reading.lines())
    (line,) = found
    reading.stop()
    assert line["why"].startswith("its tables were not read to the end: ")


def test_the_witness_may_go_once_the_reading_has_begun(
    house: Cluster, node: Node, tables: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gone = threading.Event(), threading.Event()

    def read_when_gone(connection: Connection, relation: proof_tables.Relation) -> proof_tables.Rows:
        begun.set()
        assert gone.wait(30)
        return proof_tables.read_rows(connection, relation)

    monkeypatch.setattr(fingerprints, "read_rows", read_when_gone)
    with witness_of(house) as witness:
        reading = Fingerprints(node, witness, SECONDS)
        assert begun.wait(30)
    gone.set()
    assert reading.done(30)
    found: list[Line] = list(reading.lines())
    reading.stop()
    assert witness_line(found)["databases"] == ["postgres", "gaussdb"]
    assert {line["database"] for line in found if "rows" in line} == {"postgres", "gaussdb"}


def test_many_tables_are_read_one_by_one(house: Cluster, node: Node) -> None:
    with superuser(node) as connection:
        tell(
            connection,
            "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'CREATE TABLE public.m' || i || ' (v int)'; END LOOP; END $$",
        )
        with witness_of(house) as witness:
            found = read(node, witness)
        assert sum(name.startswith("m") and "rows" in line for name, line in found.items()) == 300
        tell(
            connection,
            "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'DROP TABLE public.m' || i; END LOOP; END $$",
        )
