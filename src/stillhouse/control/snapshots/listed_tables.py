"""The tables of a snapshot, by the list in its coordinator's manifest: docs/format.md, section 5."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from stillhouse.control.context import Vault
from stillhouse.domain.cluster import Role
from stillhouse.domain.snapshot import Snapshot
from stillhouse.domain.table_restore import TableName, TableRestore
from stillhouse.errors import RestoreFailed
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import Line, PartitionedLine, TableLine
from stillhouse.repository.format.root import Root
from stillhouse.repository.objects import roots
from stillhouse.storage.store import ObjectStore

# Stored bytes of a manifest that are read for an answer: half a million lines, of 100,000 tables, are 5 to 10 MB and
# two seconds of a processor.
MOST_MANIFEST_BYTES = 32 << 20


@dataclass(frozen=True)
class Listed:
    """The list's verdict on a restore. Without a list, no table is reported as missing."""

    has_database: bool = True
    missing: tuple[TableName, ...] = ()


def listed(vault: Vault, snapshot: Snapshot, restore: TableRestore) -> Listed:
    """Read the list. Raises RestoreFailed if the snapshot is not in the repository, and RepositoryDamaged."""
    store, keys = vault.store, vault.keys(snapshot.cluster_id)
    root = stored_root(store, keys, snapshot.id)
    coordinator = next(one for one in root.nodes if one.role == Role.CN)
    stored = coordinator.stored
    return (
        told_by(manifest.read(store, keys, stored), restore)
        if stored.size <= MOST_MANIFEST_BYTES
        else Listed()
    )


def stored_root(store: ObjectStore, keys: ClusterKeys, snapshot_id: str) -> Root:
    """Read a snapshot's root for an answer. Raises RestoreFailed if there is none, and RepositoryDamaged."""
    root = roots.read(store, keys, snapshot_id)
    if root is None:
        raise RestoreFailed(f"snapshot {snapshot_id} is not in the repository")
    return root


def told_by(lines: Iterable[Line], restore: TableRestore) -> Listed:
    """Judge by the lines of a manifest, or of its end."""
    missing = dict.fromkeys(restore.sources)
    is_complete = False
    for line in lines:
        if line["t"] == "witness":
            if not line["databases"]:
                return Listed()
            if restore.database not in line["databases"]:
                return Listed(has_database=restore.database in line.get("left_out", {}))
            # Earlier versions listed no partitioned tables: a missing table may have been one.
            is_complete = line.get("partitioned", False)
        elif _is_table(line) and line["database"] == restore.database:
            missing.pop(TableName(line["schema"], line["name"]), None)
    return Listed(missing=tuple(missing) if is_complete else ())


def _is_table(line: Line) -> TypeGuard[PartitionedLine | TableLine]:
    """Tell a table from a materialised view, which has rows of other tables and can be made again."""
    return line["t"] == "partitioned" or (line["t"] == "table" and line.get("kind") == "r")
