"""A bank's warehouse with distributed tables by the hundred: `many_0`, `many_1` and so on, made on the servers."""

from stillhouse.domain.cluster import Node
from support.databases.writers import Bank, server_of

# So many in one transaction, which locks all that it makes: the lock table has no room for more.
_AT_ONCE = 250

_ORDINARY = """
    DO $$BEGIN FOR i IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE many_%s_{place} (id int, amount int)', i);
    END LOOP; END$$
"""
_DISTRIBUTED = """
    DO $$BEGIN FOR i IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE many_%s (id int, amount int) PARTITION BY HASH (id)', i);
        {parts}
    END LOOP; END$$
"""
_PART = """
        EXECUTE format('CREATE FOREIGN TABLE many_%s_{place} PARTITION OF many_%s'
            ' FOR VALUES WITH (MODULUS {modulus}, REMAINDER {place}) SERVER {server}', i, i);
"""


def distribute_many(bank: Bank, first: int, number: int, data_nodes: tuple[Node, ...] = ()) -> None:
    """Make tables `many_<first>` and following, each with a partition on every one of the `data_nodes`, or on all."""
    nodes = data_nodes or bank.cluster.data_nodes
    runs = [(at, min(at + _AT_ONCE, first + number) - 1) for at in range(first, first + number, _AT_ONCE)]
    for place, node in enumerate(nodes):
        with bank.connect(node) as data_node:
            for begin, end in runs:
                data_node.execute(_ORDINARY.format(first=begin, last=end, place=place).encode())
    with bank.connect() as coordinator:
        parts = "".join(
            _PART.format(place=place, modulus=len(nodes), server=server_of(coordinator, node))
            for place, node in enumerate(nodes)
        )
        for begin, end in runs:
            coordinator.execute(_DISTRIBUTED.format(first=begin, last=end, parts=parts).encode())
