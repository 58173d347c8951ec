"""The rights of our role on a coordinator that is somebody's, looked at before anything is locked there.

On a coordinator of our own it is a superuser.
"""

from collections.abc import Iterable, Sequence

from stillhouse.domain.cluster import Place
from stillhouse.errors import StateForbids
from stillhouse.postgres.sessions.event_triggers import fired_by_our_locks
from stillhouse.postgres.sessions.grants import gate_role
from stillhouse.warehouse.cut.bounded_sessions import Bounded, answering
from stillhouse.warehouse.gate.coordinator_catalog import BLIND, Blind, NotOurs, not_ours_to_lock, sees_all
from stillhouse.warehouse.gate.lock_plan import Gated

GRANTS = "`stillhouse cluster grants` prints the rights that the role needs"
_NAMED = 20  # tables in a message


def check_rights(databases: Iterable[tuple[Bounded, Sequence[Gated]]]) -> None:
    """Raise StateForbids if our role cannot see other sessions, or may not lock a table that writes to data nodes."""
    for session, tables in databases:
        if session.node.place is Place.CONNECTION:
            _check_database(session, tables)


def _check_database(session: Bounded, tables: Sequence[Gated]) -> None:
    with answering(session.node):
        if not sees_all(session.connection):
            raise Blind(f"node {session.node.name}: {BLIND}", hint=GRANTS)
        found = not_ours_to_lock(session.connection, tables)
    if found:
        names = ", ".join(table.name for table in found[:_NAMED])
        raise StateForbids(
            f"in database {session.database} the role may not lock {len(found)} distributed tables, so nothing would"
            f" keep writers out: {names}",
            hint=_how_to_lock(found, session.connection.info.server_version),
        )


def refuse_event_triggers(session: Bounded) -> None:
    """Raise StateForbids for event triggers that a lock of ours would run: our role there cannot switch them off, and
    their functions would have its rights.
    """
    if found := fired_by_our_locks(session.connection):
        raise StateForbids(
            f"in database {session.database} the event triggers {', '.join(found)} would run when foreign tables"
            " are gated, with the rights of our role",
            hint="disable them, or make the foreign tables partitions of a table",
        )


def _how_to_lock(tables: Sequence[NotOurs], version: int) -> str:
    owners = sorted({table.owner for table in tables if table.lone})
    wanted = [f"membership in {', '.join(owners)}, who own foreign tables"] if owners else []
    if any(not table.lone for table in tables):
        wanted.append(gate_role(version))
    return f"give the role {' and '.join(wanted)}"
