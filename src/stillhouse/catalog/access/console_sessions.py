"""Sessions of the web console. Only digests of their tokens are kept."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update

from stillhouse.catalog.schema.access_tables import console_sessions
from stillhouse.catalog.schema.database import Transaction


@dataclass(frozen=True)
class SessionRow:
    """`subject` is an access key or a user's id. `seen` is when its holder last asked for a page, to the minute."""

    digest: str
    subject: str
    begun: datetime
    seen: datetime


def insert_session(transaction: Transaction, digest: str, subject: str, now: datetime) -> None:
    row = {"digest": digest, "subject": subject, "begun": now, "seen": now}
    transaction.execute(insert(console_sessions), row)


def find_session(transaction: Transaction, digest: str) -> SessionRow | None:
    query = select(console_sessions).where(console_sessions.c.digest == digest)
    row = transaction.execute(query).one_or_none()
    return None if row is None else SessionRow(row.digest, row.subject, row.begun, row.seen)


def note_seen(transaction: Transaction, digest: str, now: datetime) -> None:
    transaction.execute(update(console_sessions).where(console_sessions.c.digest == digest).values(seen=now))


def delete_session(transaction: Transaction, digest: str) -> None:
    transaction.execute(delete(console_sessions).where(console_sessions.c.digest == digest))


def forget_ended(transaction: Transaction, begun_by: datetime, seen_by: datetime) -> None:
    """Remove sessions that have lasted, or have been idle, for too long."""
    is_over = or_(console_sessions.c.begun <= begun_by, console_sessions.c.seen <= seen_by)
    transaction.execute(delete(console_sessions).where(is_over))
