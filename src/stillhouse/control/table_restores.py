"""Requests to put tables of a snapshot back into its cluster, and the check of their names beforehand."""

from collections.abc import Iterable
from dataclasses import dataclass

from stillhouse.catalog import operations
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import answering_cluster, known_snapshot, usable_snapshot, working_cluster
from stillhouse.control.recovery import stored_manifest
from stillhouse.domain.cluster import Role, Task
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.domain.table_restore import TableName, TableRestore, TablesWanted
from stillhouse.errors import InvalidInput, RestoreFailed, StateForbids
from stillhouse.repository import manifest, roots
from stillhouse.repository.manifest import Line
from stillhouse.warehouse import contents

# Of a manifest, as stored, that is read for an answer: half a million lines, of 100,000 tables, are 5 to 10 MB and
# two seconds of a processor.
_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Verdict:
    """What speaks against a restore; nothing of it is set when all is well.

    `database` is missing in the snapshot or in the cluster, and then nothing is known of its tables. `missing` are
    not in the snapshot, `existing` are in the cluster already, where the restore would replace them.
    """

    database: str | None = None
    missing: tuple[TableName, ...] = ()
    existing: tuple[TableName, ...] = ()


def start_table_restore(control: Control, project: str, snapshot_id: str, wanted: TablesWanted) -> str:
    """Accept a restore into the snapshot's own cluster; the flow `restore_tables` does it. Its operation's id.

    Whether the tables are there is the flow's to find out: neither the repository nor a server is asked here.
    """
    with audited(control, project, "RestoreTable", f"snapshot/{snapshot_id}") as transaction:
        source, snapshot = usable_snapshot(transaction, project, snapshot_id)
        restore = wanted.named(snapshot.backup_key)
        cluster = working_cluster(transaction, project, source.id)
        operation_id = operations.begin(
            transaction,
            cluster.id,
            Task.FINE_GRAINED_RESTORING,
            snapshot.id,
            control.clock.now(),
            {"snapshot_id": snapshot.id, **restore.to_detail()},
        )
        control.flows.enqueue(transaction, "restore_tables", operation_id)
    return operation_id


def check_table_restore(control: Control, project: str, snapshot_id: str, wanted: TablesWanted) -> Verdict:
    """Compare the names with what the snapshot lists and with what the cluster has at this moment.

    Another operation on the cluster is no hindrance. Raises as `start_table_restore`, and NodeUnreachable.
    """
    with control.database.reading() as reading:
        snapshot = known_snapshot(reading, project, snapshot_id)
        if snapshot.status is not SnapshotStatus.AVAILABLE:
            raise StateForbids(f"snapshot {snapshot.id} is in state {snapshot.status}")
        restore = wanted.named(snapshot.backup_key)
        cluster = answering_cluster(reading, project, snapshot.cluster_id)
    listed = _listed(control, snapshot, restore)
    if not listed.has_database or restore.database not in contents.list_databases(cluster.coordinator):
        return Verdict(database=restore.database)
    targets = [(one.schema, one.table) for one in restore.targets]
    taken = contents.taken_names(cluster.coordinator, restore.database, targets)
    return Verdict(
        missing=listed.missing,
        existing=tuple(one for one in restore.targets if (one.schema, one.table) in taken),
    )


@dataclass(frozen=True)
class _Listed:
    """What a snapshot's list of tables says of a restore; where there is no list, nothing is said to be missing."""

    has_database: bool = True
    missing: tuple[TableName, ...] = ()


def _listed(control: Control, snapshot: Snapshot, restore: TableRestore) -> _Listed:
    """From the coordinator's manifest, which lists its tables by name: docs/format.md, section 5."""
    if control.vault is None:
        raise InvalidInput("only a running service can look into a snapshot")
    store, keys = control.vault.store, control.vault.keys(snapshot.cluster_id)
    root = roots.read(store, keys, snapshot.id)
    if root is None:
        raise RestoreFailed(f"snapshot {snapshot.id} is not in the repository")
    coordinator = next(one["name"] for one in root["nodes"] if one["role"] == Role.CN)
    stored = stored_manifest(root, coordinator)
    if stored.size > _MOST_BYTES:
        return _Listed()
    return _told_by(manifest.read(store, keys, stored), restore)


def _told_by(lines: Iterable[Line], restore: TableRestore) -> _Listed:
    missing = dict.fromkeys(restore.sources)
    is_complete = False
    for line in lines:
        if line["t"] == "witness":
            if not line["databases"]:
                return _Listed()
            if restore.database not in line["databases"]:
                return _Listed(has_database=False)
            # Earlier versions listed no partitioned tables: what is not found may have been one.
            is_complete = line.get("partitioned", False)
        elif _is_table(line) and line["database"] == restore.database:
            missing.pop(TableName(line["schema"], line["name"]), None)
    return _Listed(missing=tuple(missing) if is_complete else ())


def _is_table(line: Line) -> bool:
    return line["t"] == "partitioned" or (line["t"], line.get("kind")) == ("table", "r")
