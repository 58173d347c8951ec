"""Sites as they are: a pooler in between, a failover while a snapshot is taken, a server that was made anew."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex
from stillhouse.domain.registered.check_up import musts
from stillhouse.errors import CaptureFailed, CaptureInterrupted
from stillhouse.node.capture.ancestry import pass_cut
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.postgres.host.check_up import check_up
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers import warehouses
from support.servers.pooler import needs_pgbouncer, pooled
from support.servers.registered import PASSWORD, ROLE, let_in, registered
from support.servers.warehouses import rows
from support.snapshots.captures import Moments, capture_cluster, lines, open_vault, restored_cluster
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


@pytest.fixture
def standby(house: Cluster, there: Cluster, site: Site) -> Iterator[Node]:
    """A standby of the cluster's one server. `there` is asked for, since its role is to be in both."""
    assert there.nodes
    standby = standby_of(site, house.coordinator)
    yield standby
    server.stop(site.binaries, standby)
    shutil.rmtree(standby.directory)


@pytest.fixture
def both(there: Cluster, house: Cluster, standby: Node) -> Cluster:
    """In any order: the standby comes first, and is passed over."""
    node = house.coordinator
    return at(there, (standby.host, standby.port), (node.host, node.port))


FOLLOWING = "pg_stat_replication WHERE usename = 'follower'"


def await_all(node: Node, standby: Node) -> None:
    """Wait until the standby has replayed what its primary has written."""
    ((lsn,),) = rows(node, "SELECT pg_current_wal_flush_lsn()::text")
    until(lambda: rows(standby, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn") == [(True,)], 60)


def fail_over(site: Site, node: Node, standby: Node) -> None:
    server.stop(site.binaries, node, "immediate")
    rows(standby, "SELECT pg_promote()")
    until(lambda: rows(standby, "SELECT pg_is_in_recovery()") == [(False,)], 60)


def test_a_failover_ends_the_attempt_with_that_reason_and_the_next_one_is_incremental(
    house: Cluster, both: Cluster, standby: Node, site: Site, tmp_path: Path
) -> None:
    node, vault = house.coordinator, open_vault(tmp_path, house)
    base = capture_cluster(both, vault)

    def lose_the_primary() -> None:
        with superuser(node) as connection:
            tell(connection, "INSERT INTO public.kept VALUES (0)")
        await_all(node, standby)
        fail_over(site, node, standby)

    with pytest.raises(CaptureInterrupted, match="node cn failed over: a standby was promoted"):
        capture_cluster(both, vault, Moments(listed=lose_the_primary))
    with superuser(standby) as connection:
        tell(connection, "INSERT INTO public.kept VALUES (-1)")
    shot = capture_cluster(both, vault, base=base)
    captured = shot.captured["cn"]
    assert captured.base == base.captured["cn"].manifest.id, captured.whole_because
    assert captured.lineage == node.lineage and captured.files["kept"] > 0
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.kept") == [(1002,)]


@pytest.mark.parametrize("is_marked", [False, True], ids=["without its mark", "with its mark"])
def test_a_base_that_the_promoted_standby_never_had_is_none(
    house: Cluster, both: Cluster, standby: Node, site: Site, tmp_path: Path, is_marked: bool
) -> None:
    """The standby was behind. If the failover comes between the cut and the mark, even the mark is there."""
    node, vault = house.coordinator, open_vault(tmp_path, house)

    def cut_off() -> None:
        await_all(node, standby)
        with superuser(node) as connection:
            tell(connection, "ALTER ROLE follower NOLOGIN")
            tell(connection, f"SELECT pg_terminate_backend(pid, 10000) FROM {FOLLOWING}")
            tell(connection, "INSERT INTO public.kept SELECT generate_series(2000, 3000)")

    base = capture_cluster(both, vault, Moments(ready=cut_off))
    fail_over(site, node, standby)
    if is_marked:
        head = lines(vault, base.captured["cn"])[0]
        pass_cut(both.coordinator, node.lineage, head["cut"]["lsn"], head["token"])
    with superuser(standby) as connection:
        for _ in range(3):
            tell(connection, "SELECT pg_logical_emit_message(true, 'test', 'x')")
            tell(connection, "SELECT pg_switch_wal()")
    shot = capture_cluster(both, vault, base=base)
    captured = shot.captured["cn"]
    assert captured.base is None
    assert ("and the node left that at" if is_marked else "set back") in captured.whole_because
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.kept") == [(1000,)]


def test_a_session_that_only_reads_is_let_in_to_a_node_of_several_hosts(
    both: Cluster, house: Cluster
) -> None:
    """As those are that read the tables at the cut: libpq takes a session's own setting for its server's."""
    with closing(
        session.connect(both.coordinator, "postgres", settings={"default_transaction_read_only": "on"})
    ) as connection:
        assert connection.info.host == house.coordinator.host


def test_a_silent_host_leaves_time_for_the_others_and_is_asked_last_from_then_on(
    house: Cluster, there: Cluster
) -> None:
    """It takes connections, and says nothing. More of them would fill its queue: it is asked once."""
    node = house.coordinator
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        behind = at(there, silent.getsockname(), (node.host, node.port)).coordinator
        behind = replace(behind, id=new_hex())  # of which nothing is remembered
        for _ in range(2):
            with closing(session.connect(behind, "postgres")) as connection:
                assert connection.info.port == node.port
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


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
