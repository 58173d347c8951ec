"""The gate: for an instant, no transaction writes through the coordinator to a data node."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from stillhouse.clock import Clock
from stillhouse.domain.cluster import Cluster, Node, Place
from stillhouse.errors import CutFailed, DatabaseClosed, NodeUnreachable
from stillhouse.postgres.sessions.databases import Database
from stillhouse.postgres.sessions.event_triggers import (
    disable_event_triggers,
    has_event_triggers,
)
from stillhouse.postgres.sessions.text import Codec
from stillhouse.warehouse.cut.bounded_sessions import Bounded, answering, bounded
from stillhouse.warehouse.gate.coordinator_catalog import (
    Blind,
    Holder,
    Mode,
    Wiring,
    digest,
    lock_holders,
    lock_statement,
    lock_table,
    named,
    other_tables,
    read_wiring,
    remote_writers,
    strong_lock_seconds,
)
from stillhouse.warehouse.gate.gate_rights import GRANTS, check_rights, refuse_event_triggers
from stillhouse.warehouse.gate.lock_plan import (
    LONGEST_LOCK_SECONDS,
    Expected,
    Gated,
    check_room,
    check_time,
    lock_seconds,
    sessions_for,
    shares,
)

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

# The gate waits for transactions older than this while it is open, and for younger ones at the lock.
_OLD_SECONDS = 1.0
_NOBODYS_AGE = 1e9
_REHEARSALS = 3
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


class WritersRemain(CutFailed):
    """The gate was shut, yet a data node still has a transaction that came through it."""


class LocksTooSlow(CutFailed):
    """The locks were not granted in time, though no session was in the way: the rehearsal had told too little."""


@dataclass(frozen=True)
class Share:
    """A session, and the tables that it locks."""

    session: Bounded
    tables: tuple[Gated, ...]


@dataclass(frozen=True)
class GatedDatabase:
    """One database's part of the gate: its wiring, and the sessions with the tables that they lock."""

    nodes: tuple[Node, ...]
    wiring: Wiring
    shares: tuple[Share, ...]

    @property
    def session(self) -> Bounded:
        """The session that also reads the catalog."""
        return self.shares[0].session


@contextmanager
def gate_sessions(
    cluster: Cluster, databases: Sequence[Database], barred: list[int] | None = None
) -> Iterator[tuple[GatedDatabase, ...]]:
    """Warm sessions for every database with a server to a data node, in the order of `databases`, the coordinator's.

    Databases that should be open but cannot be entered are added to `barred` (oids): they have no gate.
    """
    coordinator, nodes = cluster.coordinator, cluster.data_nodes
    with ExitStack() as kept:
        gate = []
        for database in databases:
            if not database.is_open:
                continue
            with ExitStack() as opened:
                try:
                    session = opened.enter_context(bounded(coordinator, database))
                except DatabaseClosed as error:
                    if barred is None:
                        raise CutFailed(error.message) from error
                    barred.append(database.oid)
                    continue
                wiring = _read(session, nodes)
                if wiring.is_wired:
                    more = _how_many_sessions(session, wiring) - 1
                    others = [opened.enter_context(bounded(coordinator, database)) for _ in range(more)]
                    kept.enter_context(opened.pop_all())
                    gate.append(_shared_out(nodes, wiring, [session, *others]))
        yield tuple(gate)


def _how_many_sessions(session: Bounded, wiring: Wiring) -> int:
    """One session if event triggers have to be disabled for our DDL: further sessions would wait for the first."""
    if any(table.foreign for table in wiring.tables):
        with answering(session.node):
            if session.node.place is Place.CONNECTION:
                refuse_event_triggers(session)
            elif has_event_triggers(session.connection):
                return 1
    return sessions_for(wiring.tables)


def _read(session: Bounded, nodes: Sequence[Node]) -> Wiring:
    with answering(session.node):
        return read_wiring(session.connection, nodes)


def _shared_out(nodes: tuple[Node, ...], wiring: Wiring, sessions: Sequence[Bounded]) -> GatedDatabase:
    runs = shares(wiring.tables, len(sessions))
    return GatedDatabase(nodes, wiring, tuple(map(Share, sessions, runs)))


def look_ahead(
    gate: Sequence[GatedDatabase],
    data_nodes: Sequence[Bounded],
    mode: Mode,
    threads: ThreadPoolExecutor,
    clock: Clock,
    slack: float = 1.0,
) -> Expected:
    """Refuse to shut the gate if it would hold writers up for long. Returns how long it will hold them up.

    The gate would wait for an old transaction with every writer queued up behind it. Raises StateForbids where the
    gate can never be shut. `slack` multiplies the rehearsed time of the locks.
    """
    _wait_for_old(gate, data_nodes, mode, threads)
    expected = foresee(gate, data_nodes, threads, clock, slack)
    check_time(expected)
    _wait_for_old(gate, data_nodes, mode, threads)
    return expected


