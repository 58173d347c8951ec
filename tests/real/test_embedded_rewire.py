"""A clone beside its live source: once rewired, nothing of it reaches the source any more."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.clone.rewire import Rewired, Stranger, rewire
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.fdw import DATABASES
from support.servers.warehouses import USER, MakeWarehouse, log_in, rows, take_in

pytestmark = pytest.mark.long

QUARANTINE = {"listen_addresses": "", "max_logical_replication_workers": "0"}
TOTAL = "SELECT count(*), sum(balance) FROM accounts"
MAPPED = """
    SELECT srvname, split_part(o, '=', 2) FROM pg_user_mappings, unnest(umoptions) o
     WHERE o LIKE 'password=%' ORDER BY 1
"""
SUBSCRIPTIONS = "SELECT subname, subenabled, subslotname FROM pg_subscription ORDER BY 1"


@dataclass(frozen=True)
class Pair:
    """A live source, and its clone as it opened after `first` and `second`, the answers of two calls."""

    source: Cluster
    clone: tuple[Node, ...]
    first: Rewired
    second: Rewired


@pytest.fixture(scope="module")
def source(make_warehouse: MakeWarehouse) -> Cluster:
    """With money spread over its data nodes, a subscription, and servers that point elsewhere."""
    cluster, _ = make_warehouse(2)
    for database in DATABASES:
        with log_in(cluster.coordinator, database=database) as user:
            user.execute(
                "SELECT stillhouse.create_distributed_table('accounts', 'id int, balance int', 'id')"
            )
            user.execute("INSERT INTO accounts SELECT i, 10 FROM generate_series(1, 100) i")
    dn1 = cluster.data_nodes[0]
    with closing(session.connect(cluster.coordinator, "postgres")) as operator:
        operator.execute(
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.7', port '5433')"
        )
        operator.execute("CREATE SERVER no_address FOREIGN DATA WRAPPER postgres_fdw")
        operator.execute(
            "CREATE SERVER by_dblink FOREIGN DATA WRAPPER dblink_fdw"
            f" OPTIONS (hostaddr '{dn1.host}', port '{dn1.port}')".encode()
        )
    for node, database in ((cluster.coordinator, "gaussdb"), (dn1, "postgres")):
        with closing(session.connect(node, database)) as operator:
            operator.execute(
                "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
                " WITH (connect = false, slot_name = 'precious')"
            )
            operator.execute("ALTER SUBSCRIPTION feed ENABLE")
    return cluster


@pytest.fixture(scope="module")
def pair(site: Site, source: Cluster) -> Iterator[Pair]:
    clone_id = new_uuid()
    clone = embedded.plan_nodes(site, clone_id, source.number_of_node, source.port)
    embedded.stop_all(site, source.nodes)
    for old, new in zip(source.nodes, clone, strict=True):
        subprocess.run(["cp", "-a", old.directory, new.directory], check=True)
    embedded.start_all(site, source.nodes)
    for node in clone:
        take_in(site, node, QUARANTINE)
    first = rewire(clone, source.user_name, source.nodes)
    second = rewire(clone, source.user_name, source.nodes)
    embedded.restart(site, clone)
    yield Pair(source, clone, first, second)
    embedded.destroy(site, clone_id)


@pytest.mark.parametrize("database", DATABASES)
def test_what_is_written_to_the_clone_never_reaches_the_source(pair: Pair, database: str) -> None:
    with log_in(pair.clone[0], database=database) as user:
        assert user.execute(TOTAL.encode()).fetchall() == [(100, 1000)]
        user.execute("UPDATE accounts SET balance = 0")
    with log_in(pair.source.coordinator, database=database) as user:
        assert user.execute(TOTAL.encode()).fetchall() == [(100, 1000)]


def test_the_clone_and_its_source_share_no_data_node_password(pair: Pair) -> None:
    with log_in(pair.source.coordinator) as user:
        theirs = dict(user.execute(MAPPED.encode()).fetchall())
    with log_in(pair.clone[0]) as user:
        ours = dict(user.execute(MAPPED.encode()).fetchall())
    assert theirs.keys() == ours.keys() == {"dn1", "dn2"}
    assert {*theirs.values()}.isdisjoint(ours.values())
    for (name, old), new, there, here in zip(
        sorted(theirs.items()), ours.values(), pair.source.data_nodes, pair.clone[1:], strict=True
    ):
        log_in(there, password=old).close()
        log_in(here, password=new).close()
        for node, password in ((there, new), (here, old)):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                log_in(node, password=password)
        assert name == there.name == here.name


def test_the_users_own_password_stays_that_of_the_cut(pair: Pair) -> None:
    log_in(pair.clone[0], user=USER).close()


def test_subscriptions_are_disabled_and_let_go_of_their_slot(pair: Pair) -> None:
    for node in (pair.clone[0], pair.clone[1]):
        assert rows(node, SUBSCRIPTIONS) == [("feed", False, None)]
    assert sorted(pair.first.subscriptions) == [("cn", "gaussdb", "feed"), ("dn1", "postgres", "feed")]
    assert rows(pair.source.coordinator, SUBSCRIPTIONS) == [("feed", True, "precious")]


def test_servers_that_point_elsewhere_are_left_and_reported(pair: Pair) -> None:
    strangers = [
        Stranger("cn", "postgres", "elsewhere", "192.0.2.7:5433"),
        Stranger("cn", "postgres", "no_address", ""),
    ]
    assert pair.first.strangers == pair.second.strangers == strangers
    options = "SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'elsewhere'"
    assert rows(pair.clone[0], options) == [(["host=192.0.2.7", "port=5433"],)]


def test_servers_of_dblink_are_rewired_too(pair: Pair) -> None:
    options = "SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'by_dblink'"
    dn1 = pair.clone[1]
    assert rows(pair.clone[0], options) == [([f"hostaddr={dn1.host}", f"port={dn1.port}"],)]
    assert pair.first.servers == pair.second.servers == 5


def test_no_server_of_the_clone_names_the_source(pair: Pair) -> None:
    addresses = {node.host for node in pair.source.nodes}
    for node in pair.clone:
        for database in DATABASES:
            options = rows(node, "SELECT o FROM pg_foreign_server, unnest(srvoptions) o", database)
            assert addresses.isdisjoint(text.partition("=")[2] for (text,) in options)


def test_a_source_node_without_a_counterpart_is_refused(pair: Pair) -> None:
    stranger = replace(pair.source.nodes[0], name="dn9")
    with pytest.raises(RestoreFailed, match="dn9"):
        rewire(pair.clone, USER, (*pair.source.nodes, stranger))


def test_the_clone_keeps_its_files_to_itself(pair: Pair) -> None:
    for node in pair.clone:
        assert rows(node, "SHOW data_directory") == [(str(Path(node.directory, "pgdata")),)]
        assert rows(node, "SHOW listen_addresses") == [(node.host,)]
