"""Snapshots in the trash: when they are purged, and how they are brought back, purged or forgotten."""

from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.catalog.schema.tables import purges, snapshot_name, snapshots
from stillhouse.catalog.snapshot_lists import snapshots_where
from stillhouse.catalog.snapshots import forget_snapshot
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import NameTaken


def list_trash(transaction: Transaction, project: str) -> list[Snapshot]:
    """The project's deleted snapshots that can still come back, the last deleted first."""
    found = snapshots_where(
        transaction,
        snapshots.c.project == project,
        snapshots.c.deleted.is_not(None),
        snapshots.c.id.not_in(select(purges.c.snapshot_id)),
    )
    return sorted(found, key=lambda one: (one.deleted or one.updated, one.id), reverse=True)


def trash_of(transaction: Transaction, cluster_id: str) -> list[Snapshot]:
    """All deleted snapshots of a cluster, including those being purged."""
    return snapshots_where(
        transaction, snapshots.c.cluster_id == cluster_id, snapshots.c.deleted.is_not(None)
    )


def usable(transaction: Transaction, cluster_id: str) -> list[str]:
    """Ids of the snapshots that have a root in the repository, including those in the trash."""
    query = select(snapshots.c.id).where(
        snapshots.c.cluster_id == cluster_id, snapshots.c.status == SnapshotStatus.AVAILABLE
    )
    return list(transaction.execute(query).scalars())


def release(transaction: Transaction, cluster_id: str, before: datetime, now: datetime) -> None:
    """Begin the purge of snapshots deleted before that moment: from now on they cannot be brought back."""
    for snapshot in trash_of(transaction, cluster_id):
        if snapshot.deleted is None or snapshot.deleted > before or snapshot.use:
            continue
        if not is_being_purged(transaction, snapshot.id):
            transaction.execute(insert(purges), {"snapshot_id": snapshot.id, "began": now})


def released(transaction: Transaction, cluster_id: str) -> list[str]:
    query = (
        select(purges.c.snapshot_id)
        .join(snapshots, snapshots.c.id == purges.c.snapshot_id)
        .where(snapshots.c.cluster_id == cluster_id)
        .order_by(purges.c.snapshot_id)
    )
    return list(transaction.execute(query).scalars())


def is_being_purged(transaction: Transaction, snapshot_id: str) -> bool:
    query = select(purges.c.snapshot_id).where(purges.c.snapshot_id == snapshot_id)
    return transaction.execute(query).first() is not None


def take_back(transaction: Transaction, snapshot_id: str) -> None:
    """Put a snapshot back into the trash, because the repository did not purge it."""
    transaction.execute(delete(purges).where(purges.c.snapshot_id == snapshot_id))


def forget(transaction: Transaction, snapshot_id: str) -> None:
    """Remove a snapshot from the catalog, because the repository holds no object of it any more."""
    forget_snapshot(transaction, snapshot_id)


def begin_anew(transaction: Transaction, snapshot: Snapshot, now: datetime) -> None:
    """Count the snapshot as deleted from now and end its purge, unless its deletion has changed meanwhile."""
    since = snapshots.c.deleted == snapshot.deleted
    changed = update(snapshots).where(snapshots.c.id == snapshot.id, since).values(deleted=now, updated=now)
    if transaction.execute(changed).rowcount:
        take_back(transaction, snapshot.id)


def undelete(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    """Bring a snapshot back. Raises NameTaken when another snapshot of the project has its name by now."""
    changed = update(snapshots).where(snapshots.c.id == snapshot_id).values(deleted=None, updated=now)
    try:
        transaction.execute(changed)
    except IntegrityError as error:
        if violates(error, snapshot_name):
            raise NameTaken("another snapshot has its name by now", hint="delete that one first") from error
        raise
