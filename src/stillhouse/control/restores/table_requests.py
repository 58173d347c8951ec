"""Requests to put tables of a snapshot back into its cluster, and the check of their names beforehand."""

from dataclasses import dataclass
from typing import Any

from stillhouse.catalog import operations
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import (
    answering_cluster,
    check_may_ask,
    known_snapshot,
    usable_snapshot,
    working_cluster,
)
from stillhouse.control.snapshots.listed_tables import listed
from stillhouse.domain.cluster import Task
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.domain.table_restore import TableName, TableRestore, TablesWanted
from stillhouse.errors import DatabaseUnknown, InvalidInput, StateForbids
from stillhouse.warehouse.cluster import contents
from stillhouse.warehouse.cluster.abilities import Ability, check_able


@dataclass(frozen=True)
class Verdict:
    """The objections to a restore; all fields are empty if there are no objections.

    `database` is missing in the snapshot or in the cluster, and then nothing is known of its tables. Tables in
    `missing` are not in the snapshot. Tables in `existing` are in the cluster, and the restore would replace them.
    """

    database: str | None = None
    missing: tuple[TableName, ...] = ()
    existing: tuple[TableName, ...] = ()


def start_table_restore(control: Control, project: str, snapshot_id: str, wanted: TablesWanted) -> str:
    """Accept a restore into the snapshot's own cluster, for the flow `restore_tables`. Returns its operation's id.

    The flow finds out whether the tables are there: neither the repository nor a server is asked here.
    """
    with audited(control, project, "RestoreTable", f"snapshot/{snapshot_id}") as transaction:
        source, snapshot = usable_snapshot(transaction, project, snapshot_id)
        restore = wanted.named(snapshot.backup_key)
        cluster = working_cluster(transaction, project, source.id)
        check_able(cluster, Ability.LOAD_TABLES)
        operation_id = operations.begin(
            transaction,
            cluster.id,
            Task.FINE_GRAINED_RESTORING,
            snapshot.id,
            control.clock.now(),
            operation_detail(snapshot.id, restore),
        )
        control.flows.enqueue(transaction, "restore_tables", operation_id)
    return operation_id


def operation_detail(snapshot_id: str, restore: TableRestore) -> dict[str, Any]:
    """Return the operation's detail. `marked`: its objects on the nodes bear marks; earlier versions set no marks."""
    return {"snapshot_id": snapshot_id, "marked": True, **restore.to_detail()}


def check_table_restore(control: Control, project: str, snapshot_id: str, wanted: TablesWanted) -> Verdict:
    """Compare the names with the snapshot's list of tables and with the cluster's tables at this moment.

    Another operation may hold the cluster. Raises as `start_table_restore`, and NodeUnreachable.
    """
    with control.database.reading() as reading:
        snapshot = known_snapshot(reading, project, snapshot_id)
        if snapshot.status is not SnapshotStatus.AVAILABLE:
            raise StateForbids(f"snapshot {snapshot.id} is in state {snapshot.status}")
        restore = wanted.named(snapshot.backup_key)
        cluster = answering_cluster(reading, project, snapshot.cluster_id)
        check_able(cluster, Ability.LOAD_TABLES)
    check_may_ask(control, cluster)
    if control.vault is None:
        raise InvalidInput("only a running service can look into a snapshot")
    found = listed(control.vault, snapshot, restore)
    if not found.has_database:
        return Verdict(database=restore.database)
    targets = [(one.schema, one.table) for one in restore.targets]
    try:
        taken = contents.taken_names(cluster.coordinator, restore.database, targets)
    except DatabaseUnknown:
        return Verdict(database=restore.database)
    return Verdict(
        missing=found.missing,
        existing=tuple(one for one in restore.targets if (one.schema, one.table) in taken),
    )
