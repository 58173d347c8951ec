"""The one door to a server: a session of ours takes nothing from server, role or database that we did not ask for."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import DatabaseClosed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.session import READER, SUPERUSER
from support.databases.impositions import choices, impose
from support.databases.writers import until
from support.servers.warehouses import USER
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.servers.versions"]

FOREIGN = ("global", "database", "user", "database user")
# log_statement_stats can be set only after three others are reset, and changes only the log.
_LEFT_OF_FOREIGN = """
    SELECT name, setting, source FROM pg_settings
     WHERE source = ANY(%s) AND name NOT IN ('deadlock_timeout', 'log_statement_stats')
"""


@pytest.fixture(scope="module")
def node(lone: Cluster) -> Node:
    return lone.coordinator


@pytest.fixture(scope="module")
def hostile(node: Node) -> str:
    """A tenant's database with every setting that he can set, and after that every one that a superuser can set."""
    with superuser(node) as connection:
        tell(connection, f"CREATE DATABASE hostile OWNER {USER}")
        imposed = impose(connection, "hostile")
    assert {"statement_timeout", "role", "exit_on_error", "zero_damaged_pages"} <= imposed.keys()
    assert len(imposed) > 120
    return "hostile"


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_6_nothing_that_a_database_imposes_reaches_a_session(node: Node, hostile: str, role: str) -> None:
    with closing(session.connect(node, hostile, role=role)) as connection:
        left = connection.execute(
            "SELECT name, setting, source FROM pg_settings WHERE source = ANY(%s) AND name <> 'deadlock_timeout'",
            [list(FOREIGN)],
        ).fetchall()
        assert left == []
        ((who, by, read_only, path),) = ask(
            connection,
            "SELECT current_user, session_user, current_setting('transaction_read_only'),"
            " current_setting('search_path')",
        )
        assert (who, by, read_only, path) == (role, role, "off", "pg_catalog, pg_temp")


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_1_temporary_objects_never_answer_for_the_catalogs(node: Node, role: str) -> None:
    """A tenant's function that runs in our session, as part of a value that we read, can make such objects."""
    with closing(session.connect(node, "postgres", role=role)) as connection:
        tell(connection, "CREATE TEMPORARY TABLE pg_class AS SELECT 1 AS id")
        tell(connection, "CREATE DOMAIN pg_temp.name AS text CHECK (false)")
        assert ask(connection, "SELECT relname::name FROM pg_class WHERE oid = 1259") == [("pg_class",)]


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_6_what_a_role_imposes_is_overruled_too(node: Node, role: str) -> None:
    """Each way of imposing has a setting of its own, beside those that all impose."""
    ways = {
        f"ROLE {role}": "work_mem",
        "ROLE ALL": "temp_buffers",
        f"ROLE {role} IN DATABASE postgres": "geqo_effort",
    }
    with superuser(node) as connection:
        default = dict(ask(connection, "SELECT name, boot_val FROM pg_settings"))
        for whom, own in ways.items():
            for setting in (
                "statement_timeout = '1ms'",
                "zero_damaged_pages = on",
                f"{own} = {int(default[own]) // 2}",
            ):
                tell(connection, f"ALTER {whom} SET {setting}")
    try:
        with closing(session.connect(node, "postgres", role=role)) as connection:
            shown = dict(ask(connection, "SELECT name, setting FROM pg_settings"))
            for name in ("statement_timeout", "zero_damaged_pages", *ways.values()):
                assert shown[name] == default[name]
    finally:
        with superuser(node) as connection:
            for whom in ways:
                tell(connection, f"ALTER {whom} RESET ALL")


