"""What differs between two snapshots of a cluster: its tables, and the pages of its nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.control.context import Control, Vault
from stillhouse.control.lookup import known_snapshot
from stillhouse.domain.reports.difference import Change, RelationId, TableDifference, compare
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import InvalidInput, RestoreFailed, StateForbids
from stillhouse.node import changed_pages
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import RootNode
from stillhouse.repository.objects import roots

# Stored bytes that an answer may read: of one manifest, and of a node's maps and packs' indexes.
_MOST_MANIFEST, _MOST_INDEXES = 32 << 20, 64 << 20
_TOO_MANY = "too many files differ to count their pages in an answer"
_NO_NODE = "one of the snapshots has no such node"


@dataclass(frozen=True)
class TablePages:
    """A table that differs, and its pages that differ; None if they were not counted."""

    difference: TableDifference
    pages: int | None


@dataclass(frozen=True)
class NodeDifference:
    """One node. `pages` are those of all its relations that differ; None, and `why`, if they were not counted.

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
    then, now = (_nodes(control.vault, one) for one in (before, after))
    keys = control.vault.keys(after.cluster_id)
    names = [*now, *(name for name in then if name not in now)]
    return Difference(
        before, after, [_node(control.vault, keys, name, then.get(name), now.get(name)) for name in names]
    )


def _nodes(vault: Vault, snapshot: Snapshot) -> dict[str, RootNode]:
    root = roots.read(vault.store, vault.keys(snapshot.cluster_id), snapshot.id)
    if root is None:
        raise RestoreFailed(f"snapshot {snapshot.id} is not in the repository")
    return {node.name: node for node in root.nodes}


def _node(
    vault: Vault, keys: ClusterKeys, name: str, then: RootNode | None, now: RootNode | None
) -> NodeDifference:
    if then is None or now is None:
        return NodeDifference(name, None, _NO_NODE, 0, [])
    for one in (then, now):
        if one.size > _MOST_MANIFEST:
            raise InvalidInput(f"node {name} has too many files to be compared in an answer")
    before, after, same = changed_pages.read(vault.store, keys, then.stored, now.stored)
    pages = changed_pages.count(vault.store, keys, before, after, _MOST_INDEXES)
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
    """Return the pages of a table. None if pages were not counted, or if no snapshot tells its files."""
    if counted is None or not relations:
        return None
    return sum(counted.get(one, 0) for one in relations)
