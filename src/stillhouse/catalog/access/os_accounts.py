"""Numbers of the accounts given to clusters. A number is never given twice, even after its cluster is gone."""

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import insert, select

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import os_accounts


def claim_uid(
    transaction: Transaction, cluster_id: str, draw: Callable[[Iterable[int]], int], now: datetime
) -> int:
    """The cluster's number. If it has no number yet, `draw` chooses one; it is passed all numbers given so far."""
    known = transaction.execute(select(os_accounts.c.uid).where(os_accounts.c.cluster_id == cluster_id))
    if (uid := known.scalar()) is not None:
        return int(uid)
    uid = draw(transaction.execute(select(os_accounts.c.uid)).scalars().all())
    transaction.execute(insert(os_accounts), {"uid": uid, "cluster_id": cluster_id, "created": now})
    return uid