def test_6_a_setting_that_cannot_be_overruled_is_named(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, f"REVOKE SET ON PARAMETER log_temp_files FROM {READER}")
        tell(connection, "ALTER DATABASE postgres SET log_temp_files = 0")
    try:
        with pytest.raises(
            DatabaseClosed, match=r"database postgres imposes .* log_temp_files .permission denied"
        ):
            session.connect(node, "postgres", role=READER)
    finally:
        with superuser(node) as connection:
            tell(connection, "ALTER DATABASE postgres RESET log_temp_files")
            tell(connection, f"GRANT SET ON PARAMETER log_temp_files TO {READER}")


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_6_no_setting_of_a_library_that_is_loaded_later_reaches_a_session(node: Node, role: str) -> None:
    """PostgreSQL shows such a setting in no view before its library is loaded, and applies it then."""
    imposed = {
        "plpgsql.extra_errors": "all",
        "plpgsql.variable_conflict": "use_column",
        "some_library.setting": "x",
    }
    with superuser(node) as connection:
        tell(connection, f"CREATE DATABASE lazy OWNER {USER}")
        whom = ("DATABASE lazy", f"ROLE {role}", "ROLE ALL", f"ROLE {role} IN DATABASE lazy")
        for one in whom:
            for name, value in imposed.items():
                tell(connection, f"ALTER {one} SET {name} = '{value}'")
    try:
        programs = session.program_options(node, "lazy")
        with (
            closing(session.connect(node, "lazy", role=role)) as ours,
            as_program(node, "lazy", role, programs) as theirs,
        ):
            for connection in (ours, theirs):
                tell(connection, "DO 'BEGIN END'")
                assert ask(connection, "SHOW plpgsql.variable_conflict") == [("error",)]
                assert ask(connection, "SHOW plpgsql.extra_errors") == [("",)]
                assert ask(connection, "SELECT current_setting('some_library.setting', true)") == [("",)]
    finally:
        with superuser(node) as connection:
            for one in whom:
                for name in imposed:
                    tell(connection, f"ALTER {one} RESET {name}")
            tell(connection, "DROP DATABASE lazy")


@contextmanager
def as_program(node: Node, database: str, role: str, options: str) -> Iterator[Any]:
    """Log in as a program of PostgreSQL's does, with the options that we give it."""
    with psycopg.connect(
        host=node.socket, port=node.port, user=role, password=node.password(role), dbname=database,
        options=options, application_name="pg_dump", autocommit=True,
    ) as connection:  # fmt: skip
        yield connection


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_6_nothing_that_a_database_imposes_reaches_a_program(node: Node, hostile: str, role: str) -> None:
    """Its own text is in the encoding of the database: a dump in another one would lack characters."""
    with as_program(node, hostile, role, session.program_options(node, hostile)) as connection:
        assert connection.execute(_LEFT_OF_FOREIGN, [list(FOREIGN)]).fetchall() == []
        assert ask(connection, "SHOW client_encoding") == [("UTF8",)]
        assert ask(connection, "SELECT current_user, session_user") == [(role, role)]


# Kinds of settings that decide how statements are read and run, and how values come back.
DECISIVE = (
    "Client Connection Defaults%",
    "Connections and Authentication / TCP Settings",
    "Version and Platform Compatibility%",
    "Error Handling",
    "Developer Options",
)
# Settings of these kinds that are the server's: they change no answer, or tell where the host keeps its libraries.
KEPT = {
    *("escape_string_warning", "synchronize_seqscans", "gin_pending_list_limit", "icu_validation_level"),
    *("tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval"),
    *("dynamic_library_path", "extension_control_path"),
    *("jit_dump_bitcode", "jit_expressions", "jit_tuple_deforming"),
    *("allow_in_place_tablespaces", "backtrace_functions", "debug_discard_caches", "debug_parallel_query"),
    *("debug_logical_replication_streaming", "logical_replication_mode", "force_parallel_mode"),
    *("trace_notify", "trace_sort", "trace_recovery_messages", "wal_consistency_checking"),
}


def test_6_what_the_whole_server_imposes_is_overruled_too(node: Node) -> None:
    with superuser(node) as connection:
        kinds = " OR ".join(f"category LIKE '{kind}'" for kind in DECISIVE)
        tried = choices(connection, f"({kinds}) AND name NOT LIKE 'vacuum%'")
        tried |= {"session_preload_libraries": "no_such_library"}
        for name in tried.keys() - KEPT:
            with suppress(psycopg.Error):  # not this value
                tell(connection, f"ALTER SYSTEM SET {name} = '{tried[name]}'")
        tell(connection, "SELECT pg_reload_conf()")
        reset = "SELECT reset_val FROM pg_settings WHERE name = 'statement_timeout'"
        until(lambda: ask(connection, reset) == [("0",)], 10)
        of_files = {name.lower() for (name,) in ask(connection, "SELECT name FROM pg_file_settings")}
        imposed = {name for name in tried.keys() - KEPT if name.lower() in of_files}
        assert OVERRULED.keys() <= imposed and len(imposed) > 35
    try:
        for role in (SUPERUSER, READER):
            with closing(session.connect(node, "postgres", role=role)) as connection:
                shown = ask(
                    connection, "SELECT name, setting, source = 'configuration file' FROM pg_settings"
                )
                assert {name for name, _, is_the_servers in shown if is_the_servers} & imposed == set()
                values = {name: value for name, value, _ in shown}  # the reader is not shown all
                assert {name: values.get(name, OVERRULED[name]) for name in OVERRULED} == OVERRULED
    finally:
        with superuser(node) as connection:
            tell(connection, "ALTER SYSTEM RESET ALL")
            tell(connection, "SELECT pg_reload_conf()")


