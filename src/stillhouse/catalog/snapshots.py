"""Snapshots: CREATING until their operation ends, then AVAILABLE or UNAVAILABLE; deleted = in the trash."""

from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog import operations
from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.catalog.schema.tables import (
    captures,
    copies,
    cuts,
    losses,
    proofs,
    purges,
    restore_points,
    snapshot_name,
    snapshot_queue,
    snapshots,
    witnesses,
)
from stillhouse.catalog.schema.tables import operations as operation_rows
from stillhouse.catalog.snapshot_rows import (
    NEWEST_FIRST,
    NOT_DELETED,
    has_copy_in,
    is_named,
    selected,
    snapshot_of,
)
from stillhouse.domain.cluster import Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE, FAILED
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType, backup_key
from stillhouse.errors import NameTaken, SnapshotUnknown


def insert_snapshot(transaction: Transaction, snapshot: Snapshot) -> None:
    columns = {column.name for column in snapshots.columns}
    row = {name: value for name, value in asdict(snapshot).items() if name in columns}
    try:
        transaction.execute(insert(snapshots), row | {"attempt": 0})
    except IntegrityError as error:
        if violates(error, snapshot_name):
            raise name_taken(snapshot.name) from error
        raise


def name_taken(name: str) -> NameTaken:
    """Return the error of a name that another snapshot has. One that failed has its name too."""
    return NameTaken(
        f"the project already has a snapshot named {name}",
        hint=f"choose another name; or delete that snapshot, even if it failed: `stillhouse snapshot delete {name}`",
    )


def find_snapshot(transaction: Transaction, project: str, snapshot_id: str) -> Snapshot | None:
    """The project's snapshot, unless it is in the trash or another project's."""
    row = transaction.execute(_one_of_project(), {"project": project, "id": snapshot_id}).one_or_none()
    return None if row is None else snapshot_of(row)


def cluster_of(transaction: Transaction, project: str, snapshot_id: str) -> str | None:
    """The cluster of a snapshot, also of one in the trash; None if the project does not have it."""
    query = select(snapshots.c.cluster_id).where(
        snapshots.c.project == project, snapshots.c.id == snapshot_id
    )
    return transaction.execute(query).scalar_one_or_none()


def is_name_taken(transaction: Transaction, project: str, name: str) -> bool:
    """Whether the name is taken, for a check beforehand. An insert is checked by the unique index."""
    return transaction.execute(select(snapshots.c.id).where(is_named(project, name))).first() is not None


def read_snapshot(transaction: Transaction, snapshot_id: str) -> Snapshot:
    """Any snapshot, also one in the trash: for flows."""
    snapshot = find_any(transaction, snapshot_id)
    if snapshot is None:
        raise SnapshotUnknown(f"snapshot {snapshot_id} is not in the catalog")
    return snapshot


def find_any(transaction: Transaction, snapshot_id: str) -> Snapshot | None:
    row = transaction.execute(_any_one(), {"id": snapshot_id}).one_or_none()
    return None if row is None else snapshot_of(row)


def look_at(transaction: Transaction, snapshot_id: str) -> tuple[bool, int]:
    """Whether the snapshot is to be given up, and its progress. A light look, for flows that look often."""
    row = transaction.execute(_look(), {"id": snapshot_id}).one()
    return row.cancel_requested, row.progress


def lock_snapshot(transaction: Transaction, snapshot_id: str) -> None:
    """Let no other transaction change the snapshot, or decide by its state, before this one ends."""
    transaction.execute(select(snapshots.c.id).where(snapshots.c.id == snapshot_id).with_for_update())


def lock_snapshots(transaction: Transaction, cluster_id: str) -> None:
    """The same for all of a cluster's snapshots."""
    query = select(snapshots.c.id).where(snapshots.c.cluster_id == cluster_id, NOT_DELETED)
    transaction.execute(query.order_by(snapshots.c.id).with_for_update())


def known_ids(transaction: Transaction) -> set[str]:
    """Ids of all snapshots, including those in the trash."""
    return set(transaction.execute(select(snapshots.c.id)).scalars())


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


def of_cluster(transaction: Transaction, cluster_id: str) -> list[Snapshot]:
    """All of a cluster's snapshots that are not in the trash, the newest first."""
    query = selected().where(snapshots.c.cluster_id == cluster_id, NOT_DELETED).order_by(*NEWEST_FIRST)
    return [snapshot_of(row) for row in transaction.execute(query)]


def stored_in_all(transaction: Transaction, cluster_id: str) -> int:
    """Bytes that a cluster's snapshots take in the repository. The trash counts: its snapshots are still there."""
    query = select(func.sum(snapshots.c.stored_bytes)).where(snapshots.c.cluster_id == cluster_id)
    return int(transaction.execute(query).scalar_one() or 0)


def insert_copy(transaction: Transaction, snapshot: Snapshot) -> None:
    """Insert a copy's row, with its source."""
    insert_snapshot(transaction, snapshot)
    transaction.execute(insert(copies), {"snapshot_id": snapshot.id, "source_id": snapshot.copied_from})


