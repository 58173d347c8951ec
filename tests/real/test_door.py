"""The one door to a server: a session of ours takes nothing from server, role or database that we did not ask for."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.session import READER, SUPERUSER
from support.databases.impositions import impose
from support.databases.writers import until
from support.servers.warehouses import USER
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.servers.versions"]

FOREIGN = ("global", "database", "user", "database user")


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
        assert (who, by, read_only, path) == (role, role, "off", "")


def test_6_what_a_role_imposes_is_overruled_too(node: Node) -> None:
    with superuser(node) as connection:
        for whom in (f"ROLE {SUPERUSER}", "ROLE ALL", f"ROLE {SUPERUSER} IN DATABASE postgres"):
            for setting in ("statement_timeout = '1ms'", "zero_damaged_pages = on", "work_mem = '64kB'"):
                tell(connection, f"ALTER {whom} SET {setting}")
    try:
        with superuser(node) as connection:
            shown = dict(ask(connection, "SELECT name, setting FROM pg_settings"))
            assert shown["statement_timeout"] == "0" and shown["zero_damaged_pages"] == "off"
            assert shown["work_mem"] == "4096"
    finally:
        with superuser(node) as connection:
            for whom in (f"ROLE {SUPERUSER}", "ROLE ALL", f"ROLE {SUPERUSER} IN DATABASE postgres"):
                tell(connection, f"ALTER {whom} RESET ALL")


def test_6_what_the_whole_server_imposes_is_overruled_too(node: Node) -> None:
    imposed = {
        "statement_timeout": "1ms",
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "serializable",
        "zero_damaged_pages": "on",
        "DateStyle": "German",
        "session_replication_role": "replica",
        "session_preload_libraries": "no_such_library",
        "quote_all_identifiers": "on",
    }
    with superuser(node) as connection:
        for name, value in imposed.items():
            tell(connection, f"ALTER SYSTEM SET {name} = '{value}'")
        tell(connection, "SELECT pg_reload_conf()")
        until(
            lambda: (
                ask(connection, "SELECT reset_val FROM pg_settings WHERE name = 'statement_timeout'")
                == [("0",)]
            ),
            10,
        )
    try:
        with superuser(node) as connection:
            shown = dict(ask(connection, "SELECT name, setting FROM pg_settings"))
            assert {shown[name] for name in imposed} == {
                "0", "off", "read committed", "ISO, MDY", "origin", ""
            }  # fmt: skip
    finally:
        with superuser(node) as connection:
            tell(connection, "ALTER SYSTEM RESET ALL")
            tell(connection, "SELECT pg_reload_conf()")


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
