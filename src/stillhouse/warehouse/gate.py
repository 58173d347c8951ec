"""The gate: for an instant, no transaction writes through the coordinator to a data node."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from stillhouse.clock import Clock
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import CutFailed, DatabaseClosed, NodeUnreachable
from stillhouse.postgres.databases import Database, Kind, list_databases
from stillhouse.postgres.event_triggers import disable_event_triggers
from stillhouse.postgres.session import sql
from stillhouse.warehouse.cut_sessions import Bounded, answering, bounded
from stillhouse.warehouse.gate_catalog import (
    Gated,
    Holder,
    Mode,
    fdw_servers,
    gated_tables,
    leading_to,
    lock_holders,
    remote_users,
    remote_writers,
    sessions_in,
)

# A transaction older than this is waited for with the gate open; a younger one, at the lock.
_OLD_SECONDS = 1.0


class WritersRemain(CutFailed):
    """The gate was shut, yet a data node still has a transaction that came through it."""


@dataclass(frozen=True)
class GateSession:
    """One database's share of the gate: what is locked in it, and who writes through its servers."""

    session: Bounded
    nodes: tuple[Node, ...]
    tables: tuple[Gated, ...]
    users: frozenset[str | None]


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
        raise CutFailed(f"waiting for {_named(at_work)} in a closed database, which has no gate")
    return Survey(tuple(databases), tuple(at_rest), tuple(barred))


def confirm_survey(before: Survey, coordinator: Bounded) -> None:
    """No database was made, closed or opened since, and nobody in a closed one has done anything."""
    now = survey(coordinator, before.barred)
    if changed := {*now.databases} ^ {*before.databases}:
        names = ", ".join(sorted({str(database) for database in changed}))
        raise CutFailed(f"databases of the coordinator changed meanwhile: {names}")
    if moved := [one for one in now.inside if one not in before.inside]:
        raise CutFailed(f"waiting for {_named(moved)} in a closed database, which has no gate")


@contextmanager
def gate_sessions(
    cluster: Cluster, databases: Sequence[Database], barred: list[int] | None = None
) -> Iterator[tuple[GateSession, ...]]:
    """One warm session per database of the coordinator with a server to a data node, in the order of `databases`.

    Those that ought to be open and cannot be entered are added to `barred` (oids): they have no gate.
    """
    coordinator, nodes = cluster.coordinator, cluster.data_nodes
    with ExitStack() as kept:
        gate = []
        for database in databases:
            if not database.is_open:
                continue
            with ExitStack() as looked_at:
                try:
                    session = looked_at.enter_context(bounded(coordinator, database))
                except DatabaseClosed as error:
                    if barred is None:
                        raise CutFailed(error.message) from error
                    barred.append(database.oid)
                    continue
                with answering(coordinator):
                    servers = leading_to(nodes, fdw_servers(session.connection))
                    tables = gated_tables(session.connection, servers)
                    users = remote_users(session.connection, servers)
                if servers:
                    kept.enter_context(looked_at.pop_all())
                    gate.append(GateSession(session, nodes, tables, users))
        yield tuple(gate)


def look_ahead(
    gate: Sequence[GateSession], data_nodes: Sequence[Bounded], mode: Mode, threads: ThreadPoolExecutor
) -> None:
    """Refuse to shut the gate on an old transaction: every writer would queue up behind the wait for it."""
    if found := _in_the_way(gate, mode, age=_OLD_SECONDS):
        raise CutFailed(f"waiting {found}")
    check_data_nodes(gate, data_nodes, threads, age=_OLD_SECONDS)


def shut(gate: Sequence[GateSession], mode: Mode, clock: Clock) -> None:
    """Lock everything; if that cannot be done at once, open the gate again and only then see why."""
    asked = clock.monotonic()
    try:
        _lock_all(gate, mode, clock)
    except (CutFailed, NodeUnreachable) as failure:
        reopen(gate)
        found = _in_the_way(gate, mode, age=clock.monotonic() - asked)
        raise CutFailed(f"{failure.message}, {found}" if found else failure.message) from failure


def _lock_all(gate: Sequence[GateSession], mode: Mode, clock: Clock) -> None:
    """Root by root, in the one order that all services follow.

    A writer may wait for an early lock of ours while we wait for a late one. Together the waits stay below
    deadlock_timeout (half of it, and one lock_timeout of a quarter), so no such writer is ever killed for us.
    """
    latest = clock.monotonic() + min((part.session.deadlock_seconds for part in gate), default=0.0) / 2
    for part in gate:
        with answering(part.session.node):
            part.session.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            if any(table.foreign for table in part.tables):
                # DISABLE TRIGGER is DDL: an operator's event trigger must neither see nor forbid it.
                disable_event_triggers(part.session.connection)
            for table in part.tables:
                if clock.monotonic() > latest:
                    raise CutFailed(f"locking the distributed tables took too long, at {table.name}")
                part.session.connection.execute(sql.SQL(_lock(table, mode)))


def confirm(gate: Sequence[GateSession]) -> None:
    """Every session lives, so its locks were never gone, and no table has appeared that it does not hold."""
    for part in gate:
        with answering(part.session.node):
            servers = leading_to(part.nodes, fdw_servers(part.session.connection))
            tables = gated_tables(part.session.connection, servers)
        if new := {*tables} - {*part.tables}:
            names = ", ".join(sorted(table.name for table in new))
            raise CutFailed(f"in database {part.session.database} there appeared meanwhile: {names}")


def check_data_nodes(
    gate: Sequence[GateSession],
    data_nodes: Sequence[Bounded],
    threads: ThreadPoolExecutor,
    *,
    age: float = 0.0,
) -> None:
    """No data node runs a writing transaction that came from the coordinator."""
    users = frozenset[str | None]().union(*(part.users for part in gate))

    def writers_on(data_node: Bounded) -> list[Holder]:
        with answering(data_node.node):
            return remote_writers(data_node.connection, users, age=age)

    for data_node, writers in zip(data_nodes, threads.map(writers_on, data_nodes), strict=True):
        if writers:
            raise WritersRemain(f"waiting on node {data_node.node.name} for {_named(writers)}")


def reopen(gate: Sequence[GateSession]) -> None:
    """Let writers in again. Nothing was changed: the locks were all there was."""
    for part in gate:
        with answering(part.session.node):
            part.session.connection.execute("ROLLBACK")


def _lock(table: Gated, mode: Mode) -> str:
    """LOCK takes a root's foreign partitions with it but refuses a foreign table by name, whereas this ALTER
    takes SHARE ROW EXCLUSIVE on it (tablecmds.c, AlterTableGetLockLevel) and is undone by the roll-back."""
    if table.foreign:
        return f"ALTER FOREIGN TABLE ONLY {table.name} DISABLE TRIGGER USER"
    return f"LOCK TABLE {table.name} IN {mode} MODE"


def _in_the_way(gate: Sequence[GateSession], mode: Mode, *, age: float) -> str:
    found = []
    for part in gate:
        with answering(part.session.node):
            holders = lock_holders(part.session.connection, part.tables, mode, age=age)
        if holders:
            found.append(f"in database {part.session.database} for {_named(holders)}")
    return ", ".join(found)


def _named(holders: Sequence[Holder]) -> str:
    return "; ".join(str(holder) for holder in holders)
