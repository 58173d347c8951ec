"""Snapshots: CREATING until their operation ends, then AVAILABLE or UNAVAILABLE; deleted = in the trash."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog import operations
from stillhouse.catalog.database import Transaction, violates
from stillhouse.catalog.tables import captures, cuts, restore_points, snapshot_name, snapshots
from stillhouse.catalog.tables import operations as operation_rows
from stillhouse.domain.cluster import Task
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType
from stillhouse.errors import NameTaken, SnapshotUnknown

# What a list may be sorted by. Size is that of the captured data, as the API reports it.
SORT_KEYS = {
    "name": func.lower(snapshots.c.name),
    "started": snapshots.c.started,
    "finished": snapshots.c.finished,
    "size": snapshots.c.plain_bytes,
    "status": snapshots.c.status,
    "type": snapshots.c.type,
}

_NOT_DELETED = snapshots.c.deleted.is_(None)
_NEWEST_FIRST = (snapshots.c.started.desc(), snapshots.c.id)


def insert_snapshot(transaction: Transaction, snapshot: Snapshot) -> None:
    row = asdict(snapshot) | {"attempt": 0}
    del row["restoring"]  # told by the operations that restore it
    try:
        transaction.execute(insert(snapshots), row)
    except IntegrityError as error:
        if violates(error, snapshot_name):
            raise NameTaken(f"the project already has a snapshot named {snapshot.name}") from error
        raise


def find_snapshot(transaction: Transaction, project: str, snapshot_id: str) -> Snapshot | None:
    """The project's snapshot, unless it is in the trash or another project's."""
    query = _selected().where(snapshots.c.project == project, snapshots.c.id == snapshot_id, _NOT_DELETED)
    row = transaction.execute(query).one_or_none()
    return None if row is None else _snapshot(row)


def read_snapshot(transaction: Transaction, snapshot_id: str) -> Snapshot:
    """Any snapshot, those in the trash as well: for flows."""
    row = transaction.execute(_selected().where(snapshots.c.id == snapshot_id)).one_or_none()
    if row is None:
        raise SnapshotUnknown(f"snapshot {snapshot_id} is not in the catalog")
    return _snapshot(row)


def lock_snapshot(transaction: Transaction, snapshot_id: str) -> None:
    """Let no other transaction change the snapshot or decide by its state before this one ends."""
    transaction.execute(select(snapshots.c.id).where(snapshots.c.id == snapshot_id).with_for_update())


def list_snapshots(transaction: Transaction, project: str) -> list[Snapshot]:
    query = _selected().where(snapshots.c.project == project, _NOT_DELETED).order_by(*_NEWEST_FIRST)
    return [_snapshot(row) for row in transaction.execute(query)]


def newest_available(transaction: Transaction, cluster_id: str) -> str | None:
    """Id of the cluster's newest snapshot that can be restored and is not in the trash."""
    query = (
        select(snapshots.c.id)
        .where(
            snapshots.c.cluster_id == cluster_id,
            snapshots.c.status == SnapshotStatus.AVAILABLE,
            snapshots.c.deleted.is_(None),
        )
        .order_by(snapshots.c.started.desc(), snapshots.c.id)
        .limit(1)
    )
    return transaction.execute(query).scalar_one_or_none()


def page_of_cluster(
    transaction: Transaction,
    cluster_id: str,
    *,
    sort_key: str,
    descending: bool,
    limit: int | None,
    skip: int,
) -> tuple[list[Snapshot], int]:
    """One page of a cluster's snapshots, and how many there are in all."""
    mine = (snapshots.c.cluster_id == cluster_id) & _NOT_DELETED
    total = transaction.execute(select(func.count()).select_from(snapshots).where(mine)).scalar_one()
    column = SORT_KEYS[sort_key]
    # The two databases differ on where NULL sorts; the id makes pages of equal keys disjoint.
    order = (column.desc() if descending else column.asc()).nulls_last()
    query = _selected().where(mine).order_by(order, snapshots.c.id).limit(limit).offset(skip)
    return [_snapshot(row) for row in transaction.execute(query)], total


def set_progress(transaction: Transaction, snapshot_id: str, percent: int, now: datetime) -> None:
    """Show the same progress on the snapshot and on its cluster; it only grows."""
    transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id, snapshots.c.progress < percent, _creating())
        .values(progress=percent, updated=now)
    )
    operation_id = _active_operation(transaction, snapshot_id)
    if operation_id is not None:
        operations.set_progress(transaction, operation_id, percent)


