"""How many bytes of the repository each snapshot reaches, and reaches alone."""

from collections.abc import Mapping

from sqlalchemy import bindparam, exists, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import operations, snapshots
from stillhouse.domain.snapshot import SnapshotStatus


def unmeasured(transaction: Transaction) -> list[str]:
    """The clusters at rest with a usable snapshot whose bytes are not known."""
    is_held = exists().where(operations.c.cluster_id == snapshots.c.cluster_id, operations.c.ended.is_(None))
    query = (
        select(snapshots.c.cluster_id)
        .where(snapshots.c.status == SnapshotStatus.AVAILABLE, snapshots.c.own_bytes.is_(None), ~is_held)
        .distinct()
        .order_by(snapshots.c.cluster_id)
    )
    return list(transaction.execute(query).scalars())


def save(transaction: Transaction, cluster_id: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Keep the bytes that a cluster's snapshots reach, and reach alone, by their ids. Only what differs is written:
    one more snapshot changes few of those before it.
    """
    query = select(snapshots.c.id, snapshots.c.reached_bytes, snapshots.c.own_bytes).where(
        snapshots.c.cluster_id == cluster_id
    )
    known = {one: (reached, own) for one, reached, own in transaction.execute(query)}
    rows = [
        {"snapshot": one, "reached": reached, "own": own}
        for one, (reached, own) in sizes.items()
        if known.get(one, (reached, own)) != (reached, own)
    ]
    change = (
        update(snapshots)
        .where(snapshots.c.id == bindparam("snapshot"))
        .values(reached_bytes=bindparam("reached"), own_bytes=bindparam("own"))
    )
    if rows:
        transaction.execute(change, rows)


def forget(transaction: Transaction, cluster_id: str) -> None:
    """Forget the bytes of a cluster's snapshots: one of them is gone, and what it shared may be another's alone."""
    transaction.execute(update(snapshots).where(snapshots.c.cluster_id == cluster_id).values(own_bytes=None))
