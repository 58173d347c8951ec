"""When each cluster's packs are read next in the background: one row per cluster, from its first snapshot on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, or_, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import scrubs, snapshots
from stillhouse.domain.snapshot import SnapshotStatus


def due(transaction: Transaction, now: datetime) -> list[str]:
    """Clusters, deleted ones too, that have a snapshot to lose and are due."""
    query = (
        select(snapshots.c.cluster_id)
        .distinct()
        .outerjoin(scrubs, scrubs.c.cluster_id == snapshots.c.cluster_id)
        .where(
            snapshots.c.status == SnapshotStatus.AVAILABLE,
            or_(scrubs.c.due.is_(None), scrubs.c.due <= now),
        )
        .order_by(snapshots.c.cluster_id)
    )
    return list(transaction.execute(query).scalars())


def published(transaction: Transaction, cluster_id: str) -> list[str]:
    """Snapshots of the cluster that must have a root or a purge's tombstone, including those in the trash."""
    query = select(snapshots.c.id).where(
        snapshots.c.cluster_id == cluster_id, snapshots.c.status == SnapshotStatus.AVAILABLE
    )
    return list(transaction.execute(query.order_by(snapshots.c.id)).scalars())


def begin(transaction: Transaction, cluster_id: str, now: datetime, due_again: datetime) -> bool:
    """Claim a cluster that is due; False when another was quicker. `due_again` counts if the scrub is never ended."""
    claimed = transaction.execute(
        update(scrubs)
        .where(scrubs.c.cluster_id == cluster_id, scrubs.c.due <= now)
        .values(due=due_again, started=now, ended=None)
    )
    if claimed.rowcount:
        return True
    if transaction.execute(select(scrubs.c.due).where(scrubs.c.cluster_id == cluster_id)).first() is not None:
        return False
    row = {"cluster_id": cluster_id, "due": due_again, "started": now, "packs": 0, "bytes": 0, "damages": []}
    transaction.execute(insert(scrubs), row)
    return True


def end(
    transaction: Transaction,
    cluster_id: str,
    now: datetime,
    due_again: datetime,
    *,
    packs: int,
    read: int,
    damages: Sequence[dict[str, Any]],
) -> None:
    """Record the result of the last scrub: packs and bytes read, and each damage in the detail that a row needs."""
    transaction.execute(
        update(scrubs)
        .where(scrubs.c.cluster_id == cluster_id)
        .values(due=due_again, ended=now, packs=packs, bytes=read, damages=list(damages))
    )


def hasten(transaction: Transaction, cluster_id: str, now: datetime) -> None:
    """Have the cluster's packs read as soon as possible, unless they are being read."""
    waiting = (scrubs.c.cluster_id == cluster_id) & (scrubs.c.due > now) & scrubs.c.ended.is_not(None)
    transaction.execute(update(scrubs).where(waiting).values(due=now))


def put_off(transaction: Transaction, cluster_id: str, due_again: datetime) -> None:
    transaction.execute(update(scrubs).where(scrubs.c.cluster_id == cluster_id).values(due=due_again))
