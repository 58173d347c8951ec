"""The coordinator's databases around a cut: none changes meanwhile, and nobody is at work in one that has no gate."""

from collections.abc import Sequence
from dataclasses import dataclass

from stillhouse.errors import CutFailed
from stillhouse.postgres.databases import Database, Kind, list_databases
from stillhouse.warehouse.cut_sessions import Bounded, answering
from stillhouse.warehouse.gate_catalog import Holder, named, sessions_in


@dataclass(frozen=True)
class Survey:
    """Which databases the coordinator has, and who is in those that are closed, or `barred` to us in another way.

    These have no gate, for we cannot enter them either; but whoever was in one when it was closed may write yet.
    """

    databases: tuple[Database, ...]
    inside: tuple[Holder, ...]
    barred: tuple[int, ...]


def survey(coordinator: Bounded, barred: Sequence[int] = ()) -> Survey:
    """Raises CutFailed when somebody is at work in a database that is closed, or `barred` (oids)."""
    with answering(coordinator.node):
        databases = list_databases(coordinator.connection)
        closed = [*barred, *(database.oid for database in databases if database.kind is Kind.CLOSED)]
        at_rest, at_work = sessions_in(coordinator.connection, closed) if closed else ([], [])
    if at_work:
        raise CutFailed(f"waiting for {named(at_work)} in a closed database, which has no gate")
    return Survey(tuple(databases), tuple(at_rest), tuple(barred))


def confirm_survey(before: Survey, coordinator: Bounded) -> None:
    """No database was made, closed or opened since, and nobody in a closed one has done anything."""
    now = survey(coordinator, before.barred)
    if changed := {*now.databases} ^ {*before.databases}:
        names = ", ".join(sorted({str(database) for database in changed}))
        raise CutFailed(f"databases of the coordinator changed meanwhile: {names}")
    if moved := [one for one in now.inside if one not in before.inside]:
        raise CutFailed(f"waiting for {named(moved)} in a closed database, which has no gate")