def foresee(
    gate: Sequence[GatedDatabase],
    data_nodes: Sequence[Bounded],
    threads: ThreadPoolExecutor,
    clock: Clock,
    slack: float = 1.0,
) -> Expected:
    """The expected cost of a cut. It is rehearsed a few times, until it fits, since a moment of load proves nothing.

    Raises StateForbids where the server can never bear it, and CutFailed where it cannot be rehearsed now.
    """
    for _ in range(_REHEARSALS):
        expected = _rehearse(gate, data_nodes, threads, clock)
        expected = replace(expected, lock_seconds=expected.lock_seconds * slack)
        if expected.fits:
            break
    return expected


def _wait_for_old(
    gate: Sequence[GatedDatabase], data_nodes: Sequence[Bounded], mode: Mode, threads: ThreadPoolExecutor
) -> None:
    if found := _in_the_way(gate, mode, age=_OLD_SECONDS):
        raise CutFailed(f"waiting {found}")
    check_data_nodes(gate, data_nodes, threads, age=_OLD_SECONDS)


def _rehearse(
    gate: Sequence[GatedDatabase], data_nodes: Sequence[Bounded], threads: ThreadPoolExecutor, clock: Clock
) -> Expected:
    """Do everything that a shut gate does, in a mode that keeps no writer out, and measure it."""
    tables = [table for part in gate for table in part.wiring.tables]
    locks = sum(table.locks for table in tables)
    if not gate:
        return Expected(0, 0, 0.0, 0.0, 0.0)
    check_rights((part.session, part.wiring.tables) for part in gate)
    first = gate[0].session
    with answering(first.node):
        check_room(locks, lock_table(first.connection))
        more = strong_lock_seconds(first.connection, clock)
    seconds = _rehearse_locks(gate, threads, clock)
    begun = clock.monotonic()
    for _ in ("before the points", "after them"):
        caught_up(gate, threads)
        check_data_nodes(gate, data_nodes, threads, age=_NOBODYS_AGE)
    for _ in (
        "the points",
        "their witnesses",
    ):  # these are not rehearsed; another question to every node takes as long
        check_data_nodes(gate, data_nodes, threads, age=_NOBODYS_AGE)
    return Expected(
        tables=len(tables),
        locks=locks,
        lock_seconds=lock_seconds(tables, seconds, more),
        hold_seconds=clock.monotonic() - begun,
        longest_lock_seconds=_longest(gate),
    )


def _rehearse_locks(gate: Sequence[GatedDatabase], threads: ThreadPoolExecutor, clock: Clock) -> float:
    """The seconds that the locks take.

    The first turn fills the sessions' caches: without it, they take three times as long.
    """
    for _ in ("warm", "timed"):
        begun = clock.monotonic()
        try:
            shut(gate, Mode.REHEARSAL, clock, threads)
        except CutFailed:
            if (seconds := clock.monotonic() - begun) < LONGEST_LOCK_SECONDS:
                raise
            return seconds
        seconds = clock.monotonic() - begun
        reopen(gate, threads)
    return seconds


def shut(gate: Sequence[GatedDatabase], mode: Mode, clock: Clock, threads: ThreadPoolExecutor) -> None:
    """Lock everything. If that cannot be done at once, open the gate again and only then find the reason."""
    asked = clock.monotonic()
    try:
        _lock_all(gate, mode, clock, threads)
    except (CutFailed, NodeUnreachable) as failure:
        seconds = clock.monotonic() - asked
        reopen(gate, threads)
        if found := _in_the_way(gate, mode, age=clock.monotonic() - asked):
            raise CutFailed(f"{failure.message}, {found}") from failure
        if mode is not Mode.REHEARSAL and seconds >= _longest(gate):
            tables = [table for part in gate for table in part.wiring.tables]
            locks = sum(table.locks for table in tables)
            raise LocksTooSlow(
                f"locking {len(tables)} distributed tables ({locks} locks) took too long:"
                f" more than {_longest(gate):g} s"
            ) from failure
        raise CutFailed(failure.message) from failure


def _lock_all(gate: Sequence[GatedDatabase], mode: Mode, clock: Clock, threads: ThreadPoolExecutor) -> None:
    """Lock in all sessions at once, within a time that the server enforces.

    A writer may wait for an early lock of ours while we wait for a late one. All our waits together end before half of
    deadlock_timeout has passed, and each before a quarter, so no writer is ever killed because of us.

    Gates of several services must not wait for one another in a circle. So the first root and the first lone table are
    locked alone: the gate that has them gets all others of their kind first. Where two gates disagree which is the
    first, lock_timeout ends the wait.
    """
    latest = clock.monotonic() + (LONGEST_LOCK_SECONDS if mode is Mode.REHEARSAL else _longest(gate))

    def lock(share: Share) -> None:
        _lock(share, mode, latest - clock.monotonic())

    every = _shares(gate)
    _at_once(threads, lambda share: _execute(share.session, _BEGIN), every)
    for first in _firsts(every):
        lock(first)
    _at_once(threads, lock, every)