OVERRULED = {
    "statement_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "row_security": "off",
    "search_path": "pg_catalog, pg_temp",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "DateStyle": "ISO, MDY",
    "session_replication_role": "origin",
    "session_preload_libraries": "",
    "quote_all_identifiers": "off",
    "gin_fuzzy_search_limit": "0",
}


@pytest.mark.parametrize("role", [SUPERUSER, READER])
def test_6_no_login_trigger_runs_as_us(node: Node, role: str) -> None:
    with superuser(node) as connection:
        if connection.info.server_version < 170000:
            pytest.skip("login triggers came with 17")
        tell(connection, "DROP DATABASE IF EXISTS greeting")
        tell(connection, "CREATE DATABASE greeting")
    with superuser(node, "greeting") as connection:
        tell(connection, "CREATE TABLE public.seen (who text); GRANT ALL ON public.seen TO PUBLIC")
        tell(
            connection,
            "CREATE FUNCTION public.greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO public.seen VALUES (current_user); END $$",
        )
        tell(connection, "CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION public.greet()")
        tell(connection, "ALTER EVENT TRIGGER greet ENABLE ALWAYS")
    with closing(session.connect(node, "greeting", role=role)) as connection:
        assert ask(connection, "SELECT who FROM public.seen") == []


@pytest.fixture
def forbidden(node: Node) -> Iterator[str]:
    """A database whose event triggers forbid all DDL, each kind of them, in each way of being enabled."""
    with superuser(node) as connection:
        tell(connection, "CREATE DATABASE forbidden")
    with superuser(node, "forbidden") as connection:
        tell(connection, "CREATE TABLE public.kept (i int)")
        tell(
            connection,
            "CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION 'no DDL here'; END $$",
        )
        for event in ("ddl_command_start", "ddl_command_end", "sql_drop", "table_rewrite"):
            for how in ("", "REPLICA", "ALWAYS"):
                name = f"{event}_{how}"
                tell(connection, "BEGIN")
                with without_event_triggers(connection):
                    tell(
                        connection,
                        f'CREATE EVENT TRIGGER "{name}" ON {event} EXECUTE FUNCTION public.forbid()',
                    )
                tell(connection, f'ALTER EVENT TRIGGER "{name}" ENABLE {how}')
                tell(connection, "COMMIT")
    yield "forbidden"
    with superuser(node) as connection:
        tell(connection, "DROP DATABASE forbidden")


def test_6_ddl_of_ours_is_seen_by_no_event_trigger(node: Node, forbidden: str) -> None:
    with superuser(node, forbidden) as connection, superuser(node, forbidden) as other:
        before = ask(connection, _EVENT_TRIGGERS)
        assert len(before) == 12
        with connection.transaction(), without_event_triggers(connection):
            tell(connection, "ALTER TABLE public.kept ALTER i TYPE bigint")
            tell(connection, "CREATE TABLE public.new (i int)")
            tell(connection, "DROP TABLE public.kept")
            assert ask(other, _EVENT_TRIGGERS) == before
        assert ask(other, _EVENT_TRIGGERS) == before
        with pytest.raises(psycopg.Error, match="no DDL here"):
            _as_anyone(other, "CREATE TABLE public.more (i int)")


_EVENT_TRIGGERS = "SELECT evtname, evtenabled::text FROM pg_event_trigger ORDER BY 1"


def _as_anyone(connection: Any, command: str) -> None:
    if connection.info.server_version >= 170000:
        tell(connection, "SET event_triggers = on")
    tell(connection, command)
