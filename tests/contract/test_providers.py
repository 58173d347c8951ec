"""One contract for all providers of clusters: they have servers at work, and refuse by name what they cannot do."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node, Provider
from stillhouse.errors import NodeUnreachable, StateForbids
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.abilities import LACKS, Ability, check_able
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.provider import Servers, servers_of
from support.servers import warehouses
from support.servers.registered import registered
from support.servers.warehouses import rows

OURS = "SELECT 1 FROM pg_namespace WHERE nspname = 'stillhouse' AND nspowner = 'backup'::regrole"


def tell(node: Node, statement: str) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def house(site: Site) -> Iterator[Cluster]:
    cluster = warehouses.build(site, 1)
    yield cluster
    embedded.destroy(site, cluster.id)


@pytest.fixture(scope="module")
def somebodys(house: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return registered(house, tmp_path_factory.mktemp("passwords"))


@pytest.fixture(params=[*Provider])
def cluster(request: pytest.FixtureRequest, house: Cluster, somebodys: Cluster) -> Cluster:
    return house if request.param is Provider.EMBEDDED else somebodys


@pytest.fixture
def servers(site: Site, cluster: Cluster) -> Servers:
    return servers_of(site, cluster)


def test_every_provider_says_of_every_ability_whether_it_has_it() -> None:
    assert LACKS.keys() == {*Provider}
    assert all(lack.reason and lack.instead for lacks in LACKS.values() for lack in lacks.values())


def test_servers_at_work_are_left_as_they_are(servers: Servers, house: Cluster) -> None:
    before = server.process_id(house.coordinator)
    servers.have_at_work()
    assert before is not None and server.process_id(house.coordinator) == before


@pytest.mark.parametrize("ability", [Ability.STOP, Ability.START, Ability.RESTART])
def test_an_ability_works_or_is_refused_by_name_and_changes_nothing(
    servers: Servers, cluster: Cluster, house: Cluster, site: Site, ability: Ability
) -> None:
    before = server.process_id(house.coordinator)
    act = {Ability.STOP: servers.stop, Ability.START: servers.start, Ability.RESTART: servers.restart}[
        ability
    ]
    if ability in LACKS[cluster.provider]:
        for refused in (act, lambda: check_able(cluster, ability)):
            with pytest.raises(StateForbids, match=f"{ability}.*on their hosts"):
                refused()
        assert server.process_id(house.coordinator) == before
        return
    check_able(cluster, ability)
    act()
    assert server.is_running(house.coordinator) == (ability is not Ability.STOP)
    servers.have_at_work()
    assert server.is_running(house.coordinator)


def test_a_removed_registration_leaves_nothing_of_ours_and_the_server_at_work(
    somebodys: Cluster, house: Cluster, site: Site
) -> None:
    assert len(rows(house.coordinator, OURS)) == 1
    servers_of(site, somebodys).remove()
    assert rows(house.coordinator, OURS) == []
    assert server.is_running(house.coordinator)
    assert Path(house.coordinator.directory, "pgdata").exists()


def test_a_registration_is_removed_even_if_its_server_is_gone_for_good(
    somebodys: Cluster, house: Cluster, site: Site
) -> None:
    embedded.stop_all(site, house.nodes)
    with pytest.raises(NodeUnreachable):
        servers_of(site, somebodys).have_at_work()
    servers_of(site, somebodys).remove()
    embedded.start_all(site, house.nodes)
