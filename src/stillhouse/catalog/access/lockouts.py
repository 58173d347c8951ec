"""Rows of callers who have failed to show who they are, for lock-outs that hold for all replicas on PostgreSQL."""

from datetime import datetime, timedelta

from sqlalchemy import case, delete, null, select
from sqlalchemy.dialects.postgresql import insert

from stillhouse.catalog.schema.access_tables import lockouts
from stillhouse.catalog.schema.database import Transaction


def fail(
    transaction: Transaction, kind: str, subject: str, now: datetime, *, tries: int, window: timedelta
) -> None:
    """Count one failure. So many in a row, none later than the window after the one before, lock for the window."""
    row = insert(lockouts).values(kind=kind, subject=subject, failures=1, last=now)
    count = case((lockouts.c.last < now - window, 1), else_=lockouts.c.failures + 1)
    is_last_try = count >= tries
    transaction.execute(
        row.on_conflict_do_update(
            index_elements=[lockouts.c.kind, lockouts.c.subject],
            set_={
                "failures": case((is_last_try, 0), else_=count),
                "last": now,
                "locked_until": case((is_last_try, now + window), else_=lockouts.c.locked_until),
            },
        )
    )


def is_locked(reading: Transaction, kind: str, subject: str, now: datetime) -> bool:
    query = select(lockouts.c.locked_until).where(lockouts.c.kind == kind, lockouts.c.subject == subject)
    until: datetime | None = reading.execute(query).scalar()
    return until is not None and now < until


def is_known(reading: Transaction, kind: str, subject: str) -> bool:
    query = select(null()).where(lockouts.c.kind == kind, lockouts.c.subject == subject)
    return reading.execute(query).first() is not None


def all_known(reading: Transaction) -> list[tuple[str, str]]:
    return [(row.kind, row.subject) for row in reading.execute(select(lockouts.c.kind, lockouts.c.subject))]


def forget(transaction: Transaction, kind: str, subject: str) -> None:
    transaction.execute(delete(lockouts).where(lockouts.c.kind == kind, lockouts.c.subject == subject))


def forget_old(transaction: Transaction, kind: str, before: datetime, most: int) -> None:
    """Keep the newest rows of the kind, so many of them, and those alone that are not older.

    Two replicas may forget at once: each leaves to the other the rows that it has begun with.
    """
    of_kind = select(lockouts.c.subject).where(lockouts.c.kind == kind)
    beyond = of_kind.order_by(lockouts.c.last.desc()).offset(most).with_for_update(skip_locked=True)
    old = of_kind.where(lockouts.c.last < before).with_for_update(skip_locked=True)
    for subjects in (old, beyond):
        transaction.execute(delete(lockouts).where(lockouts.c.kind == kind, lockouts.c.subject.in_(subjects)))
