"""Every database of a server has one kind, and its name is bytes."""

from contextlib import closing

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import DatabaseClosed, shown
from stillhouse.postgres.sessions import databases, text
from stillhouse.postgres.sessions.databases import Database, Kind, enter, reopened
from stillhouse.postgres.sessions.session import READER, sql
from support.servers.warehouses import USER
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.servers.versions"]
pytestmark = pytest.mark.long

RAW = "caf\udce9"  # 'café' as a client that speaks LATIN1 says it
ENCODINGS = ("SQL_ASCII", "LATIN1", "EUC_JP", "MULE_INTERNAL", "EUC_TW")


@pytest.fixture(scope="module")
def node(lone: Cluster) -> Node:
    return lone.coordinator


@pytest.fixture(scope="module")
def found(node: Node) -> dict[str, Database]:
    """One of each kind, and one in each encoding; the raw name can only be given in a database without encoding."""
    with superuser(node) as connection:
        for encoding in ENCODINGS:
            tell(
                connection,
                f"CREATE DATABASE in_{encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0",
            )
        for name in ("shut", "modelled", "half", "mine", "crowded"):
            tell(connection, f"CREATE DATABASE {name} OWNER {USER}")
        tell(connection, f"SET ROLE {USER}")
        tell(connection, "ALTER DATABASE shut ALLOW_CONNECTIONS false")
        tell(connection, "ALTER DATABASE modelled IS_TEMPLATE true")
        tell(connection, "REVOKE CONNECT ON DATABASE mine FROM PUBLIC")
        tell(connection, "ALTER DATABASE crowded CONNECTION LIMIT 0")
        tell(connection, "RESET ROLE")
        tell(connection, "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'")
    with superuser(node, "in_sql_ascii") as connection:
        raw = sql.Identifier(RAW)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(raw))
        connection.execute(sql.SQL("CREATE ROLE {}").format(raw))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(raw))
        connection.execute(sql.SQL("CREATE TABLE {} (i int)").format(sql.Identifier(RAW, RAW)))
    return {one.name: one for one in databases.databases_of(node)}


def test_7_each_database_has_one_kind(found: dict[str, Database]) -> None:
    assert {
        name: found[name].kind for name in ("postgres", "template0", "template1", "shut", "modelled", "half")
    } == {
        "postgres": Kind.OPEN,
        "template0": Kind.CLOSED,
        "template1": Kind.TEMPLATE,
        "shut": Kind.CLOSED,
        "modelled": Kind.TEMPLATE,
        "half": Kind.INVALID,
    }
    assert found[RAW].kind is Kind.OPEN


def test_7_the_superuser_enters_whatever_is_open_and_says_why_not(
    node: Node, found: dict[str, Database]
) -> None:
    for database in found.values():
        if database.is_open:
            with closing(enter(node, database)) as connection:
                assert ask(connection, "SELECT 1") == [(1,)]
        else:
            with pytest.raises(DatabaseClosed, match=database.kind):
                enter(node, database)
            with pytest.raises(DatabaseClosed):  # whoever does not know yet that it is
                enter(node, Database(database.oid, database.name, Kind.OPEN))


def test_7_what_bars_the_reader_is_told(node: Node, found: dict[str, Database]) -> None:
    assert not found["postgres"].reader_barred
    for name, why in (("mine", "right to connect"), ("crowded", "connection limit")):
        with pytest.raises(DatabaseClosed, match=why):
            enter(node, found[name], role=READER)
        with pytest.raises(DatabaseClosed, match=why):  # whoever does not know yet
            enter(node, Database(found[name].oid, name, Kind.OPEN), role=READER)


def test_7_a_database_that_is_renamed_or_dropped_meanwhile(node: Node) -> None:
    with superuser(node) as connection:
        for name in ("first", "second", "third"):
            tell(connection, f"CREATE DATABASE {name}")
        known = {one.name: one for one in databases.list_databases(connection)}
        tell(connection, "ALTER DATABASE first RENAME TO elsewhere")
        tell(connection, "ALTER DATABASE second RENAME TO first")
        tell(connection, "DROP DATABASE third")
        with closing(enter(node, known["first"])) as entered:
            assert ask(entered, "SELECT current_database()") == [("elsewhere",)]
        with pytest.raises(DatabaseClosed, match="dropped meanwhile"):
            enter(node, known["third"])
        for name in ("elsewhere", "first"):
            tell(connection, f"DROP DATABASE {name}")