def _firsts(every: Sequence[Share]) -> Iterator[Share]:
    for foreign in (False, True):
        found = ((share, table) for share in every for table in share.tables if table.foreign is foreign)
        if first := next(found, None):
            yield Share(first[0].session, (first[1],))


def _lock(share: Share, mode: Mode, seconds: float) -> None:
    """Lock by name, then compare the names with the OIDs: a locked table keeps its name."""
    session = share.session
    if seconds <= 0:
        raise CutFailed(f"locking the distributed tables took too long, in database {session.database}")
    if mode is not Mode.REHEARSAL and any(table.foreign for table in share.tables):
        # DISABLE TRIGGER is DDL: an operator's event trigger must neither see nor forbid it.
        with answering(session.node):
            if session.node.place is Place.HERE:
                disable_event_triggers(session.connection)
    if statement := lock_statement(session.connection, share.tables, mode):
        _execute(session, f"SET LOCAL statement_timeout = '{math.ceil(seconds * 1000)}ms'; {statement}")
    with answering(session.node):
        renamed = other_tables(session.connection, share.tables)
    if renamed:
        raise CutFailed(f"in database {session.database} these tables were renamed meanwhile: {renamed}")


def _execute(session: Bounded, statement: str) -> None:
    with answering(session.node):
        session.connection.execute(Codec(session.connection).encode(statement))


def _shares(gate: Sequence[GatedDatabase]) -> list[Share]:
    return [share for part in gate for share in part.shares]


def _at_once(
    threads: ThreadPoolExecutor, ask: Callable[[_Asked], _Answer], asked: Sequence[_Asked]
) -> tuple[_Answer, ...]:
    """Wait until all have ended, so that no session is left at work, then raise the first error."""
    futures = [threads.submit(ask, one) for one in asked]
    wait(futures)
    return tuple(future.result() for future in futures)


def _longest(gate: Sequence[GatedDatabase]) -> float:
    """Seconds that all locks may take together."""
    deadlock = min((part.session.deadlock_seconds for part in gate), default=0.0)
    return min(deadlock / 2, LONGEST_LOCK_SECONDS)


def caught_up(gate: Sequence[GatedDatabase], threads: ThreadPoolExecutor) -> tuple[GatedDatabase, ...]:
    """The gate as the catalog is now, still open."""

    def catch_up(part: GatedDatabase) -> GatedDatabase:
        if (wiring := _changed(part)) is None:
            return part
        return _shared_out(part.nodes, wiring, [share.session for share in part.shares])

    return _at_once(threads, catch_up, gate)


def confirm(gate: Sequence[GatedDatabase], threads: ThreadPoolExecutor) -> tuple[GatedDatabase, ...]:
    """Confirm that the shut gate holds every table that matters now. Returns the gate as seen now."""

    def confirm_one(part: GatedDatabase) -> GatedDatabase:
        if (wiring := _changed(part)) is None:
            return part
        if new := {*wiring.tables} - {*part.wiring.tables}:
            names = ", ".join(sorted(table.name for table in new))
            raise CutFailed(
                f"in database {part.session.database} these tables appeared or changed meanwhile: {names}"
            )
        held = replace(wiring, tables=part.wiring.tables, users=wiring.users | part.wiring.users)
        return replace(part, wiring=held)

    return _at_once(threads, confirm_one, gate)


def _changed(part: GatedDatabase) -> Wiring | None:
    """The new wiring, or None. The catalog is read only where its digest differs."""
    with answering(part.session.node):
        if digest(part.session.connection) == part.wiring.digest:
            return None
    return _read(part.session, part.nodes)


def check_data_nodes(
    gate: Sequence[GatedDatabase],
    data_nodes: Sequence[Bounded],
    threads: ThreadPoolExecutor,
    *,
    age: float = 0.0,
) -> None:
    """Check that no data node runs a writing transaction that came from the coordinator."""
    users = frozenset[str | None]().union(*(part.wiring.users for part in gate))

    def writers_on(data_node: Bounded) -> list[Holder]:
        try:
            with answering(data_node.node):
                return remote_writers(data_node.connection, users, age=age)
        except Blind as error:
            raise Blind(f"node {data_node.node.name}: {error.message}", hint=GRANTS) from error

    for data_node, writers in zip(data_nodes, threads.map(writers_on, data_nodes), strict=True):
        if writers:
            raise WritersRemain(f"waiting on node {data_node.node.name} for {named(writers)}")


def reopen(gate: Sequence[GatedDatabase], threads: ThreadPoolExecutor) -> None:
    """Let writers in again. Only the locks have to go, since nothing was changed.

    Raises unless every session answers: a session that does not answer may have lost its locks at any time before.
    """
    _at_once(threads, lambda share: _execute(share.session, "ROLLBACK"), _shares(gate))


def _in_the_way(gate: Sequence[GatedDatabase], mode: Mode, *, age: float) -> str:
    found = []
    for part in gate:
        with answering(part.session.node):
            holders = lock_holders(part.session.connection, part.wiring.tables, mode, age=age)
        if holders:
            found.append(f"in database {part.session.database} for {named(holders)}")
    return ", ".join(found)
