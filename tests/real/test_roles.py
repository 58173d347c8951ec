"""Each call puts our roles on a server right, whatever they were before."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import StateForbids
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import ensure_roles, grant_connect
from stillhouse.postgres.sessions.session import READER, SUPERUSER
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers import warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.warehouses import rows
from support.snapshots.cuts import superuser, tell

ATTRIBUTES = f"""
    SELECT rolcanlogin, rolinherit, rolbypassrls, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolconnlimit,
           coalesce(rolvaliduntil, 'infinity') = 'infinity'
      FROM pg_roles WHERE rolname = '{READER}'
"""
AS_IT_SHOULD_BE = [(True, True, True, False, False, False, False, -1, True)]
MEMBERSHIPS = f"""
    SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members
     WHERE '{READER}'::regrole IN (roleid, member)
"""


@pytest.fixture(
    scope="module", params=[pytest.param(None, id="18"), pytest.param(PG_BIN, id="15", marks=needs_fifteen)]
)
def node(request: pytest.FixtureRequest, site: Site) -> Iterator[Node]:
    binaries = find_binaries(site.data, site.binaries.account, pg_bin=request.param)
    cluster = warehouses.build(replace(site, binaries=binaries), 1)
    yield cluster.coordinator
    embedded.destroy(site, cluster.id)


def put_right(node: Node) -> None:
    with superuser(node) as connection:
        ensure_roles(connection, node)
        grant_connect(connection)


def spoil(node: Node, *statements: str) -> None:
    with superuser(node) as connection:
        for statement in statements:
            tell(connection, statement)


def test_the_reader_reads_all_and_is_no_superuser(node: Node) -> None:
    put_right(node)
    put_right(node)
    assert rows(node, ATTRIBUTES) == AS_IT_SHOULD_BE
    assert rows(node, MEMBERSHIPS) == [("pg_read_all_data", READER)]


def test_a_reader_that_was_spoilt_is_put_right(node: Node) -> None:
    put_right(node)
    spoil(
        node,
        f"ALTER ROLE {READER} NOINHERIT NOBYPASSRLS CREATEROLE CONNECTION LIMIT 0 VALID UNTIL '2001-01-01'",
        f"ALTER ROLE {READER} SET row_security = on",
        f"ALTER ROLE {READER} IN DATABASE gaussdb SET default_transaction_read_only = off",
        f"GRANT pg_write_all_data TO {READER}",
        f"GRANT {READER} TO {warehouses.USER} WITH ADMIN OPTION",
        "CREATE ROLE between",
        f"SET SESSION AUTHORIZATION {warehouses.USER}",
        f"GRANT {READER} TO between",
        "RESET SESSION AUTHORIZATION",
        f"ALTER ROLE {READER} SUPERUSER",
    )
    put_right(node)
    assert rows(node, ATTRIBUTES) == AS_IT_SHOULD_BE
    assert rows(node, MEMBERSHIPS) == [("pg_read_all_data", READER)]
    assert rows(node, f"SELECT FROM pg_db_role_setting WHERE setrole = '{READER}'::regrole") == []
    spoil(node, "DROP ROLE between")


def test_the_reader_may_enter_every_database_whatever_public_may(node: Node) -> None:
    spoil(node, "CREATE DATABASE shut", "REVOKE ALL ON DATABASE shut FROM PUBLIC")
    put_right(node)
    spoil(node, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    shut_out = f"SELECT datname FROM pg_database WHERE NOT has_database_privilege('{READER}', oid, 'CONNECT')"
    assert rows(node, shut_out) == []
    spoil(node, "GRANT CONNECT ON DATABASE postgres TO PUBLIC", "DROP DATABASE shut")


def test_a_role_of_somebody_else_s_is_not_made_the_reader(node: Node) -> None:
    put_right(node)
    spoil(node, f"CREATE SCHEMA theirs AUTHORIZATION {READER}")
    with pytest.raises(StateForbids, match="owns objects"):
        put_right(node)
    spoil(node, "DROP SCHEMA theirs")


def test_no_password_and_no_verifier_is_in_the_server_s_log(node: Node) -> None:
    loaded = rows(node, "SELECT pg_conf_load_time()")
    spoil(
        node,
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER SYSTEM SET log_transaction_sample_rate = 1",
        "ALTER SYSTEM SET debug_print_parse = on",
        "SELECT pg_reload_conf()",
    )
    until(lambda: rows(node, "SELECT pg_conf_load_time()") != loaded, 10)
    put_right(node)
    spoil(node, "SELECT 'logged'")
    log = Path(node.directory, "server.log").read_text()
    assert "logged" in log
    assert "SCRAM-SHA-256$" not in log
    for role in (SUPERUSER, READER):
        assert node.password(role) not in log
    spoil(node, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_passwords_are_the_node_s_own(node: Node) -> None:
    put_right(node)
    with closing(session.connect(node, "gaussdb", role=READER)) as connection:
        assert connection.execute("SELECT session_user::text").fetchall() == [(READER,)]
    assert server.is_running(node)