def test_7_a_closed_database_is_opened_for_a_while(node: Node, found: dict[str, Database]) -> None:
    """A service that dies meanwhile leaves it known as closed."""
    with superuser(node) as connection, reopened(node, found["shut"]) as open_now:
        with closing(enter(node, open_now)) as entered:
            assert ask(entered, "SELECT current_database()") == [("shut",)]
        (known,) = [one for one in databases.list_databases(connection) if one.name == "shut"]
        assert known.kind is Kind.CLOSED
    with superuser(node) as connection:
        assert ask(connection, "SELECT datallowconn FROM pg_database WHERE datname = 'shut'") == [(False,)]
        assert ask(connection, "SELECT FROM pg_db_role_setting WHERE setdatabase <> 0") == []


def test_8_a_closed_database_is_opened_whatever_its_name(node: Node, found: dict[str, Database]) -> None:
    with superuser(node) as connection:
        tell(connection, f"UPDATE pg_database SET datallowconn = false WHERE oid = {found[RAW].oid}")
        (closed,) = [one for one in databases.list_databases(connection) if one.oid == found[RAW].oid]
        with reopened(node, closed) as open_now, closing(enter(node, open_now)) as entered:
            assert ask(entered, "SELECT 1") == [(1,)]
        tell(connection, f"UPDATE pg_database SET datallowconn = true WHERE oid = {found[RAW].oid}")


@pytest.mark.parametrize("encoding", ["utf8", *ENCODINGS])
def test_8_an_imposed_value_that_is_no_text_here_keeps_nobody_out(
    node: Node, found: dict[str, Database], encoding: str
) -> None:
    name = "postgres" if encoding == "utf8" else f"in_{encoding.lower()}"
    with superuser(node, "in_sql_ascii") as connection:
        for setting in ("application_name", "some_library.setting"):
            connection.execute(sql.SQL(f"ALTER ROLE ALL SET {setting} = {{}}").format(sql.Literal(RAW)))
        try:
            with closing(enter(node, found[name])) as entered:
                ((left,),) = ask(entered, "SELECT current_setting('some_library.setting')")
                assert left == ""
        finally:
            tell(connection, "ALTER ROLE ALL RESET ALL")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_8_names_come_back_as_they_are_from_a_database_of_any_encoding(
    node: Node, found: dict[str, Database], encoding: str
) -> None:
    with closing(enter(node, found[f"in_{encoding.lower()}"])) as connection:
        names: dict[str, int] = dict(connection.execute("SELECT rolname, oid FROM pg_roles").fetchall())
        role = next(name for name in names if name.startswith("caf"))
        if encoding in ("SQL_ASCII", "LATIN1"):  # in the others it cannot be in a statement
            asked = connection.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [role]).fetchall()
            assert asked == [(names[role],)]
        ((raw,),) = connection.execute(
            "SELECT namesend(rolname) FROM pg_roles WHERE oid = %s", [names[role]]
        ).fetchall()
        assert raw == text.encode(RAW)


def test_8_a_person_s_name_in_another_encoding_is_text(node: Node, found: dict[str, Database]) -> None:
    with closing(enter(node, found["in_latin1"])) as connection:
        connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (i int)").format(sql.Identifier("public", "tablé"))
        )
        asked = "SELECT relname, namesend(relname) FROM pg_class WHERE relname = ANY(%s)"
        assert connection.execute(asked, [["tablé", "none"]]).fetchall() == [("tablé", b"tabl\xe9")]


def test_8_two_codes_for_one_character_stay_two(node: Node, found: dict[str, Database]) -> None:
    """Python's codec for EUC_JP reads A1C0 and 5C alike."""
    with closing(enter(node, found["in_euc_jp"])) as connection:
        for code in ("a1c0", "8fa2b7", "a1c1", "8fa2b1"):
            ((there,),) = connection.execute(f"SELECT encode('\\x{code}'::bytea, 'hex')".encode()).fetchall()
            assert there == code
            ((name, raw),) = connection.execute(
                f"SELECT convert_from('\\x{code}', 'EUC_JP'), '\\x{code}'::bytea".encode()
            ).fetchall()
            ((back,),) = connection.execute("SELECT textsend(%s::text)", [name]).fetchall()
            assert back == raw


def test_8_what_has_no_encoding_is_named_escaped(node: Node, found: dict[str, Database]) -> None:
    with closing(enter(node, found["in_sql_ascii"])) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'caf%'").fetchall()
        assert rows == [(RAW,)]
        ((formatted, as_json),) = connection.execute(
            "SELECT format('%%I.%%I', %s::text, %s::text), jsonb_build_object('name', %s::text)",
            [RAW, RAW, RAW],
        ).fetchall()
        assert formatted == f'"{RAW}"."{RAW}"' and as_json == {"name": RAW}
        with connection.transaction():
            connection.execute(f"LOCK TABLE {formatted} IN SHARE MODE")
    assert str(found[RAW]) == shown(RAW) == r"caf\xe9"
    assert str(DatabaseClosed(f"database {RAW} is closed")) == r"database caf\xe9 is closed"
