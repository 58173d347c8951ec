"""The plan to shut a gate, made before any lock: which session locks which tables, whether there is room, how long."""

import math
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from stillhouse.errors import CutFailed, StateForbids

COORDINATOR_SETTINGS = {"max_locks_per_transaction": "1024", "deadlock_timeout": "2s"}
"""Room and time for the gate, in coordinators that we make: with their 100 connections, for 10,000 tables on 8 data
nodes. This costs some 50 MB of shared memory, and a session in a deadlock waits a second longer than by default."""

LONGEST_LOCK_SECONDS = 4.0
"""The longest time that all locks may take, with any deadlock_timeout: the server ends our transactions after 5 s."""

_MOST_SESSIONS, _LOCKS_EACH = 4, 2000
_OUR_PART = 0.75  # of the lock table; other sessions need locks meanwhile
# DISABLE TRIGGER cannot be rehearsed, so this is a measured figure: 12 to 25 microseconds (docs/performance.md).
_LONE_TABLE_SECONDS = 25e-6


@dataclass(frozen=True)
class Gated:
    """One thing to lock: a partition root, or a foreign table that is not a partition.

    `locks` is how many relations are locked with it, including itself. `schema` differs when the schema has changed.
    """

    oid: int
    name: str
    foreign: bool
    locks: int = 1
    schema: str = ""


@dataclass(frozen=True)
class LockTable:
    """A server's lock table: the settings that give its size, and the number of locks in it."""

    per_transaction: int
    connections: int
    prepared: int
    in_use: int = 0

    @property
    def size(self) -> int:
        """The number of locks with guaranteed room; there is a little more (storage/lmgr/lock.c, NLOCKENTS)."""
        return self.per_transaction * (self.connections + self.prepared)


@dataclass(frozen=True)
class Expected:
    """The expected cost of a cut to writers, measured shortly before it.

    The gate also waits for transactions that are running when it is shut. Their length is unknown and not included.
    """

    tables: int
    locks: int
    lock_seconds: float
    hold_seconds: float
    longest_lock_seconds: float

    @property
    def pause_seconds(self) -> float:
        """The longest that a write may have to wait."""
        return self.lock_seconds + self.hold_seconds

    @property
    def fits(self) -> bool:
        return self.lock_seconds <= self.longest_lock_seconds


def roots(
    foreign: Sequence[int], inherits: Sequence[tuple[int, int]], partitioned: Set[int]
) -> dict[int, int]:
    """The partition roots of foreign tables, or the tables themselves, each with its number of locks.

    `inherits` is child and parent. Parents of a foreign table that are not partitioned tables are not followed to a
    root.
    """
    parent_of = {child: parent for child, parent in inherits if parent in partitioned}
    children_of = defaultdict[int, list[int]](list)
    for child, parent in parent_of.items():
        children_of[parent].append(child)

    def root_of(table: int) -> int:
        while table in parent_of:
            table = parent_of[table]
        return table

    def size_of(table: int) -> int:
        return 1 + sum(map(size_of, children_of[table]))

    return {root: size_of(root) for root in {root_of(table) for table in foreign}}


def sessions_for(tables: Sequence[Gated]) -> int:
    """How many sessions of a database lock these tables. One is enough for few; too many wait for one another."""
    locks = sum(table.locks for table in tables)
    return max(1, min(_MOST_SESSIONS, len(tables), math.ceil(locks / _LOCKS_EACH)))


def shares(tables: Sequence[Gated], sessions: int) -> list[tuple[Gated, ...]]:
    """The tables that each session locks: runs of the given order that take about as many locks."""
    every = sum(table.locks for table in tables)
    runs: list[list[Gated]] = [[] for _ in range(sessions)]
    before = 0
    for table in tables:
        runs[before * sessions // every].append(table)
        before += table.locks
    return [tuple(run) for run in runs]


def check_room(locks: int, table: LockTable) -> None:
    """Raise StateForbids where the server can never bear so many locks, CutFailed where it cannot now."""
    most = int(table.size * _OUR_PART)
    if locks + table.in_use <= most:
        return
    told = (
        f"the gate needs {locks} locks on the coordinator, whose lock table is made for {table.size}, shared by all:"
        f" max_locks_per_transaction ({table.per_transaction}) times max_connections ({table.connections})"
        f" plus max_prepared_transactions ({table.prepared}); a cut takes at most {most} of them"
    )
    if locks <= most:
        raise CutFailed(f"{told}, and {table.in_use} are in use")
    least = math.ceil(locks / _OUR_PART / (table.connections + table.prepared))
    raise StateForbids(
        told, hint=f"set max_locks_per_transaction to {least + 1} or more and restart the coordinator"
    )


def lock_seconds(
    tables: Sequence[Gated], rehearsed_seconds: float, seconds_more_for_a_strong_lock: float
) -> float:
    """How long it takes to lock `tables`.

    `rehearsed_seconds` is the time to lock the partition roots among them in a mode that keeps no one out. For a
    strong lock the server also searches all its backends, one session after the other.
    """
    rooted = sum(table.locks for table in tables if not table.foreign)
    lone = sum(table.foreign for table in tables)
    return rehearsed_seconds + rooted * seconds_more_for_a_strong_lock + lone * _LONE_TABLE_SECONDS


def check_time(expected: Expected) -> None:
    """Raise CutFailed where the locks would take so long that waiting writers would look for deadlocks."""
    if expected.fits:
        return
    enough = math.ceil(2.5 * expected.lock_seconds)
    if enough <= 2 * LONGEST_LOCK_SECONDS:
        hint = f"set deadlock_timeout on the coordinator to {enough} s, or have it do less while snapshots are taken"
    else:
        hint = "have fewer distributed tables, or the coordinator do less while snapshots are taken"
    raise CutFailed(
        f"locking {expected.tables} distributed tables ({expected.locks} locks) would take"
        f" {expected.lock_seconds:.2f} s, and may take {expected.longest_lock_seconds:g} s: half of deadlock_timeout,"
        f" and {LONGEST_LOCK_SECONDS:g} s at most",
        hint=hint,
    )
