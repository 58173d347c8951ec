"""Fixtures of the tests of captures: `pytest_plugins = ["support.snapshots.capture_fixtures"]` in a module."""

from collections.abc import Iterator

import pytest

from stillhouse.domain.cluster import Cluster, Node
from support.databases.writers import until
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import SESSIONS, SLOTS, Vault, open_vault
from support.snapshots.cuts import superuser, tell


@pytest.fixture(scope="module")
def house(make_warehouse: MakeWarehouse) -> Cluster:
    """A single server with a table `kept` that nobody changes."""
    cluster, _ = make_warehouse(1)
    with superuser(cluster.coordinator) as connection:
        tell(
            connection,
            "CREATE TABLE public.kept AS SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i",
        )
        tell(connection, "ALTER SYSTEM SET autovacuum = off")
        tell(connection, "SELECT pg_reload_conf()")
        tell(connection, "VACUUM (FREEZE) public.kept")
    return cluster


@pytest.fixture(scope="module")
def node(house: Cluster) -> Node:
    return house.coordinator


@pytest.fixture(scope="module")
def vault(house: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return open_vault(tmp_path_factory.mktemp("vault"), house)


@pytest.fixture
def captures_leave_nothing(node: Node) -> Iterator[None]:
    """However its captures ended, the node has no slot of theirs, no session, and so no backup mode.

    A server leaves that mode when the session that asked for it is gone (do_pg_abort_backup in xlog.c).
    """
    yield
    until(lambda: rows(node, SLOTS) == [], 10)
    until(lambda: rows(node, SESSIONS) == [], 10)
