"""Nothing that a tenant puts in the place of a table that we read runs as superuser, at whatever moment he does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.snapshot import Witness
from stillhouse.errors import DatabaseClosed, InvalidInput, TableReplaced
from stillhouse.node.capture.fingerprints import Fingerprints
from stillhouse.postgres.host import binaries
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.host.releases import why_too_old
from stillhouse.postgres.sessions import reading
from stillhouse.postgres.sessions.databases import databases_of
from stillhouse.postgres.sessions.reading import enter_as_reader
from stillhouse.postgres.sessions.session import READER, Connection
from stillhouse.warehouse.clone.inspection import inspect
from stillhouse.warehouse.cluster import contents
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cut.witness import Witnesses
from stillhouse.warehouse.proof import tables as proof_tables
from stillhouse.warehouse.proof.compare_with_cut import compare_at_cut
from stillhouse.warehouse.proof.structure import check_structure
from support.proof import against_source
from support.repositories.crafted_lines import Line
from support.servers.warehouses import USER, log_in
from support.snapshots.captures import take_one
from support.snapshots.cuts import superuser, tell

pytest_plugins = ["support.servers.versions"]
pytestmark = pytest.mark.long

# The server's log names the role that runs it, whatever becomes of the transaction.
SPRUNG = "sprung by "
SNARES = f"""
    CREATE SCHEMA snares;
    CREATE FUNCTION snares.spring() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        RAISE LOG '{SPRUNG}%, superuser %', current_user, current_setting('is_superuser'); RETURN 1; END $$;
    CREATE FUNCTION snares.spring_for(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        RETURN snares.spring() = 1; END $$;
    CREATE FUNCTION snares.spring_between(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RETURN snares.spring() = 1; END $$;
    CREATE OPERATOR snares.= (FUNCTION = snares.spring_between, LEFTARG = int, RIGHTARG = int);
    CREATE VIEW snares.view AS SELECT snares.spring() AS v;

    CREATE FUNCTION snares.notice() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM snares.spring(); END $$;

    CREATE SCHEMA shop;
    CREATE TABLE shop.kept (v int);
    INSERT INTO shop.kept VALUES (1), (2);
    CREATE TABLE shop.old (v int);
    CREATE TABLE shop.young (v int);
    CREATE MATERIALIZED VIEW shop.summary AS SELECT 1 AS v;
    CREATE SEQUENCE shop.counter;
    CREATE SCHEMA moving;
    CREATE TABLE moving.van (v int);
    INSERT INTO moving.van VALUES (1);

    CREATE DOMAIN snares.checked AS int CHECK (snares.spring_for(VALUE));
    CREATE TYPE snares.pair AS (v int);
    CREATE FUNCTION snares.say(snares.pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        RETURN snares.spring()::text; END $$;
    CREATE CAST (snares.pair AS text) WITH FUNCTION snares.say(snares.pair) AS IMPLICIT;
    CREATE TABLE shop.laid (v int DEFAULT snares.spring(), d snares.checked, p snares.pair,
                            CHECK (snares.spring_for(v)));
    INSERT INTO shop.laid VALUES (1, 1, ROW(1));
    CREATE TABLE shop.policed (v int);
    INSERT INTO shop.policed VALUES (1);
    ALTER TABLE shop.policed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY look ON shop.policed USING (snares.spring_for(v));
    CREATE TABLE shop.triggered (v int);
    CREATE FUNCTION snares.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM snares.spring(); RETURN NULL; END $$;
    CREATE TRIGGER fire AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON shop.triggered
        EXECUTE FUNCTION snares.fire();
    CREATE TABLE shop.parted (v int) PARTITION BY LIST ((v + snares.spring()));
    CREATE TABLE shop.parted_1 PARTITION OF shop.parted DEFAULT;
"""
# Planned wherever the table is, however little is read of it.
FOLDED = """
    CREATE TABLE shop.indexed (v int);
    INSERT INTO shop.indexed VALUES (1);
    CREATE INDEX ON shop.indexed ((v + snares.spring()));
    CREATE STATISTICS shop.statistics ON (v + snares.spring()), v FROM shop.indexed;
"""
GONE = """
    DROP SCHEMA IF EXISTS shop CASCADE; DROP SCHEMA IF EXISTS moving CASCADE; DROP SCHEMA IF EXISTS moved CASCADE;
    DROP SCHEMA IF EXISTS snares CASCADE;
"""
INSTEAD = "CREATE VIEW {0} AS SELECT * FROM snares.view"

# For each table, by its name: the statements of the tenant while it is read, before the lock or behind the check.
Swap = tuple[str, str, str]
SWAPS: dict[str, Swap] = {
    "a view in the place of a table": (
        "shop.kept",
        "before",
        f"ALTER TABLE shop.kept RENAME TO hidden; {INSTEAD.format('shop.kept')}",
    ),
    "a table in the place of a table": (
        "shop.kept",
        "before",
        "ALTER TABLE shop.kept RENAME TO hidden; ALTER TABLE shop.old RENAME TO kept",
    ),
    "a materialised view in the place of a table": (
        "shop.kept",
        "before",
        "ALTER TABLE shop.kept RENAME TO hidden; CREATE MATERIALIZED VIEW shop.kept AS SELECT 1 AS v",
    ),
    "a partitioned table in the place of a table": (
        "shop.kept",
        "before",
        "ALTER TABLE shop.kept RENAME TO hidden; ALTER TABLE shop.parted RENAME TO kept",
    ),
    "a view in a schema in the place of the schema": (
        "moving.van",
        "behind",
        f"ALTER SCHEMA moving RENAME TO moved; CREATE SCHEMA moving; {INSTEAD.format('moving.van')}",
    ),
    "a table in a schema in the place of the schema": (
        "moving.van",
        "behind",
        "ALTER SCHEMA moving RENAME TO moved; CREATE SCHEMA moving; CREATE TABLE moving.van (v int)",
    ),
    "a view in the place of a materialised view": (
        "shop.summary",
        "behind",
        f"ALTER MATERIALIZED VIEW shop.summary RENAME TO hidden; {INSTEAD.format('shop.summary')}",
    ),
    "a table in the place of a materialised view": (
        "shop.summary",
        "behind",
        "ALTER MATERIALIZED VIEW shop.summary RENAME TO hidden; ALTER TABLE shop.young RENAME TO summary",
    ),
    "a table of another shape in the place of a materialised view": (
        "shop.summary",
        "behind",
        "ALTER MATERIALIZED VIEW shop.summary RENAME TO hidden; CREATE TABLE shop.summary (w int)",
    ),
}
# Up to 15 this rule turned a table into a view, which kept its number.
RULED = (
    "shop.young",
    "before",
    'CREATE RULE "_RETURN" AS ON SELECT TO shop.young DO INSTEAD SELECT snares.spring() AS v',
)


@pytest.fixture(scope="module")
def node(lone: Cluster) -> Node:
    with superuser(lone.coordinator) as connection:
        tell(connection, "ALTER SYSTEM SET autovacuum = off")
        tell(connection, f"GRANT CREATE ON DATABASE postgres TO {USER}")
        tell(connection, "SELECT pg_reload_conf()")
    return lone.coordinator


@pytest.fixture
def tenant(node: Node) -> Iterator[Any]:
    with log_in(node) as user:
        for statements in (GONE, SNARES, FOLDED):
            user.execute(statements.encode())
        yield user
        user.execute(GONE.encode())


def sprung(node: Node, since: int) -> set[str]:
    log = Path(node.directory, "server.log").read_bytes()[since:].decode(errors="replace")
    return {line.partition(SPRUNG)[2] for line in log.splitlines() if f"LOG:  {SPRUNG}" in line}


def log_size(node: Node) -> int:
    return Path(node.directory, "server.log").stat().st_size


@contextmanager
def swapping(monkeypatch: pytest.MonkeyPatch, tenant: Any, swap: Swap) -> Iterator[None]:
    """The tenant swaps at the one right moment; a statement that would have to wait is not done."""
    of, moment, statements = swap
    done: list[str] = []

    def act(relation: Any, now: str) -> None:
        if str(relation) == of and now == moment and not done:
            done.append(now)
            tenant.execute(b"SET lock_timeout = '2s'")
            for statement in statements.split("; "):
                tenant.execute(statement.encode())

    @contextmanager
    def only(connection: Connection, relation: Any) -> Iterator[None]:
        act(relation, "before")
        with reading.only(connection, relation):
            act(relation, "behind")
            yield

    with monkeypatch.context() as patched:
        for module in (proof_tables, against_source):
            patched.setattr(module, "only", only)
        yield
    assert done, "the tenant had his moment"


@contextmanager
def witness_of(cluster: Cluster) -> Iterator[Witness]:
    with Witnesses() as witnesses:
        (point,) = take_one(cluster, witnesses=witnesses).points
        yield point.witness


def read(node: Node, witness: Witness) -> tuple[dict[str, Line], list[str]]:
    fingerprints = Fingerprints(node, witness, 60)
    try:
        assert fingerprints.done(60)
        found: list[Line] = list(fingerprints.lines())
    finally:
        fingerprints.stop()
    assert found[0]["why"] == ""
    ours = [line for line in found if line["t"] == "table" and line["database"] == "postgres"]
    tables = {f"{line['schema']}.{line['name']}": line for line in ours}
    return tables, fingerprints.replaced


def test_1_no_code_of_a_tenants_runs_when_he_swaps_what_is_read(
    lone: Cluster, node: Node, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way of swapping, at the moment at which it does most; the other tables are read all the same."""
    swaps = dict(SWAPS)
    if tenant.info.server_version < 160000:
        swaps["a table that becomes a view"] = RULED
    for how, swap in swaps.items():
        tenant.execute((GONE + SNARES).encode())
        since = log_size(node)
        with witness_of(lone) as witness, swapping(monkeypatch, tenant, swap):
            tables, replaced = read(node, witness)
        assert sprung(node, since) == set(), how
        assert "rows" not in tables[swap[0]], how
        (told,) = replaced
        assert told.startswith(f"postgres: {swap[0]} was replaced while it was read: "), how
        assert tables["shop.laid"]["rows"] == 1, how
        assert tables["shop.policed"]["rows"] == 1, how


def test_1_a_sequence_that_is_swapped_springs_nothing(
    version_site: Site, node: Node, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = log_size(node)
    instead = "ALTER SEQUENCE shop.counter RENAME TO hidden; CREATE VIEW shop.counter AS" + (
        " SELECT 1::bigint AS last_value, true AS is_called, snares.spring()::bigint AS log_cnt, 0::oid AS tableoid"
    )
    with (
        swapping(monkeypatch, tenant, ("shop.counter", "behind", instead)),
        pytest.raises(TableReplaced, match=r"shop\.counter"),
    ):
        against_source.fingerprint(node, version_site.binaries, [node])
    assert {who for who in sprung(node, since) if "superuser on" in who} == set()


def test_1_nothing_that_a_tenant_laid_runs_as_superuser(
    lone: Cluster, version_site: Site, node: Node, tenant: Any
) -> None:
    """Everything that we run in a tenant's database, over all his traps: only code that the planner calls runs."""
    with superuser(node) as connection:  # an operator made the trigger, but what it calls is the tenant's
        tell(connection, "CREATE EVENT TRIGGER snare ON ddl_command_end EXECUTE FUNCTION snares.notice()")
        tell(connection, "ALTER EVENT TRIGGER snare ENABLE ALWAYS")
    since = log_size(node)
    with witness_of(lone) as witness:
        tables, replaced = read(node, witness)
    assert replaced == []
    assert tables["shop.indexed"]["rows"] == 1
    compared = compare_at_cut(node, ["postgres"], tables.values(), lambda: None)
    assert compared.findings == [] and compared.unchecked == []
    assert (
        against_source.fingerprint(node, version_site.binaries, [node])
        .databases["postgres"]
        .rows["shop.laid"]
        .count
        == 1
    )
    assert check_structure(node).findings == []
    inspect(node)
    assert ("shop", "laid") in contents.existing_tables(node, "postgres", [("shop", "laid")])
    assert contents.schema_sizes(lone, "postgres")
    ran_as = {who for who in sprung(node, since) if not who.startswith(f"{USER},")}
    assert ran_as == {f"{READER}, superuser off"}, "the planner, of the expressions of indexes and statistics"


PASSES_FOR_AMCHECK = {
    # It has more arguments than the real one, and so was taken for that of a newer version.
    "bt_index_parent_check": """
        CREATE FUNCTION public.bt_index_parent_check(regclass, boolean, boolean, boolean, boolean) RETURNS void
            LANGUAGE plpgsql AS $$ BEGIN PERFORM snares.spring(); END $$
    """,
    # The version 1.2 has none.
    "verify_heapam": """
        CREATE FUNCTION public.verify_heapam(regclass, boolean, boolean, text, bigint, bigint)
            RETURNS TABLE (blkno bigint, offnum int, attnum int, msg text)
            LANGUAGE plpgsql AS $$ BEGIN PERFORM snares.spring(); END $$
    """,
}


@pytest.mark.parametrize(
    ("function", "version"), [("bt_index_parent_check", ""), ("verify_heapam", "VERSION '1.2'")]
)
def test_1_no_function_of_a_tenant_s_passes_for_one_of_amcheck(
    node: Node, tenant: Any, function: str, version: str
) -> None:
    """An operator installed the extension long ago, in a schema where the tenant may make functions."""
    with superuser(node) as connection:
        tell(connection, f"GRANT CREATE ON SCHEMA public TO {USER}")
        tell(connection, f"CREATE EXTENSION amcheck SCHEMA public {version}")
        try:
            tenant.execute(PASSES_FOR_AMCHECK[function].encode())
            since = log_size(node)
            seen = check_structure(node)
            assert {who for who in sprung(node, since) if not who.startswith(f"{USER},")} == set()
            assert seen.findings == []
            assert [what for what in seen.unchecked if "amcheck" not in what] == []
            assert bool(seen.unchecked) is bool(version), "an amcheck that is too old is named"
        finally:
            tell(connection, "DROP EXTENSION amcheck")
            tell(connection, f"DROP FUNCTION IF EXISTS public.{function}")
            tell(connection, f"REVOKE CREATE ON SCHEMA public FROM {USER}")


def test_1_the_reader_enters_where_the_owner_shut_everyone_out(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, f"CREATE DATABASE hers OWNER {USER}")
    try:
        with log_in(node) as user:
            user.execute("REVOKE CONNECT ON DATABASE hers FROM PUBLIC")
            (barred,) = (one for one in databases_of(node) if one.name == "hers")
            assert barred.reader_barred
            enter_as_reader(node, barred).close()
            user.execute("ALTER DATABASE hers CONNECTION LIMIT 0")
        (barred,) = (one for one in databases_of(node) if one.name == "hers")
        with pytest.raises(DatabaseClosed, match="its connection limit is 0"):
            enter_as_reader(node, barred)
    finally:
        with superuser(node) as connection:
            tell(connection, "DROP DATABASE hers")


def test_1_a_server_that_is_too_old_is_refused_by_name(
    node: Node, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [why_too_old(version) for version in (150008, 160004, 170000, 180006, 190000)] == [""] * 5
    for version, wanted in ((150007, "15.7 .* 15.8 has"), (160003, "16.3 .* 16.4 has"), (140019, "15.8 has")):
        with monkeypatch.context() as patched:
            patched.setattr(psycopg.ConnectionInfo, "server_version", version)
            with pytest.raises(DatabaseClosed, match=f"node cn: PostgreSQL .*{wanted}"):
                enter_as_reader(node, databases_of(node)[-1])
    with monkeypatch.context() as patched:
        patched.setattr(binaries, "version", lambda directory, account: "16.3")
        with pytest.raises(InvalidInput, match=r"PostgreSQL 16\.3 is too old"):
            find_binaries(site.data, site.binaries.account)
