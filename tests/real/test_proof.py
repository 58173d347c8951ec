"""The proof finds every single difference, and none where there is none."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_uuid
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.clone.rewire import rewire
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.proof.structure import check_structure
from support.proof import against_source, definitions
from support.proof.against_source import Difference, NodeFingerprint, Position
from support.servers.warehouses import MakeWarehouse, log_in, rows, take_in

pytestmark = pytest.mark.long

_SETUP = """
    CREATE TABLE public.account (
        id int PRIMARY KEY, owner text NOT NULL DEFAULT 'nobody', balance numeric CHECK (balance >= 0));
    CREATE INDEX account_owner ON public.account (owner);
    INSERT INTO public.account SELECT g, 'owner ' || g, g FROM generate_series(1, 100) g;
    CREATE TABLE public.twin (v int);
    INSERT INTO public.twin VALUES (1), (1), (2);
    CREATE TABLE public.t (t int, rows int, r int, other int);
    INSERT INTO public.t VALUES (1, 1, 1, 1), (2, 2, 2, 2);
    CREATE TABLE public.part (k int, v text) PARTITION BY LIST (k);
    CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES IN (1);
    CREATE TABLE public.part_2 PARTITION OF public.part FOR VALUES IN (2);
    INSERT INTO public.part VALUES (1, 'a'), (2, 'b');
    CREATE TABLE public.parent (v int);
    CREATE TABLE public.child () INHERITS (public.parent);
    INSERT INTO public.child VALUES (1);
    CREATE TABLE public.no_columns ();
    INSERT INTO public.no_columns DEFAULT VALUES;
    CREATE MATERIALIZED VIEW public.summary AS SELECT count(*) FROM public.account;
    CREATE MATERIALIZED VIEW public.hollow AS SELECT 1 / 0 AS never WITH NO DATA;
    CREATE UNLOGGED TABLE public.fleeting (v int);
    INSERT INTO public.fleeting VALUES (1);
    CREATE SEQUENCE public.counter;
    SELECT setval('public.counter', 10);
    CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
    CREATE VIEW public.rich AS SELECT * FROM public.account WHERE balance > 50;
    SELECT lo_from_bytea(4711, 'large');
    CREATE ROLE visitor NOLOGIN;
"""
_UNDO = """
    DROP TABLE IF EXISTS public.account, public.twin, public.t, public.part, public.parent, public.child,
        public.no_columns, public.fleeting CASCADE;
    DROP MATERIALIZED VIEW IF EXISTS public.hollow;
    DROP SEQUENCE IF EXISTS public.counter;
    DROP FUNCTION IF EXISTS public.twice;
    SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
    DROP ROLE IF EXISTS visitor;