def has_copy(transaction: Transaction, snapshot_id: str) -> bool:
    """Whether a copy of it exists or is being made. A copy that failed or is in the trash does not count."""
    made = has_copy_in(snapshot_id, SnapshotStatus.CREATING, SnapshotStatus.AVAILABLE)
    return bool(transaction.execute(select(made)).scalar_one())


def mark_copied(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    """Make a copy AVAILABLE. The time of its capture is its source's and stays."""
    transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id, _creating())
        .values(status=SnapshotStatus.AVAILABLE, progress=100, updated=now)
    )


def set_progress(transaction: Transaction, snapshot_id: str, percent: int, now: datetime) -> None:
    """Show the same progress on the snapshot and on its cluster; it only grows."""
    transaction.execute(
        _came_further(), {"this": snapshot_id, "reached": percent, "progress": percent, "updated": now}
    )
    operation_id = _active_operation(transaction, snapshot_id)
    if operation_id is not None:
        operations.set_progress(transaction, operation_id, percent)


def set_started(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    """The time from which it is taken, and the key made of it, where these are not those of its acceptance."""
    transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id)
        .values(started=now, updated=now, backup_key=backup_key(now))
    )


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
    """Make a CREATING snapshot AVAILABLE and free the cluster at once. False if it had ended before."""
    return _end(
        transaction,
        snapshot_id,
        now,
        DONE,
        status=SnapshotStatus.AVAILABLE,
        progress=100,
        plain_bytes=plain_bytes,
        stored_bytes=stored_bytes,
    )


def mark_unavailable(transaction: Transaction, snapshot_id: str, now: datetime, failure: Failure) -> bool:
    """Make a CREATING snapshot UNAVAILABLE and free the cluster at once. False if it had ended before."""
    return _end(
        transaction,
        snapshot_id,
        now,
        FAILED,
        failure,
        status=SnapshotStatus.UNAVAILABLE,
    )


def move_to_trash(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    transaction.execute(
        update(snapshots).where(snapshots.c.id == snapshot_id, NOT_DELETED).values(deleted=now, updated=now)
    )


def given_up_with_cluster(transaction: Transaction, cluster_id: str, keep_last_manual: int) -> list[Snapshot]:
    """The snapshots that a cluster's deletion takes along: all but its newest usable manual ones."""
    found = of_cluster(transaction, cluster_id)
    manual = [
        snapshot
        for snapshot in found
        if snapshot.type is SnapshotType.MANUAL and snapshot.status is SnapshotStatus.AVAILABLE
    ]
    kept = {snapshot.id for snapshot in manual[:keep_last_manual]}
    return [snapshot for snapshot in found if snapshot.id not in kept]


def forget_snapshot(transaction: Transaction, snapshot_id: str) -> None:
    """Remove all rows of a snapshot in the trash, once the repository holds no object of it.

    The outcome of a policy's run and the snapshot's id stay: the schedule is counted from there.
    """
    trashed = select(snapshots.c.id).where(snapshots.c.id == snapshot_id, snapshots.c.deleted.is_not(None))
    for table in (losses, purges, proofs, witnesses, restore_points, cuts, captures, copies, snapshot_queue):
        transaction.execute(delete(table).where(table.c.snapshot_id.in_(trashed)))
    transaction.execute(
        delete(snapshots).where(snapshots.c.id == snapshot_id, snapshots.c.deleted.is_not(None))
    )


def _creating() -> Any:
    return snapshots.c.status == SnapshotStatus.CREATING


def _end(
    transaction: Transaction,
    snapshot_id: str,
    now: datetime,
    outcome: str,
    failure: Failure | None = None,
    **columns: Any,
) -> bool:
    switched = transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id, _creating())
        .values(finished=now, updated=now, **operations.failure_columns(failure), **columns)
    )
    operation_id = _active_operation(transaction, snapshot_id)
    if operation_id is not None:
        operations.end(transaction, operation_id, now, outcome, failure)
    elif switched.rowcount:  # a deletion has taken the cluster already
        operations.correct_outcome(transaction, snapshot_id, Task.SNAPSHOTTING, outcome, failure)
    return switched.rowcount == 1


def _active_operation(transaction: Transaction, snapshot_id: str) -> str | None:
    """The operation that takes this snapshot, not one that restores it."""
    return transaction.execute(_taking(), {"this": snapshot_id}).scalar_one_or_none()


@cache
def _came_further() -> Update:
    is_behind = snapshots.c.progress < bindparam("reached")
    return update(snapshots).where(snapshots.c.id == bindparam("this"), is_behind, _creating())


@cache
def _taking() -> Select[Any]:
    return select(operation_rows.c.id).where(
        operation_rows.c.subject_id == bindparam("this"),
        operation_rows.c.kind == Task.SNAPSHOTTING,
        operation_rows.c.ended.is_(None),
    )


@cache
def _look() -> Select[Any]:
    return select(snapshots.c.cancel_requested, snapshots.c.progress).where(snapshots.c.id == bindparam("id"))


@cache
def _one_of_project() -> Select[Any]:
    same = (snapshots.c.project == bindparam("project")) & (snapshots.c.id == bindparam("id"))
    return selected().where(same, NOT_DELETED)


@cache
def _any_one() -> Select[Any]:
    return selected().where(snapshots.c.id == bindparam("id"))
