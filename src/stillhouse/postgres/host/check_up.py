"""The check-up of a server that is somebody's: one list of findings, each with the SQL that mends it."""

import time
from collections.abc import Iterator
from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.domain.registered.check_up import Finding, Weight
from stillhouse.errors import CaptureFailed, NodeUnreachable
from stillhouse.postgres.host.capture_checks import (
    AROUND_THE_POOLER,
    LOOK_AT,
    NAME_STANDBYS,
    POOLED,
    SUMMARIES_SINCE,
    Look,
    is_pooled,
    why_another,
    why_commits_would_wait,
    why_unfit,
)
from stillhouse.postgres.sessions import session, sql
from stillhouse.postgres.sessions.databases import MAINTENANCE, Kind, list_databases
from stillhouse.postgres.sessions.grants import missing, statement
from stillhouse.postgres.sessions.session import Connection

_STREAM = {"wal_sender_timeout": "60s"}
_CLOCK_SECONDS = 5.0
_SESSIONS = 8  # of a capture: the backup, the stream, two for questions, up to four readers
_SERVER = """
    SELECT pg_catalog.pg_backend_pid(), current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(),
           (SELECT pg_control_version FROM pg_catalog.pg_control_system()),
           (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
           (SELECT pg_catalog.jsonb_object_agg(name, setting) FROM pg_catalog.pg_settings WHERE name = ANY(%s)),
           extract(epoch FROM pg_catalog.clock_timestamp())::float8,
           (SELECT count(*) FROM pg_catalog.pg_replication_slots),
           (SELECT count(*) FROM pg_catalog.pg_stat_replication),
           (SELECT count(*) FROM pg_catalog.pg_tablespace) - 2,
           (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""
_SETTINGS = (
    *LOOK_AT,
    "max_wal_senders",
    "summarize_wal",
    "data_checksums",
    "wal_log_hints",
    "idle_replication_slot_timeout",
)


def check_up(node: Node) -> list[Finding]:
    """Look at everything that a capture needs of the server. Nothing is changed there."""
    try:
        with (
            session.refusing_as(CaptureFailed, node),
            closing(session.connect(node, MAINTENANCE, application_name="stillhouse check-up")) as connection,
        ):
            return [*_findings(node, connection)]
    except (NodeUnreachable, CaptureFailed) as error:
        return [Finding(node.name, Weight.MUST, "connection", error.message, error.hint)]


def _findings(node: Node, connection: Connection) -> Iterator[Finding]:
    def found(weight: Weight, about: str, message: str, mend: str = "") -> Finding:
        return Finding(node.name, weight, about, message, mend)

    before = time.time()
    (row,) = connection.execute(_SERVER, [[*_SETTINGS]]).fetchall()
    pid, version, standby, control, identifier, settings, clock, slots, senders, tablespaces, limit = row
    if is_pooled(connection, pid):
        yield found(Weight.MUST, "pooler", POOLED, AROUND_THE_POOLER)
        return
    if another := why_another(node, identifier):
        yield found(Weight.MUST, "server", *another)
        return
    if unfit := why_unfit(Look(version // 10000, standby, control, settings)):
        yield found(Weight.MUST, "server", *unfit)
        return
    yield found(Weight.GOOD, "server", f"PostgreSQL {version // 10000}.{version % 10000}, a primary")
    yield from _of_rights(node, connection)
    yield from _of_limits(node, settings, slots, senders, limit)
    yield from _of_cost(node, version, settings)
    if abs(clock - before) > _CLOCK_SECONDS + (time.time() - before):
        yield found(
            Weight.SHOULD,
            "clock",
            f"its clock and ours differ by {abs(clock - before):.0f} s",
            "set both by NTP",
        )
    for database in list_databases(connection):
        if database.kind in (Kind.CLOSED, Kind.INVALID) and not database.is_pristine:
            yield found(
                Weight.SHOULD,
                "databases",
                f"database {database} is {database.kind}: its tables have no fingerprints",
            )
    yield found(Weight.GOOD, "tablespaces", f"{tablespaces} tablespaces beside PostgreSQL's own")


def _of_rights(node: Node, connection: Connection) -> Iterator[Finding]:
    role = sql.Identifier(connection.info.user).as_string()
    lacks = [*missing(connection)]
    for right in lacks:
        weight = Weight.MUST if right.must else Weight.SHOULD
        grant = f"{statement(right.grant, connection.info.user)};"
        yield Finding(node.name, weight, "rights", f"the role lacks {right.name}: {right.why}", grant)
    if any(right.name == "REPLICATION" for right in lacks):
        return
    try:
        session.replicate(node, _STREAM, application_name="stillhouse check-up").finish()
    except NodeUnreachable as error:
        mend = (
            error.hint or f"in pg_hba.conf: hostssl replication {role} <address of the service> scram-sha-256"
        )
        yield Finding(node.name, Weight.MUST, "replication", error.message, mend)
    else:
        yield Finding(node.name, Weight.GOOD, "replication", "WAL can be streamed")


def _of_limits(
    node: Node, settings: dict[str, str], slots: int, senders: int, limit: int
) -> Iterator[Finding]:
    for name, used in (("max_replication_slots", slots), ("max_wal_senders", senders)):
        most = int(settings[name])
        if used >= most:
            message = f"all {most} of {name} are in use"
            yield Finding(
                node.name, Weight.MUST, "limits", message, f"ALTER SYSTEM SET {name} = {most + 4}; restart"
            )
    if waits := why_commits_would_wait(settings):
        yield Finding(node.name, Weight.MUST, "limits", waits, NAME_STANDBYS)
    if 0 <= limit < _SESSIONS:
        message = f"the role may have {limit} sessions, and a capture may need {_SESSIONS}"
        yield Finding(node.name, Weight.SHOULD, "limits", message, "ALTER ROLE ... CONNECTION LIMIT -1;")


def _of_cost(node: Node, version: int, settings: dict[str, str]) -> Iterator[Finding]:
    """Tell whether snapshots can be incremental, and by which means."""
    if version >= SUMMARIES_SINCE and settings.get("summarize_wal") == "on":
        yield Finding(node.name, Weight.GOOD, "incremental", "changed pages are known from WAL summaries")
        return
    scan = "on" in (settings.get("data_checksums"), settings.get("wal_log_hints"))
    if version >= SUMMARIES_SINCE:
        message = "without WAL summaries each snapshot reads " + (
            "every page" if scan else "and stores everything"
        )
        mend = "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf();"
        yield Finding(node.name, Weight.SHOULD, "incremental", message, mend)
    elif scan:
        message = "before PostgreSQL 17 each snapshot reads every page, and stores those that changed"
        yield Finding(node.name, Weight.GOOD, "incremental", message)
    else:
        message = "with neither data checksums nor wal_log_hints each snapshot is whole"
        mend = "ALTER SYSTEM SET wal_log_hints = on; restart"
        yield Finding(node.name, Weight.SHOULD, "incremental", message, mend)
