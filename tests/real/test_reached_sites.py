"""Sites as they are: a pooler in between, a failover while a snapshot is taken, a server that was made anew."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex
from stillhouse.domain.registered.check_up import musts
from stillhouse.errors import CaptureFailed, CaptureInterrupted
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.postgres.host.check_up import check_up
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers import warehouses
from support.servers.pooler import needs_pgbouncer, pooled
from support.servers.registered import PASSWORD, ROLE, let_in, registered
from support.servers.warehouses import rows
from support.snapshots.captures import Moments, capture_cluster, open_vault, restored_cluster
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long


@pytest.fixture
def house(site: Site) -> Iterator[Cluster]:
    cluster = warehouses.build(site, 1)
    with superuser(cluster.coordinator) as connection:
        tell(connection, "CREATE TABLE public.kept AS SELECT i FROM generate_series(1, 1000) i")
    yield cluster
    embedded.destroy(site, cluster.id)


@pytest.fixture
def there(house: Cluster, tmp_path: Path) -> Cluster:
    return registered(house, tmp_path)


def at(cluster: Cluster, *hosts: tuple[str, int]) -> Cluster:
    """The cluster with its one server at these addresses."""
    (node,) = cluster.nodes
    assert node.connection is not None
    return replace(cluster, nodes=(replace(node, connection=replace(node.connection, hosts=hosts)),))


@pytest.fixture
def open_place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="pooler-"))
    yield place
    shutil.rmtree(place)


@needs_pgbouncer
@pytest.mark.parametrize("takes_options", [True, False])
def test_a_pooler_is_recognised_and_refused(
    house: Cluster, there: Cluster, open_place: Path, tmp_path: Path, takes_options: bool
) -> None:
    with pooled(house.coordinator, ROLE, PASSWORD, open_place, takes_options=takes_options) as port:
        behind = at(there, ("127.0.0.1", port))
        (found,) = musts(check_up(behind.coordinator))
        assert "connect to the server itself" in found.mend
        if takes_options:
            assert found.about == "pooler"
            with pytest.raises(CaptureFailed, match="a pooler stands between"):
                capture_cluster(behind, open_vault(tmp_path, house))


def standby_of(site: Site, node: Node) -> Node:
    """A standby of a server, at work at an address of its own."""
    home = Path(node.directory).with_name("standby")
    standby = replace(
        node,
        host=node.host.rpartition(".")[0] + ".200",
        directory=str(home),
        socket=str(Path(node.socket).with_name(new_hex()[:12])),
    )
    server.stop(site.binaries, node)
    subprocess.run(["cp", "-a", node.directory, str(home)], check=True)
    server.start(site.binaries, node)
    with superuser(node) as connection:
        tell(connection, "CREATE ROLE follower REPLICATION LOGIN PASSWORD 'Follower-1'")
    for role in ("follower", ROLE):
        let_in(node, role)
    signal = home / "pgdata" / "standby.signal"
    signal.touch()
    if site.binaries.account is not None:
        give(signal, site.binaries.account)
    follows = f"host={node.host} port={node.port} user=follower password=Follower-1"
    server.start(site.binaries, standby, {"primary_conninfo": follows})
    let_in(standby)
    return standby


def test_a_failover_ends_the_attempt_with_that_reason_and_the_next_one_succeeds(
    house: Cluster, there: Cluster, site: Site, tmp_path: Path
) -> None:
    node = house.coordinator
    standby = standby_of(site, node)
    try:
        # In any order: the standby comes first, and is passed over.
        both = at(there, (standby.host, standby.port), (node.host, node.port))
        vault = open_vault(tmp_path, house)
        base = capture_cluster(both, vault)
        until(lambda: rows(standby, "SELECT count(*) FROM public.kept") == [(1000,)], 20)

        def fail_over() -> None:
            with superuser(node) as connection:
                tell(connection, "INSERT INTO public.kept VALUES (0)")
                ((lsn,),) = connection.execute("SELECT pg_current_wal_lsn()::text").fetchall()
            replayed = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"
            until(lambda: rows(standby, replayed) == [(True,)], 20)
            rows(standby, "SELECT pg_promote()")
            server.stop(site.binaries, node, "immediate")

        with pytest.raises(CaptureInterrupted, match=r"failed over|leads to another server"):
            capture_cluster(both, vault, Moments(listed=fail_over))
        shot = capture_cluster(both, vault, base=base)
        with restored_cluster(site, house, shot, vault) as clone:
            assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.kept") == [(1001,)]
    finally:
        server.stop(site.binaries, standby)
        shutil.rmtree(standby.directory)


def test_a_server_that_was_made_anew_is_told_from_the_one_that_was_registered(
    house: Cluster, there: Cluster, tmp_path: Path
) -> None:
    (node,) = there.nodes
    assert node.connection is not None
    other = replace(node, connection=replace(node.connection, system_identifier="7"))
    (found,) = musts(check_up(other))
    assert "another server answers" in found.message
    with pytest.raises(CaptureFailed, match=r"another server answers.*and 7 was registered"):
        capture_cluster(replace(there, nodes=(other,)), open_vault(tmp_path, house))
