"""What differs between two snapshots of a cluster: its tables, and the pages of its nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.control.context import Control
from stillhouse.control.lookup import known_snapshot
from stillhouse.control.snapshots.listed_tables import MOST_MANIFEST_BYTES, stored_root
from stillhouse.domain.reports.difference import Change, RelationId, TableDifference, compare
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import InvalidInput, StateForbids
from stillhouse.node import changed_pages
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import RootNode
from stillhouse.storage.store import ObjectStore

# Stored bytes of a node's maps and of packs' indexes that are read for an answer.
_MOST_INDEX_BYTES = 64 << 20
_TOO_MANY = "too many files differ to count their pages in an answer"
_NO_NODE = "one of the snapshots has no such node"


@dataclass(frozen=True)
class TablePages:
    """A table that differs, and the number of its pages that differ, if they were counted."""

    difference: TableDifference
    pages: int | None


@dataclass(frozen=True)
class NodeDifference:
    """One node. `pages` is the number of pages that differ, of all relations. If it is missing, `why` gives the reason.

    `same` counts the tables that hold the same rows in both snapshots. `tables` are the others.
    """

    node: str
    pages: int | None
    why: str
    same: int
    tables: list[TablePages]


@dataclass(frozen=True)
class Difference:
    before: Snapshot
    after: Snapshot
    nodes: list[NodeDifference]


def difference(control: Control, project: str, before_id: str, after_id: str) -> Difference:
    """Compare two snapshots of one cluster, by what the repository tells of them.

    Raises SnapshotUnknown, StateForbids for one that cannot be restored, InvalidInput for snapshots of two clusters or
    too large a node, RestoreFailed for one that is not in the repository, and RepositoryDamaged.
    """
    with control.database.reading() as reading:
        before, after = (known_snapshot(reading, project, one) for one in (before_id, after_id))
    if before.cluster_id != after.cluster_id:
        raise InvalidInput("the snapshots are of two clusters: only snapshots of one cluster can be compared")
    for one in (before, after):
        if one.status is not SnapshotStatus.AVAILABLE:
            raise StateForbids(f"snapshot {one.id} is in state {one.status}")
    if control.vault is None:
        raise InvalidInput("only a running service can look into a snapshot")
    store, keys = control.vault.store, control.vault.keys(after.cluster_id)
    then, now = (
        {node.name: node for node in stored_root(store, keys, one.id).nodes} for one in (before, after)
    )
    names = dict.fromkeys((*now, *then))
    return Difference(
        before, after, [_node(store, keys, name, then.get(name), now.get(name)) for name in names]
    )


def _node(
    store: ObjectStore, keys: ClusterKeys, name: str, then: RootNode | None, now: RootNode | None
) -> NodeDifference:
    if then is None or now is None:
        return NodeDifference(name, None, _NO_NODE, 0, [])
    for one in (then, now):
        if one.size > MOST_MANIFEST_BYTES:
            raise InvalidInput(f"node {name} has too many files to be compared in an answer")
    before, after, same = changed_pages.read(store, keys, then.stored, now.stored)
    pages = changed_pages.count(store, keys, before, after, _MOST_INDEX_BYTES)
    tables = []
    for found in compare(before.tables, after.tables):
        if found.change is Change.SAME:
            same += 1
        else:
            tables.append(TablePages(found, _pages(pages, found.relations)))
    if pages is None:
        return NodeDifference(name, None, _TOO_MANY, same, tables)
    return NodeDifference(name, sum(pages.values()), "", same, tables)


def _pages(counted: Mapping[RelationId, int] | None, relations: Sequence[RelationId]) -> int | None:
    """Return the number of a table's pages that differ, if pages were counted and a snapshot tells its files."""
    if counted is None or not relations:
        return None
    return sum(counted.get(one, 0) for one in relations)
