"""Snapshots that wait for their cluster: first in, first out. A row is here exactly as long as its snapshot waits.

Who adds, takes or counts has locked the cluster: the order of rows is then the order of acceptance.
"""

from sqlalchemy import delete, exists, func, insert, select

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import operations, snapshot_queue
from stillhouse.domain.cluster import Task


def add(transaction: Transaction, cluster_id: str, snapshot_id: str) -> None:
    transaction.execute(insert(snapshot_queue), {"cluster_id": cluster_id, "snapshot_id": snapshot_id})


def remove(transaction: Transaction, snapshot_id: str) -> bool:
    """False if it did not wait."""
    gone = transaction.execute(delete(snapshot_queue).where(snapshot_queue.c.snapshot_id == snapshot_id))
    return gone.rowcount == 1


def waiting(transaction: Transaction, cluster_id: str) -> list[str]:
    """Ids of the cluster's snapshots that wait, the one whose turn comes first first."""
    query = select(snapshot_queue.c.snapshot_id).where(snapshot_queue.c.cluster_id == cluster_id)
    return list(transaction.execute(query.order_by(snapshot_queue.c.position)).scalars())


def lengths(transaction: Transaction) -> dict[str, int]:
    """How many snapshots wait, by the cluster's id; of clusters for which some do."""
    query = select(snapshot_queue.c.cluster_id, func.count()).group_by(snapshot_queue.c.cluster_id)
    return {row[0]: row[1] for row in transaction.execute(query)}


def held_up_by_nothing(transaction: Transaction) -> list[str]:
    """Clusters for which snapshots wait although no operation holds them. A collection gives way, so it does not."""
    held = exists().where(
        operations.c.cluster_id == snapshot_queue.c.cluster_id,
        operations.c.kind != Task.COLLECTING,
        operations.c.ended.is_(None),
    )
    query = select(snapshot_queue.c.cluster_id).where(~held).distinct()
    return list(transaction.execute(query.order_by(snapshot_queue.c.cluster_id)).scalars())
