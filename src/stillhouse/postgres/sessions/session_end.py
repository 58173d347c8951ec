"""The end of a backup's session: deduces why the server ended it. The slot, with its own record, is gone by then.

The evidence is the server's last message, the WAL that the slot kept, and a look at the server by another session.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.wal.lsn import parse_lsn

# SQLSTATEs (src/backend/utils/errcodes.txt). The first two come with a SIGTERM: a shutdown, pg_terminate_backend(),
# and the checkpointer, which invalidates a slot by ending the session that has it (src/backend/replication/slot.c).
_TERMINATED = ("57P01", "55000", None)
_CRASHED = "57P02"
_DISK_FULL = "53100"
_TIME_OUTS = {
    "57P05": "idle_session_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "55P03": "lock_timeout",
}
_CANCELLED = "57014"
_IMPATIENT = {"statement_timeout": "10s", "lock_timeout": "5s"}
# In megabytes and in seconds. The second setting exists since PostgreSQL 18.
_KEPT_WAL, _IDLE_SLOT = "max_slot_wal_keep_size", "idle_replication_slot_timeout"
_SEGMENT_SIZE = "wal_segment_size"


TIMELINE = (
    "('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int"
)
"""SQL: the timeline that a primary writes. The name of a WAL file begins with it, in eight hex digits."""


@dataclass(frozen=True)
class End:
    """The reason, and a hint how to mend it."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class LastSeen:
    """The session as we last saw it. `code` is the SQLSTATE of the server's last message, `None` without a message.

    `idle_seconds` have passed since the slot was last touched. `server_started` identifies one run of the server, and
    `timeline` is the one that it wrote.
    """

    code: str | None
    said: str
    holds_from: int
    idle_seconds: float
    server_started: str
    timeline: int = 0


@dataclass(frozen=True)
class Afterwards:
    """The server as another session finds it. Its WAL has come as far as `flushed`. Settings have their own units."""

    started: str
    flushed: int
    settings: Mapping[str, int]
    timeline: int = 0


def look(node: Node) -> Afterwards | None:
    """Look at the server by another session. `None` if it does not answer, or is a standby."""
    try:
        with closing(
            session.connect(node, "postgres", application_name="stillhouse look", settings=_IMPATIENT)
        ) as connection:
            ((started, flushed, timeline),) = connection.execute(
                "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text,"
                f" pg_catalog.pg_current_wal_flush_lsn()::text, {TIMELINE}"
            ).fetchall()
            rows = connection.execute(
                "SELECT name, setting::bigint FROM pg_catalog.pg_settings WHERE name = ANY(%s)",
                ([_KEPT_WAL, _IDLE_SLOT, _SEGMENT_SIZE],),
            ).fetchall()
            return Afterwards(started, parse_lsn(flushed), dict(rows), timeline)
    except (NodeUnreachable, session.Error):
        return None


def why_ended(node: str, seen: LastSeen, after: Afterwards | None) -> End:
    """Deduce the cause from the evidence. `after` is `None` if the server could not be asked."""
    if seen.code == _CRASHED:
        return End(
            f"node {node} ended all sessions because one of its processes crashed",
            "the server's log names the process",
        )
    if seen.code in _TIME_OUTS:
        return _timed_out(node, _TIME_OUTS[seen.code])
    if seen.code == _CANCELLED:
        return End(
            f"a statement of the backup's session on node {node} was cancelled: {seen.said}",
            "do not call pg_cancel_backend() on it: that ends the snapshot",
        )
    if seen.code == _DISK_FULL:
        return End(f"node {node} has no room: {seen.said}", "make room on the server's disk")
    if seen.code not in _TERMINATED:
        return End(f"the backup's session with node {node} broke: {seen.said}")
    if after is None:
        how = "was shut down" if seen.code else "crashed, or cannot be reached"
        return End(
            f"node {node} {how}: it does not answer", "the snapshot needs the server until it is taken"
        )
    return (
        why_another_run(node, seen.server_started, seen.timeline, after)
        or _limit_passed(node, seen, after)
        or _ended_by_somebody(node, seen)
    )


def why_another_run(node: str, started: str, timeline: int, after: Afterwards) -> End | None:
    """Say what became of the run of the server that wrote `timeline`, if another run answers now."""
    if 0 < timeline < after.timeline:
        return End(
            f"node {node} failed over: a standby was promoted, and timeline {timeline} became {after.timeline}",
            "the next attempt begins anew on the promoted server",
        )
    if after.started != started:
        return End(f"node {node} was restarted", "the snapshot needs the server until it is taken")
    return None


def _timed_out(node: str, setting: str) -> End:
    return End(
        f"node {node} ended the backup's session by {setting}", f"the session must be free of {setting}"
    )


def _limit_passed(node: str, seen: LastSeen, after: Afterwards) -> End | None:
    """Return the server's limit for slots that was passed, if any. Segments are counted as the server counts them
    (xlog.c, KeepLogSeg).
    """
    size, limit = after.settings[_SEGMENT_SIZE], after.settings.get(_KEPT_WAL, -1)
    kept = after.flushed // size - seen.holds_from // size
    if limit >= 0 and kept > (limit << 20) // size:
        return End(
            f"node {node} removed the WAL that the snapshot needs: {after.flushed - seen.holds_from} bytes were"
            f" kept, {_KEPT_WAL} is {limit} MB",
            f"raise {_KEPT_WAL}, give the store more room to breathe, or take the snapshot at a quieter time",
        )
    timeout = after.settings.get(_IDLE_SLOT, 0)
    if 0 < timeout <= seen.idle_seconds:
        return End(
            f"node {node} ended the snapshot's slot, which was idle for {seen.idle_seconds:.0f} s:"
            f" {_IDLE_SLOT} is {timeout} s",
            f"raise {_IDLE_SLOT} above the time that a checkpoint takes",
        )
    return None


def _ended_by_somebody(node: str, seen: LastSeen) -> End:
    if seen.code is None:
        return End(
            f"the backup's session with node {node} broke: {seen.said}",
            "its server process was killed, or the network failed; the server's log may know",
        )
    return End(
        f"somebody ended the backup's session on node {node}: {seen.said}",
        "do not call pg_terminate_backend() on it: that ends the snapshot",
    )
