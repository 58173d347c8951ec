"""Gather a clone's tables on every node that has a part of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.table_restore import TableRestore
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import databases_of
from stillhouse.postgres.sessions.session import Connection
from stillhouse.warehouse.tables.exchange import settle
from stillhouse.warehouse.tables.gather import Gathered, Wanted, gather
from stillhouse.warehouse.tables.sessions import reading, unseen, unseen_transaction
from stillhouse.warehouse.tables.sizes import prepare_sizes
from stillhouse.warehouse.tables.state import end_prepared

_ONLY_READS = {"default_transaction_read_only": "on"}


def gather_cluster(
    clones: Sequence[Node], live: Sequence[Node], wanted: TableRestore, prefix: str
) -> dict[str, Gathered]:
    """By the node's name: the coordinator's tables, then the data nodes' tables that are partitions of them.

    Raises RestoreFailed for a table that the snapshot does not have, or the cluster has no place for.
    """
    standing = {node.name: node for node in live}
    if missing := sorted(node.name for node in clones if node.name not in standing):
        raise RestoreFailed(f"the cluster has no node {missing[0]}, the snapshot has")
    coordinator = next(node for node in clones if node.role is Role.CN)
    asked = {coordinator.name: [Wanted(source, target) for source, target in wanted.pairs]}
    # If the snapshot was taken amid a swap, the swap ends as its coordinator says.
    settle(clones)
    gathered: dict[str, Gathered] = {}
    for node in (coordinator, *(node for node in clones if node is not coordinator)):
        if node.name not in asked:
            continue
        with (
            _database(node, wanted.database, "the snapshot") as connection,
            _database(standing[node.name], wanted.database, "the cluster") as present,
            reading(node, wanted.database, "stillhouse", _ONLY_READS) as reader,
            session.refusing_as(RestoreFailed, node),
        ):
            ended = end_prepared(connection, [one.source for one in asked[node.name]])
            with unseen_transaction(connection):
                prepare_sizes(connection)
            with unseen_transaction(connection):
                found = gather(connection, reader, present, prefix, asked[node.name], clones)
            gathered[node.name] = replace(found, notes=(*ended, *found.notes))
        for name, one in gathered[node.name].remote:
            asked.setdefault(name, []).append(one)
    return gathered


@contextmanager
def _database(node: Node, database: str, what: str) -> Iterator[Connection]:
    """A session in the database. Raises RestoreFailed if it does not exist or cannot be entered."""
    there = [one for one in databases_of(node) if one.name == database]
    if not there:
        raise RestoreFailed(f"{what} has no database {database}")
    if not there[0].is_open:
        raise RestoreFailed(f"in {what}, database {database} is {there[0].kind}: it cannot be entered")
    with unseen(node, database, "stillhouse") as connection:
        yield connection
