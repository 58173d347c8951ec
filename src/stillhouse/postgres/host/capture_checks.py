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
from stillhouse.postgres.sessions.session import Connection
from stillhouse.postgres.wal.lsn import BLOCK_SIZE

_LOOK = """
    SELECT pg_backend_pid(), current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
           (SELECT pg_control_version FROM pg_control_system()),
           (SELECT system_identifier::text FROM pg_control_system()),
           (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY(%s))
"""

SUMMARIES_SINCE = 170000
"""The version since which a server can summarise its WAL (wal/summaries.py)."""
_BACKEND = "SELECT pg_catalog.pg_backend_pid()"
POOLED = "a pooler stands between: statements of one session have other backends than its login"
AROUND_THE_POOLER = "connect to the server itself, not to its pooler"

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
        ((pid, major, is_standby, control_version, identifier, settings),) = connection.execute(
            _LOOK, [[*LOOK_AT]]
        ).fetchall()
        if node.place is Place.CONNECTION and is_pooled(connection, pid):
            raise CaptureFailed(f"node {node.name}: {POOLED}", hint=AROUND_THE_POOLER)
        lacks = [right for right in missing(connection) if right.must]
    if another := why_another(node, identifier):
        raise CaptureFailed(f"node {node.name}: {another[0]}", hint=another[1])
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


def identify(node: Node) -> str:
    """Return the server's system identifier. Raises NodeUnreachable, CaptureFailed."""
    with (
        session.refusing_as(CaptureFailed, node),
        closing(session.connect(node, MAINTENANCE, application_name="stillhouse first look")) as connection,
    ):
        ((identifier,),) = connection.execute(
            "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
        ).fetchall()
    return str(identifier)


def is_pooled(connection: Connection, pid: int) -> bool:
    """Whether a pooler stands between: a session of ours would not be one session.

    `pid` is the backend that has answered. A pooler tells of another at the login, which is not there, and another
    statement may reach another one.
    """
    return pid != connection.info.backend_pid or any(
        connection.execute(_BACKEND).fetchall() != [(pid,)] for _ in range(3)
    )


def why_another(node: Node, identifier: str) -> tuple[str, str] | None:
    """Say that the address leads to another server than the one that was registered, and the remedy; else `None`.

    A standby of that server has its system identifier too, and takes its place after a failover.
    """
    known = node.connection.system_identifier if node.connection else ""
    if known in ("", identifier):
        return None
    return (
        f"another server answers: its system identifier is {identifier}, and {known} was registered",
        "if the server was made anew, remove the cluster and add it again; else check the address",
    )


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
