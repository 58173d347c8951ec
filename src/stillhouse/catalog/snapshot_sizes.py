"""How many bytes of the repository each snapshot reaches, and reaches alone."""

from collections.abc import Mapping

from sqlalchemy import bindparam, exists, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import operations, snapshots
from stillhouse.domain.snapshot import SnapshotStatus


def unmeasured(transaction: Transaction) -> list[str]:
    """The clusters at rest with a usable snapshot whose bytes are not known."""
    is_held = exists().where(operations.c.cluster_id == snapshots.c.cluster_id, operations.c.ended.is_(None))
    query = select(snapshots.c.cluster_id).where(
        snapshots.c.status == SnapshotStatus.AVAILABLE, snapshots.c.own_bytes.is_(None), ~is_held
    )
    return sorted(set(transaction.execute(query).scalars()))


def save(transaction: Transaction, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Keep the bytes that snapshots reach, and reach alone, by the snapshots' ids."""
    if not sizes:
        return
    change = (
        update(snapshots)
        .where(snapshots.c.id == bindparam("snapshot"))
        .values(reached_bytes=bindparam("reached"), own_bytes=bindparam("own"))
    )
    rows = [{"snapshot": one, "reached": reached, "own": own} for one, (reached, own) in sizes.items()]
    transaction.execute(change, rows)


def forget(transaction: Transaction, cluster_id: str) -> None:
    """Forget the bytes of a cluster's snapshots: one of them is gone, and what it shared may be another's alone."""
    transaction.execute(update(snapshots).where(snapshots.c.cluster_id == cluster_id).values(own_bytes=None))
