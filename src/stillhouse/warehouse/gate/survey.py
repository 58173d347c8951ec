"""Databases without a gate, because they cannot be entered: a cut holds only if no session writes in them.

The coordinator is surveyed before the gate is shut, and again while it is shut. Nothing may have changed in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stillhouse.errors import CutFailed
from stillhouse.postgres.sessions.databases import Database, Kind, list_databases
from stillhouse.warehouse.cut.bounded_sessions import Bounded, answering
from stillhouse.warehouse.gate.coordinator_catalog import Holder, named, sessions_in


@dataclass(frozen=True)
class Survey:
    """The coordinator's databases, and the sessions inside closed ones and `barred` ones, which we cannot enter.

    These databases have no gate. A session that was in one before it was closed can still write.
    """

    databases: tuple[Database, ...]
    inside: tuple[Holder, ...]
    barred: tuple[int, ...]


def survey(coordinator: Bounded, barred: Sequence[int] = ()) -> Survey:
    """Survey the coordinator.

    Raises CutFailed when a session is at work in a database that is closed, or `barred` (oids).
    """
    with answering(coordinator.node):
        databases = list_databases(coordinator.connection)
        closed = [*barred, *(database.oid for database in databases if database.kind is Kind.CLOSED)]
        at_rest, at_work = sessions_in(coordinator.connection, closed) if closed else ([], [])
    if at_work:
        raise CutFailed(f"waiting for {named(at_work)} in a closed database, which has no gate")
    return Survey(tuple(databases), tuple(at_rest), tuple(barred))


def confirm_survey(before: Survey, coordinator: Bounded) -> None:
    """Check that no database was made, closed or opened since, and no session in a closed one has done anything."""
    now = survey(coordinator, before.barred)
    if changed := {*now.databases} ^ {*before.databases}:
        names = ", ".join(sorted({str(database) for database in changed}))
        raise CutFailed(f"databases of the coordinator changed meanwhile: {names}")
    if moved := [one for one in now.inside if one not in before.inside]:
        raise CutFailed(f"waiting for {named(moved)} in a closed database, which has no gate")
