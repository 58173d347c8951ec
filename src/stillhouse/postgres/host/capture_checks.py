"""The first look at a server: checks whether it can be captured, before anything is changed, and names obstacles."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from stillhouse.domain.cluster import Node, Place
from stillhouse.errors import CaptureFailed
from stillhouse.postgres.files.control_file import CRC_OFFSET, NEWEST, OLDEST
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.sessions.grants import missing
from stillhouse.postgres.wal.segments import BLOCK_SIZE

_LOOK = """
    SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
           (SELECT pg_control_version FROM pg_control_system()),
           (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY(%s))
"""


Settings = Mapping[str, str]


def _has_slots(settings: Settings) -> bool:
    value = settings.get("max_replication_slots", "")
    return value.isdecimal() and int(value) > 0


def _slots_keep_a_segment(settings: Settings) -> bool:
    """Whether a slot keeps one segment of WAL or more. Less counts as 0 (ConvertToXSegs in xlog_internal.h)."""
    kept, segment = settings.get("max_slot_wal_keep_size", ""), settings.get("wal_segment_size", "")
    return kept == "-1" or (kept.isdecimal() and segment.isdecimal() and int(kept) << 20 >= int(segment))


# Each setting, a test of the settings, and the remedy if it fails.
_WANTED: dict[str, tuple[Callable[[Settings], bool], str]] = {
    "wal_block_size": (
        lambda settings: settings.get("wal_block_size") == str(BLOCK_SIZE),
        "WAL of another block size cannot be followed; use a PostgreSQL built with --with-wal-blocksize=8",
    ),
    "wal_level": (
        lambda settings: settings.get("wal_level") in ("replica", "logical"),
        "set wal_level = replica and restart the server: without it the WAL is not enough to recover from",
    ),
    "max_replication_slots": (
        _has_slots,
        "set max_replication_slots = 10 and restart the server: a slot keeps the WAL until it is stored",
    ),
    "max_slot_wal_keep_size": (
        _slots_keep_a_segment,
        "set max_slot_wal_keep_size = -1 and reload: with less than a segment WAL is removed before it is stored",
    ),
}


LOOK_AT = (*_WANTED, "wal_segment_size", "synchronous_standby_names")
NAME_STANDBYS = "name the standbys in synchronous_standby_names in place of *"


@dataclass(frozen=True)
class Look:
    """The facts that decide. `settings` are as in pg_settings, in its units."""

    major: int
    is_standby: bool
    control_version: int
    settings: Settings


def check_fit(node: Node) -> None:
    """Raise CaptureFailed, with the remedy, for an obstacle that would stop every attempt."""
    with (
        session.refusing_as(CaptureFailed, node),
        closing(session.connect(node, MAINTENANCE, application_name="stillhouse first look")) as connection,
    ):
        ((major, is_standby, control_version, settings),) = connection.execute(_LOOK, [[*LOOK_AT]]).fetchall()
        lacks = [right for right in missing(connection) if right.must]
    if lacks:
        raise CaptureFailed(
            f"node {node.name}: the role lacks {', '.join(f'{right.name} ({right.why})' for right in lacks)}",
            hint="`stillhouse cluster grants` prints the statements that give the rights",
        )
    if node.place is Place.CONNECTION and (waits := why_commits_would_wait(settings)):
        raise CaptureFailed(f"node {node.name}: {waits}", hint=NAME_STANDBYS)
    if unfit := why_unfit(Look(major, is_standby, control_version, settings)):
        reason, remedy = unfit
        raise CaptureFailed(f"node {node.name}: {reason}", hint=remedy)


def why_commits_would_wait(settings: Settings) -> str:
    """Say why the server's commits would wait for our stream of WAL, which tells only now and then what is durable.

    Any stream counts as a synchronous standby if the list has a * (replication/syncrep.c, SyncRepGetStandbyPriority).
    """
    if "*" not in settings.get("synchronous_standby_names", ""):
        return ""
    return "commits would wait for the stream of WAL, since synchronous_standby_names holds *"


def why_unfit(look: Look) -> tuple[str, str] | None:
    """Return the obstacle and its remedy, or `None` if the server can be captured."""
    if not OLDEST <= look.major <= NEWEST:
        return (
            f"PostgreSQL {look.major} is not known to this version of Stillhouse",
            f"it captures PostgreSQL {OLDEST} to {NEWEST}",
        )
    if look.is_standby:
        return "it is a standby", "capture its primary, or promote it"
    if look.control_version not in CRC_OFFSET:
        known = ", ".join(map(str, CRC_OFFSET))
        return (
            f"its pg_control is of version {look.control_version}, which is not known (known are {known})",
            "it may be a modified PostgreSQL, with another layout of the data directory",
        )
    for name, (is_fit, remedy) in _WANTED.items():
        if not is_fit(look.settings):
            return f"its {name} is {look.settings.get(name, 'unknown')}", remedy
    return None
