"""News of the host that leads, in one row: the replicas on other hosts answer by it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import news


@dataclass(frozen=True)
class News:
    """`made_by` tells the program that leads: one of another make may not work with its catalog. `number` grows with
    each change.
    """

    number: int
    made_by: str
    told: dict[str, Any]


def tell(transaction: Transaction, made_by: str, told: dict[str, Any], now: datetime) -> None:
    """Put the news in place of those of before. Only the service that leads may."""
    values = {"made_by": made_by, "told": told, "updated": now}
    if not transaction.execute(update(news).values(number=news.c.number + 1, **values)).rowcount:
        transaction.execute(insert(news).values(id=1, number=1, **values))


def number(reading: Transaction) -> int:
    """Return the number of the news, 0 if there are none."""
    return reading.execute(select(news.c.number)).scalar() or 0


def find(reading: Transaction) -> News | None:
    row = reading.execute(select(news.c.number, news.c.made_by, news.c.told)).one_or_none()
    return None if row is None else News(*row)
