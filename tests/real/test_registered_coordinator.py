"""A coordinator with data nodes that are somebody's: found, checked up, gated with the documented rights, captured."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.control.clusters.check_ups import examine
from stillhouse.domain.cluster import Cluster, Engine, Node, Place
from stillhouse.domain.registered.check_up import Finding, Weight, musts
from stillhouse.errors import StillhouseError
from stillhouse.postgres.sessions.grants import GATE_RIGHTS, script, statement
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.gate.check_up import check_up_gate, find_data_nodes
from support.databases.writers import Bank, found_bank, server_of, until, writing
from support.servers import warehouses
from support.servers.registered import ROLE, registered
from support.servers.warehouses import rows
from support.snapshots.captures import capture_cluster, open_vault, restored_cluster
from support.snapshots.cuts import OUR_SESSIONS, superuser, take, tell

pytestmark = pytest.mark.long

pytest_plugins = ["support.servers.versions"]

MONEY = "SELECT sum(balance) FROM accounts"


@pytest.fixture(scope="module")
def bank(version_site: Site) -> Iterator[Bank]:
    cluster = warehouses.build(version_site, 2)
    yield found_bank(cluster, warehouses.PASSWORD)
    embedded.destroy(version_site, cluster.id)


@pytest.fixture(scope="module")
def there(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return registered(bank.cluster, tmp_path_factory.mktemp("passwords"))


@pytest.fixture(scope="module")
def theirs(bank: Bank, there: Cluster) -> Bank:
    """The same bank, as it is seen by our role."""
    assert all(node.place is Place.CONNECTION for node in there.nodes)
    return replace(bank, cluster=there)


@pytest.fixture(autouse=True)
def nothing_is_left(bank: Bank) -> Iterator[None]:
    yield
    for node in bank.cluster.nodes:
        until(lambda node=node: rows(node, OUR_SESSIONS) == [], 10)


@pytest.fixture
def lone_table(bank: Bank) -> Iterator[None]:
    node = bank.cluster.data_nodes[0]
    with bank.connect(node) as data_node, bank.connect() as owner:
        data_node.execute("CREATE TABLE lone (id int)")
        owner.execute(f"CREATE FOREIGN TABLE lone (id int) SERVER {server_of(owner, node)}".encode())
        yield
        owner.execute("DROP FOREIGN TABLE lone")
        data_node.execute("DROP TABLE lone")


def look(cluster: Cluster) -> list[Finding]:
    return examine(cluster.engine, cluster.nodes)


def refused(theirs: Bank) -> str:
    with pytest.raises(StillhouseError) as caught:
        take(theirs, deadline=3)
    return str(caught.value)


def test_a_fit_coordinator_has_nothing_to_mend(there: Cluster) -> None:
    found = look(there)
    assert musts(found) == []
    assert "1 distributed tables" in next(one.message for one in found if one.about == "gate")


def test_the_data_nodes_are_found_from_the_coordinator_alone(there: Cluster) -> None:
    found = find_data_nodes(there.coordinator)
    assert {address for one in found for address in one} == {
        (node.host, node.port) for node in there.data_nodes
    }


def test_a_snapshot_under_transfers_has_all_the_money(
    bank: Bank, theirs: Bank, version_site: Site, tmp_path: Path
) -> None:
    vault = open_vault(tmp_path, bank.cluster)
    with writing(bank, 4):
        shot = capture_cluster(theirs.cluster, vault)
    with restored_cluster(version_site, bank.cluster, shot, vault) as clone:
        with closing(replace(bank, cluster=clone.cluster).connect()) as connection:
            assert connection.execute(MONEY).fetchall() == [(bank.total,)]
        assert clone.rewired.strangers == []


@pytest.mark.parametrize("number", [0, 1], ids=["which tables", "locks"])
def test_each_right_of_the_gate_is_needed_and_its_absence_is_told(
    theirs: Bank, there: Cluster, bank: Bank, number: int
) -> None:
    right = GATE_RIGHTS[number]
    with superuser(bank.cluster.coordinator) as connection:
        tell(connection, statement(right.revoke, ROLE))
        try:
            assert ("pg_user_mapping", "may not lock 1 distributed tables")[number] in refused(theirs)
            (found,) = musts(look(there))
            assert ("pg_read_all_data", "accounts")[number] in found.message
            tell(connection, found.mend)
        finally:
            tell(connection, script(ROLE, gate=True))
    assert take(theirs).tries >= 1


def test_a_data_node_that_hides_its_sessions_is_refused_by_name(theirs: Bank, bank: Bank) -> None:
    """Without the right other roles' sessions have no state: no writers would be found, whoever writes."""
    node = bank.cluster.data_nodes[1]
    with superuser(node) as connection:
        tell(connection, f"REVOKE pg_monitor FROM {ROLE}")
        try:
            with writing(bank, 1):
                assert f"node {node.name}: the role does not see" in refused(theirs)
        finally:
            tell(connection, f"GRANT pg_monitor TO {ROLE}")