def request_cancel(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    transaction.execute(
        update(snapshots).where(snapshots.c.id == snapshot_id).values(cancel_requested=True, updated=now)
    )


def mark_available(
    transaction: Transaction,
    snapshot_id: str,
    now: datetime,
    *,
    plain_bytes: int,
    stored_bytes: int,
) -> bool:
    """CREATING becomes AVAILABLE and the cluster is free, at once. False if it had ended before."""
    return _end(
        transaction,
        snapshot_id,
        now,
        operations.DONE,
        status=SnapshotStatus.AVAILABLE,
        progress=100,
        plain_bytes=plain_bytes,
        stored_bytes=stored_bytes,
    )


def mark_unavailable(transaction: Transaction, snapshot_id: str, now: datetime, reason: str) -> bool:
    """CREATING becomes UNAVAILABLE and the cluster is free, at once. False if it had ended before."""
    return _end(
        transaction,
        snapshot_id,
        now,
        operations.FAILED,
        status=SnapshotStatus.UNAVAILABLE,
        reason=reason,
    )


def move_to_trash(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    transaction.execute(
        update(snapshots).where(snapshots.c.id == snapshot_id, _NOT_DELETED).values(deleted=now, updated=now)
    )


def given_up_with_cluster(transaction: Transaction, cluster_id: str, keep_last_manual: int) -> list[Snapshot]:
    """What a cluster's deletion takes along: all but its newest usable manual snapshots."""
    query = _selected().where(snapshots.c.cluster_id == cluster_id, _NOT_DELETED).order_by(*_NEWEST_FIRST)
    found = [_snapshot(row) for row in transaction.execute(query)]
    manual = [
        snapshot
        for snapshot in found
        if snapshot.type is SnapshotType.MANUAL and snapshot.status is SnapshotStatus.AVAILABLE
    ]
    kept = {snapshot.id for snapshot in manual[:keep_last_manual]}
    return [snapshot for snapshot in found if snapshot.id not in kept]


def snapshots_where(transaction: Transaction, *conditions: ColumnElement[bool]) -> list[Snapshot]:
    """Any snapshots, those in the trash as well."""
    query = _selected().where(*conditions).order_by(*_NEWEST_FIRST)
    return [_snapshot(row) for row in transaction.execute(query)]


def forget_snapshot(transaction: Transaction, snapshot_id: str) -> None:
    """Remove all rows of a snapshot, once the repository has none of it; only from the trash."""
    trashed = select(snapshots.c.id).where(snapshots.c.id == snapshot_id, snapshots.c.deleted.is_not(None))
    for table in (restore_points, cuts, captures):
        transaction.execute(delete(table).where(table.c.snapshot_id.in_(trashed)))
    transaction.execute(
        delete(snapshots).where(snapshots.c.id == snapshot_id, snapshots.c.deleted.is_not(None))
    )


def _creating() -> Any:
    return snapshots.c.status == SnapshotStatus.CREATING


def _end(transaction: Transaction, snapshot_id: str, now: datetime, outcome: str, **columns: Any) -> bool:
    switched = transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id, _creating())
        .values(finished=now, updated=now, **columns)
    )
    operation_id = _active_operation(transaction, snapshot_id)
    if operation_id is not None:
        operations.end(transaction, operation_id, now, outcome)
    return switched.rowcount == 1


def _active_operation(transaction: Transaction, snapshot_id: str) -> str | None:
    """The operation that takes this snapshot, not one that restores it."""
    query = select(operation_rows.c.id).where(
        operation_rows.c.subject_id == snapshot_id,
        operation_rows.c.kind == Task.SNAPSHOTTING,
        operation_rows.c.ended.is_(None),
    )
    return transaction.execute(query).scalar_one_or_none()


def _selected() -> Select[Any]:
    restoring = exists().where(
        operation_rows.c.subject_id == snapshots.c.id,
        operation_rows.c.kind == Task.RESTORING,
        operation_rows.c.ended.is_(None),
    )
    return select(snapshots, restoring.label("restoring"))


def _snapshot(row: Row[Any]) -> Snapshot:
    return Snapshot(
        id=row.id,
        project=row.project,
        cluster_id=row.cluster_id,
        cluster_name=row.cluster_name,
        name=row.name,
        description=row.description,
        status=SnapshotStatus(row.status),
        type=SnapshotType(row.type),
        started=row.started,
        updated=row.updated,
        finished=row.finished,
        progress=row.progress,
        plain_bytes=row.plain_bytes,
        stored_bytes=row.stored_bytes,
        db_user=row.db_user,
        backup_key=row.backup_key,
        reason=row.reason,
        cancel_requested=row.cancel_requested,
        restoring=bool(row.restoring),
        deleted=row.deleted,
    )
