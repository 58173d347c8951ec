"""Fixtures of the tests of the cut: `pytest_plugins = ["support.snapshots.cut_fixtures"]` in a module."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stillhouse.domain.cluster import Cluster
from stillhouse.warehouse.cut import cut
from support.databases.writers import Bank, found_bank, server_of, until
from support.snapshots.cuts import OUR_SESSIONS, ask, superuser


@pytest.fixture(scope="module")
def bank(make_warehouse: Callable[[int], tuple[Cluster, str]]) -> Bank:
    cluster, password = make_warehouse(2)
    return found_bank(cluster, password)


@pytest.fixture
def nothing_left_behind(bank: Bank) -> Iterator[None]:
    """No test may end with a session, a lock or a disabled trigger of the cut in the warehouse."""
    yield
    for node in bank.cluster.nodes:
        with superuser(node) as connection:
            until(lambda connection=connection: not ask(connection, OUR_SESSIONS), 5)


@pytest.fixture
def during_hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[str]]:
    """Have something happen while the gate is shut, before the points are made; collects their names."""

    def interleave(action: Callable[[int], None]) -> list[str]:
        names: list[str] = []
        mark_nodes = cut.mark_nodes

        def mark(nodes: Any, name: str, *rest: Any) -> Any:
            names.append(name)
            action(len(names))
            return mark_nodes(nodes, name, *rest)

        monkeypatch.setattr(cut, "mark_nodes", mark)
        return names

    return interleave


@pytest.fixture
def lone_table(bank: Bank) -> Iterator[str]:
    """A foreign table that is nobody's partition."""
    node = bank.cluster.data_nodes[0]
    with bank.connect(node) as data_node, bank.connect() as owner:
        data_node.execute("CREATE TABLE lone (id int)")
        owner.execute(f"CREATE FOREIGN TABLE lone (id int) SERVER {server_of(owner, node)}".encode())
        yield "lone"
        owner.execute("DROP FOREIGN TABLE lone")
        data_node.execute("DROP TABLE lone")