"""

Run = Callable[[str], None]


@pytest.fixture(scope="module")
def node(make_warehouse: MakeWarehouse) -> Node:
    return make_warehouse(1, "proved")[0].coordinator


@pytest.fixture
def run(node: Node) -> Run:
    """SQL in the database that the fixture has filled, as superuser."""

    def execute(statements: str) -> None:
        with closing(session.connect(node, "postgres")) as connection:
            connection.execute(statements.encode())

    execute(_UNDO)
    execute(_SETUP)
    return execute


@pytest.fixture
def take(node: Node, binaries: Binaries) -> Callable[[], list[NodeFingerprint]]:
    return lambda: against_source.fingerprint_cluster([node], binaries)


Take = Callable[[], list[NodeFingerprint]]


def test_a_node_equals_itself(take: Take, run: Run) -> None:
    first = take()
    read = first[0].databases["postgres"]
    assert read.rows["public.account"].count == 100
    assert read.rows["public.parent"].count == 0
    assert read.rows["pg_catalog.pg_largeobject"].count == 1
    assert {"public.hollow", "public.fleeting", "public.part"}.isdisjoint(read.rows)
    assert set(first[0].databases) == {"postgres", "gaussdb", "template1"}
    assert first[0].closed == {"template0"}
    assert against_source.compare(first, take()) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE public.account SET balance = 0 WHERE id = 7", "postgres: public.account holds other rows"),
        ("UPDATE public.account SET balance = NULL WHERE id = 3", "public.account holds other rows"),
        ("UPDATE public.account SET owner = '' WHERE id = 3", "public.account holds other rows"),
        ("DELETE FROM public.account WHERE id = 7", "public.account has 99 rows, not 100"),
        ("INSERT INTO public.twin VALUES (2)", "public.twin has 4 rows, not 3"),
        ("UPDATE public.twin SET v = 2 WHERE ctid = '(0,1)'", "public.twin holds other rows"),
        (
            "UPDATE public.account SET balance = 3 - id WHERE id IN (1, 2)",
            "public.account holds other rows",
        ),
        ("UPDATE public.t SET other = 3 - other", "public.t holds other rows"),
        ("DELETE FROM public.no_columns", "public.no_columns has 0 rows, not 1"),
        ("UPDATE public.child SET v = 2", "public.child holds other rows"),
        ("SELECT lo_put(4711, 0, 'L')", "pg_catalog.pg_largeobject holds other rows"),
        ("SELECT setval('public.counter', 9)", "sequence public.counter stands at 9, not 10"),
        ("SELECT setval('public.counter', 11)", "sequence public.counter stands at 11, not 10"),
        ("SELECT setval('public.counter', 10, false)", "sequence public.counter stands at 10, not 10"),
        ("DROP INDEX public.account_owner", "INDEX public.account_owner: missing"),
        (
            "ALTER TABLE public.account DROP CONSTRAINT account_balance_check",
            "CONSTRAINT account_balance_check CHECK",
        ),
        ("ALTER TABLE public.account DROP CONSTRAINT account_pkey", "account_pkey: missing"),
        ("ALTER TABLE public.account ALTER owner SET DEFAULT 'you'", "+ owner text DEFAULT 'you'::text"),
        ("ALTER TABLE public.twin OWNER TO visitor", "TABLE public.twin: defined otherwise"),
        ("ALTER VIEW public.rich RENAME TO poor", "VIEW public.poor: was not there"),
        ("CREATE OR REPLACE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 3'", "SELECT 3"),
        ("ALTER TABLE public.fleeting ADD w int", "TABLE public.fleeting: defined otherwise"),
        ("GRANT SELECT ON public.twin TO visitor", "ACL public.TABLE twin: was not there"),
        ("ALTER ROLE visitor CREATEDB", "roles and tablespaces: defined otherwise"),
        ("ALTER DATABASE postgres SET work_mem = '5MB'", "DATABASE PROPERTIES postgres: was not there"),
    ],
)
def test_one_change_is_found_and_named(take: Take, run: Run, change: str, named: str) -> None:
    source = take()
    run(change)
    found = against_source.compare(source, take())
    run("ALTER DATABASE postgres RESET ALL")
    assert len(found) <= 2, found
    assert any(named in str(difference) for difference in found), found


def test_a_row_in_another_partition_is_found(take: Take, run: Run) -> None:
    source = take()
    run("UPDATE public.part SET k = 2 WHERE k = 1")
    assert against_source.compare(source, take()) == [
        Difference("cn", "postgres: public.part_1 has 0 rows, not 1"),
        Difference("cn", "postgres: public.part_2 has 2 rows, not 1"),
    ]


def test_a_table_too_many_or_too_few_is_found(take: Take, run: Run) -> None:
    source = take()
    run("DROP TABLE public.twin")
    without = take()
    assert Difference("cn", "postgres: rows of public.twin: missing") in against_source.compare(
        source, without
    )
    assert Difference("cn", "postgres: rows of public.twin: was not there") in against_source.compare(
        without, source
    )


def test_a_materialised_view_is_compared_by_what_it_holds(take: Take, run: Run) -> None:
    run("DELETE FROM public.account WHERE id = 1")
    source = take()
    run("REFRESH MATERIALIZED VIEW public.summary")
    assert against_source.compare(source, take()) == [
        Difference("cn", "postgres: public.summary holds other rows")
    ]


def test_databases_and_nodes_too_many_or_too_few_are_found(take: Take, run: Run) -> None:
    (source,) = take()
    less = {name: read for name, read in source.databases.items() if name != "gaussdb"}
    closed = replace(source, databases=less, closed=source.closed | {"gaussdb"})
    assert against_source.compare([source], [closed]) == [
        Difference("cn", "database gaussdb: missing"),
        Difference("cn", "closed database gaussdb: was not there"),
    ]
    assert against_source.compare([source], []) == [Difference("cn", "the node is missing")]
    assert against_source.compare([], [source]) == [Difference("cn", "the node was not there")]


@pytest.mark.parametrize("name", ["a=b host=192.0.2.1", "it's", "back\\slash", "über 'all'"])
def test_a_database_is_read_whatever_its_name(take: Take, run: Run, name: str) -> None:
    quoted = name.replace('"', '""')
    run(f'CREATE DATABASE "{quoted}"')
    try:
        assert f"DATABASE {name}" in take()[0].databases[name].definitions
    finally:
        run(f'DROP DATABASE "{quoted}"')


def test_no_function_of_a_users_runs_as_superuser(node: Node, take: Take, run: Run) -> None:
    with log_in(node) as user:
        user.execute("CREATE TABLE trap (v int)")
        user.execute("INSERT INTO trap VALUES (1)")
        user.execute(
            "CREATE FUNCTION snap(trap) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'snap'; END $$"
        )
        user.execute("CREATE CAST (trap AS text) WITH FUNCTION snap(trap)")
    try:
        assert take()[0].databases["postgres"].rows["public.trap"].count == 1
    finally:
        run("DROP TABLE public.trap CASCADE")


def test_what_recovery_changes_by_definition_is_no_difference(
    node: Node, binaries: Binaries, take: Take, run: Run
) -> None:
    run("CHECKPOINT")
    run("SELECT nextval('public.counter') FROM generate_series(1, 5)")
    source = take()
    server.stop(binaries, node, "immediate")
    server.start(binaries, node)
    # Recovered from WAL, which says 32 values ahead; unlogged tables are empty.
    assert rows(node, "SELECT last_value FROM public.counter") != [(15,)]
    assert rows(node, "SELECT count(*) FROM public.fleeting") == [(0,)]
    assert against_source.compare(source, take()) == []
    run("SELECT nextval('public.counter')")
    assert len(against_source.compare(source, take())) == 1


def test_a_sequence_may_skip_what_it_had_logged_and_nothing_else() -> None:
    stood = Position(value=15, called=True, logged=28, increment=-2)
    assert stood.may_be_recovered_as(replace(stood, logged=0))
    assert stood.may_be_recovered_as(Position(-41, True, 0, -2))
    for value in (-43, -39, 13, 17):
        assert not stood.may_be_recovered_as(replace(stood, value=value, logged=0))


@dataclass(frozen=True)
class Pair:
    source: Cluster
    fingerprints: list[NodeFingerprint]
    clone: tuple[Node, ...]


@pytest.fixture(scope="module")
def pair(site: Site, make_warehouse: MakeWarehouse) -> Iterator[Pair]:
    """A cluster of three nodes, and its clone as a restore leaves it: copied, rewired, open."""
    source, _ = make_warehouse(2, "original")
    with log_in(source.coordinator) as user:
        user.execute(
            "SELECT stillhouse.create_distributed_table('wide', 'id int, v text', 'id', 'PRIMARY KEY (id)')"
        )
        user.execute("INSERT INTO wide SELECT g, 'value ' || g FROM generate_series(1, 1000) g")
    with closing(session.connect(source.coordinator, "postgres")) as operator:
        operator.execute("SET allow_in_place_tablespaces = on")
        operator.execute("CREATE TABLESPACE fast LOCATION ''")
        operator.execute("CREATE TABLE public.placed (v int) TABLESPACE fast")
        operator.execute(
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.7', port '5433')"
        )
        operator.execute(
            "CREATE USER MAPPING FOR dbadmin SERVER elsewhere OPTIONS (user 'x', password 'it''s secret')"
        )
        operator.execute(
            "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
            " WITH (connect = false, slot_name = 'precious')"
        )
    fingerprints = against_source.fingerprint_cluster(source.nodes, site.binaries)
    clone_id = new_uuid()
    clone = embedded.plan_nodes(site, clone_id, source.number_of_node, source.port)
    embedded.stop_all(site, source.nodes)
    for old, new in zip(source.nodes, clone, strict=True):
        subprocess.run(["cp", "-a", old.directory, new.directory], check=True)
    embedded.start_all(site, source.nodes)
    for node in clone:
        take_in(site, node)
    rewire(clone, source.user_name, source.nodes)
    yield Pair(source, fingerprints, clone)
    embedded.destroy(site, clone_id)


def test_a_rewired_clone_equals_its_source_and_is_sound(pair: Pair, binaries: Binaries) -> None:
    counts = {
        read.node: read.databases["postgres"].rows["public.wide"].count for read in pair.fingerprints[1:]
    }
    assert set(counts) == {"dn1", "dn2"} and sum(counts.values()) == 1000
    assert (
        against_source.compare(pair.fingerprints, against_source.fingerprint_cluster(pair.clone, binaries))
        == []
    )
    for node in pair.clone:
        seen = check_structure(node)
        assert (seen.findings, seen.unchecked, seen.notes) == ([], [], [])
        assert seen.pages == seen.pages_total > 2000
    # Nor does the check leave anything behind.
    assert (
        against_source.compare(pair.fingerprints, against_source.fingerprint_cluster(pair.clone, binaries))
        == []
    )


@pytest.mark.parametrize("wrong", ["the source's node", "another node"])
def test_a_server_that_points_to_the_wrong_node_is_found(pair: Pair, binaries: Binaries, wrong: str) -> None:
    coordinator, dn1, dn2 = pair.clone
    target = pair.source.data_nodes[0] if wrong == "the source's node" else dn2
    point = "ALTER SERVER dn1 OPTIONS (SET host '{}', SET port '{}')"
    with closing(session.connect(coordinator, "gaussdb")) as operator:
        operator.execute(point.format(target.host, target.port).encode())
        try:
            found = against_source.compare(
                pair.fingerprints[:1], [against_source.fingerprint(coordinator, binaries, pair.clone)]
            )
        finally:
            operator.execute(point.format(dn1.host, dn1.port).encode())
    assert any("gaussdb: SERVER dn1: defined otherwise" in str(difference) for difference in found), found


def test_a_strangers_changed_password_is_found_and_not_shown(pair: Pair, binaries: Binaries) -> None:
    coordinator = pair.clone[0]
    change = "ALTER USER MAPPING FOR dbadmin SERVER elsewhere OPTIONS (SET password '{}')"
    with closing(session.connect(coordinator, "postgres")) as operator:
        operator.execute(change.format("changed").encode())
        now = against_source.fingerprint(coordinator, binaries, pair.clone)
        operator.execute(change.format("it''s secret").encode())
    mapping = "USER MAPPING dbadmin SERVER elsewhere"
    assert against_source.compare(pair.fingerprints[:1], [now]) == [
        Difference("cn", f"postgres: {mapping}: defined otherwise")
    ]
    assert "secret" not in repr(pair.fingerprints)


def test_entries_of_a_dump_are_told_apart_by_what_they_define() -> None:
    dump = (
        "--\n-- PostgreSQL database dump\n--\n\nSET a = b;\n\n"
        "--\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\nCREATE TABLE public.t ();\n\n\n"
        "--\n-- Name: s; Type: SERVER; Schema: -; Owner: o\n--\n\nCREATE SERVER s;\n\n\n"
    )
    entries = definitions.split(dump)
    assert list(entries) == ["preamble", "TABLE public.t", "SERVER s"]
    assert entries["TABLE public.t"].endswith("CREATE TABLE public.t ();\n")


def test_a_tablespace_is_compared_less_its_place() -> None:
    made = "CREATE TABLESPACE fast OWNER dbadmin LOCATION '/srv/it''s here';\nALTER ROLE a LOCATION '/b';\n"
    assert definitions.without_places(made) == (
        "CREATE TABLESPACE fast OWNER dbadmin LOCATION;\nALTER ROLE a LOCATION '/b';\n"
    )


def test_a_page_as_it_was_before_is_found(site: Site, make_warehouse: MakeWarehouse) -> None:
    """What a restore would leave that took an unchanged page too many: checksum and structure are in order."""
    node = make_warehouse(1, "stale")[0].coordinator
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("CREATE TABLE public.t (v int)")
        connection.execute("INSERT INTO public.t SELECT generate_series(1, 1000)")
        connection.execute("CHECKPOINT")
        ((path,),) = connection.execute("SELECT pg_relation_filepath('public.t')").fetchall()
        file = Path(node.directory, "pgdata", path)
        before = file.read_bytes()[:8192]
        connection.execute("UPDATE public.t SET v = 0 WHERE v = 1")
    source = against_source.fingerprint_cluster([node], site.binaries)
    server.stop(site.binaries, node)
    _overwrite(file, 0, before)
    server.start(site.binaries, node)
    found = against_source.compare(source, against_source.fingerprint_cluster([node], site.binaries))
    assert [difference.what.partition(" ")[0] for difference in found] == ["postgres:"]
    assert "public.t " in found[0].what


@pytest.fixture
def indexed(make_warehouse: MakeWarehouse) -> Node:
    """A node to break, with a table `t` and its index `t_pkey`."""
    node = make_warehouse(1, "broken")[0].coordinator
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("CREATE TABLE public.t (id int PRIMARY KEY)")
        connection.execute("INSERT INTO public.t SELECT generate_series(1, 5000)")
    return node


def test_a_row_that_its_index_does_not_know_is_found(indexed: Node) -> None:
    ready = "UPDATE pg_index SET indisready = {} WHERE indexrelid = 'public.t_pkey'::regclass"
    with closing(session.connect(indexed, "postgres")) as connection:
        # The catalog says the index takes no new entries: rows of this moment are missing from it for good.
        connection.execute(ready.format("false").encode())
        connection.execute("INSERT INTO public.t VALUES (5001)")
        connection.execute(ready.format("true").encode())
    seen = check_structure(indexed)
    assert any("t_pkey" in line for line in seen.findings) and seen.unchecked == []


def test_a_flipped_byte_in_an_index_is_found(indexed: Node, binaries: Binaries) -> None:
    ((path,),) = rows(indexed, "SELECT pg_relation_filepath('public.t_pkey')")
    server.stop(binaries, indexed)
    file = Path(indexed.directory, "pgdata", path)
    _overwrite(file, 2 * 8192 + 8000, bytes([file.read_bytes()[2 * 8192 + 8000] ^ 1]))
    server.start(binaries, indexed)
    seen = check_structure(indexed)
    assert any("t_pkey" in line for line in seen.findings), seen
    assert seen.unchecked == []
    assert rows(indexed, "SELECT extname FROM pg_extension WHERE extname = 'amcheck'") == []


def _overwrite(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(content)