def test_a_coordinator_that_hides_its_sessions_is_refused_by_name(theirs: Bank, bank: Bank) -> None:
    with superuser(bank.cluster.coordinator) as connection:
        tell(connection, f"REVOKE pg_monitor FROM {ROLE}")
        try:
            assert "node cn: the role does not see" in refused(theirs)
        finally:
            tell(connection, f"GRANT pg_monitor TO {ROLE}")


@pytest.mark.usefixtures("lone_table")
def test_a_foreign_table_that_is_nobodys_partition_needs_its_owner(
    theirs: Bank, there: Cluster, bank: Bank
) -> None:
    assert "lone" in refused(theirs)
    (found,) = musts(look(there))
    assert "lone" in found.message
    with superuser(bank.cluster.coordinator) as connection:
        tell(connection, found.mend)
        try:
            assert musts(look(there)) == []
            assert take(theirs).tries >= 1
        finally:
            tell(connection, f"REVOKE {bank.cluster.user_name} FROM {ROLE}")


@pytest.mark.usefixtures("lone_table")
def test_an_event_trigger_never_runs_with_the_rights_of_our_role(
    theirs: Bank, there: Cluster, bank: Bank
) -> None:
    with superuser(bank.cluster.coordinator, "gaussdb") as connection:
        tell(connection, f"GRANT {bank.cluster.user_name} TO {ROLE}")
        tell(
            connection,
            "CREATE FUNCTION spy() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran'; END $$",
        )
        tell(connection, "CREATE EVENT TRIGGER spying ON ddl_command_end EXECUTE FUNCTION spy()")
        try:
            assert "event triggers spying would run" in refused(theirs)
            (found,) = musts(look(there))
            tell(connection, found.mend)
            assert take(theirs).tries >= 1
        finally:
            tell(connection, "DROP EVENT TRIGGER spying")
            tell(connection, "DROP FUNCTION spy()")
            tell(connection, f"REVOKE {bank.cluster.user_name} FROM {ROLE}")


def test_membership_in_the_owner_is_enough_to_lock(theirs: Bank, bank: Bank) -> None:
    with superuser(bank.cluster.coordinator) as connection:
        tell(connection, statement(GATE_RIGHTS[1].revoke, ROLE))
        tell(connection, f"GRANT {bank.cluster.user_name} TO {ROLE}")
        try:
            assert take(theirs).tries >= 1
        finally:
            tell(connection, f"REVOKE {bank.cluster.user_name} FROM {ROLE}")
            tell(connection, statement(GATE_RIGHTS[1].grant, ROLE))


def unreachable(node: Node) -> Node:
    assert node.connection is not None
    return replace(node, connection=replace(node.connection, hosts=((node.host, 1),)))


def test_a_data_node_that_cannot_be_reached_is_refused_by_name(there: Cluster) -> None:
    cn, first, second = there.nodes
    (found,) = musts(examine(Engine.FDW, [cn, first, unreachable(second)]))
    assert found.node == "dn2"
    assert "does not answer" in found.message


def test_one_server_is_not_two_nodes(there: Cluster) -> None:
    cn, first, _ = there.nodes
    found = musts(examine(Engine.FDW, [cn, first, replace(first, name="dn2")]))
    assert any("the same server as node dn1" in one.message for one in found)


def test_a_server_that_the_coordinator_does_not_lead_to_is_no_data_node(there: Cluster) -> None:
    cn, first, second = there.nodes
    assert second.connection is not None
    by_name = replace(second.connection, hosts=(("localhost", second.port),))
    other = replace(second, host="other.example.org", connection=by_name)
    findings = examine(Engine.FDW, [cn, first, replace(other, connection=second.connection)])
    assert musts(findings) == [], "its own address is known"
    findings = [one for one in check_up_gate(cn, [first, other]) if one.about == "gate"]
    assert {(one.node, one.weight) for one in findings} >= {("dn2", Weight.MUST), ("cn", Weight.SHOULD)}
