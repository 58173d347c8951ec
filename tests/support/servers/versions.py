"""Servers of the newest and the oldest version, for rules that hold on all; at length, also those between."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.options import LET_SET
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import npm_postgres, warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.npm_postgres import needs_npm
from support.snapshots.cuts import superuser, tell


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(18, id="18"),
        pytest.param(17, id="17", marks=[pytest.mark.long, needs_npm]),
        pytest.param(16, id="16", marks=[pytest.mark.long, needs_npm]),
        pytest.param(15, id="15", marks=needs_fifteen),
    ],
)
def version_site(site: Site, request: pytest.FixtureRequest) -> Site:
    return _of_major(site, request.param)


def site_of(major: int, data: Path) -> Site:
    """A site of its own below `data`, with the programs of this major version."""
    return _of_major(embedded.open_site(data, claim=lambda _: ""), major)


def _of_major(site: Site, major: int) -> Site:
    programs = _programs(site, major)
    return replace(site, binaries=find_binaries(site.data, site.binaries.account, pg_bin=programs))


def _programs(site: Site, major: int) -> Path | None:
    if major == 18:
        return None
    return PG_BIN if major == 15 else npm_postgres.programs(major, site.data, site.binaries.directory)


@pytest.fixture(scope="module")
def lone(version_site: Site) -> Iterator[Cluster]:
    """A server that the reader may enter."""
    cluster = warehouses.build(version_site, 1)
    node = cluster.coordinator
    let_reader_in(version_site, node)
    yield cluster
    embedded.destroy(version_site, cluster.id)


def let_reader_in(site: Site, node: Node) -> None:
    with superuser(node) as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [session.READER]).fetchall():
            tell(connection, f"CREATE ROLE {session.READER} LOGIN BYPASSRLS")
            tell(connection, f"GRANT pg_read_all_data TO {session.READER}")
        tell(connection, LET_SET.format(role=session.READER))
    rules = Path(node.directory, "pgdata", "pg_hba.conf")
    rules.write_text(f"local all {session.READER} trust\n{rules.read_text()}")
    tell_reload(node)


def tell_reload(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "SELECT pg_reload_conf()")
