"""Sessions of the web console: they begin with a sign-in, and end by sign-out, by time, or with their holder's key.

A session is a row, so it outlives a restart of the service, and every service over one catalog knows it.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.catalog.access import console_sessions
from stillhouse.catalog.access.console_sessions import SessionRow
from stillhouse.config import Settings
from stillhouse.control.access.callers import find_subject
from stillhouse.control.access.credentials import digest
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.errors import Unauthenticated

_ENDED = "The session has ended."
# A page that follows another one sooner does not write.
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Session:
    """A session at work. `id` is the digest of its token, `caller` its holder with the permissions of this moment."""

    id: str
    caller: Caller


def begin_session(control: Control, caller: Caller) -> str:
    """Begin a session of a caller who has just signed in. Returns its token, which is kept nowhere."""
    token, now = secrets.token_urlsafe(32), control.clock.now()
    with audited(control.acting_for(caller), caller.project, "SignIn", "console") as transaction:
        console_sessions.forget_ended(transaction, *_latest_of_ended(control.settings, now))
        console_sessions.insert_session(transaction, digest(token), caller.subject, now)
    return token


def find_session(control: Control, token: str, *, is_watching: bool = False) -> Session:
    """Find the session of a token; it is prolonged unless its holder only watches. Raises Unauthenticated."""
    row, now = _row(control, token), control.clock.now()
    if row is None or _is_over(control.settings, row, now):
        raise Unauthenticated(_ENDED)
    holder = find_subject(control, row.subject)
    if holder is None:
        raise Unauthenticated(_ENDED)
    if not is_watching and now - row.seen >= _SEEN_EVERY:
        with control.database.transaction() as transaction:
            console_sessions.note_seen(transaction, row.digest, now)
    return Session(row.digest, holder)


def end_session(control: Control, session: Session) -> None:
    """Sign the holder out."""
    with audited(control, session.caller.project, "SignOut", "console") as transaction:
        console_sessions.delete_session(transaction, session.id)


def _row(control: Control, token: str) -> SessionRow | None:
    with control.database.reading() as reading:
        return console_sessions.find_session(reading, digest(token))


def _is_over(settings: Settings, row: SessionRow, now: datetime) -> bool:
    begun_by, seen_by = _latest_of_ended(settings, now)
    return row.begun <= begun_by or row.seen <= seen_by


def _latest_of_ended(settings: Settings, now: datetime) -> tuple[datetime, datetime]:
    """Return the latest begin of a session that has lasted too long, and the latest sign of one that was idle."""
    return now - timedelta(hours=settings.console_hours), now - timedelta(
        minutes=settings.console_idle_minutes
    )
