"""A snapshot of a server that Stillhouse did not make comes back as a cluster of its own, and is proved."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import session
from stillhouse.repository.format import manifest
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import warehouses
from support.servers.registered import make_foreign, registered
from support.servers.warehouses import rows
from support.snapshots.captures import capture_cluster, open_vault, restored_cluster
from support.snapshots.cuts import superuser, tell

ROLES = "SELECT rolname, rolsuper FROM pg_roles WHERE rolname ~ '^(stillhouse|postgres)' ORDER BY 1"


@pytest.fixture(scope="module")
def house(site: Site) -> Iterator[Cluster]:
    cluster = warehouses.build(site, 1)
    with superuser(cluster.coordinator) as connection:
        tell(connection, "CREATE TABLE public.kept AS SELECT i FROM generate_series(1, 1000) i")
    yield cluster
    embedded.destroy(site, cluster.id)


@pytest.mark.long
def test_a_snapshot_of_a_foreign_server_comes_back_with_a_superuser_of_ours(
    house: Cluster, site: Site, tmp_path: Path
) -> None:
    there = registered(house, tmp_path)
    make_foreign(house.coordinator)
    with closing(session.connect(house.coordinator, "postgres", role="postgres")) as connection:
        assert connection.execute(ROLES).fetchall() == [("postgres", True)]
    vault = open_vault(tmp_path, house)
    shot = capture_cluster(there, vault, fingerprint_seconds=30)
    lines = manifest.read(vault.store, vault.keys, shot.captured["cn"].manifest)
    tables = {line["name"]: line for line in lines if line["t"] == "table"}
    assert tables["kept"].get("rows") == 1000, "the role reads what fingerprints need"
    with restored_cluster(site, house, shot, vault) as clone:
        node = clone.cluster.coordinator
        assert clone.restored["cn"].head["superuser"] == "postgres"
        assert server.first_role(node) == "postgres"
        assert rows(node, "SELECT count(*), sum(i) FROM public.kept") == [(1000, 500500)]
        assert rows(node, ROLES) == [("postgres", True), ("stillhouse", True), ("stillhouse_reader", False)]
    with closing(session.connect(house.coordinator, "postgres", role="postgres")) as connection:
        assert connection.execute(ROLES).fetchall() == [("postgres", True)], (
            "nothing of ours is on the source"
        )
