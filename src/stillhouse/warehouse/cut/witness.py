"""Witnesses of a cut: transactions that see a node exactly as recovery to its restore point will leave it.

A snapshot S is taken just before the point, and the node is looked at right after it. Everything that S sees was
committed before the point. S sees *all* of that if no other transaction had its commit record in the WAL before the
point. A transaction that had one either ended before the second look, and then the snapshot of that look differs from
S. Or it was still among those at work, since a transaction is at work from its commit record to the end of the flush
and of synchronous replication. So equal snapshots are not enough: each transaction with an id must be seen at rest
after the point.

A failure here never fails the cut: a node without a witness has no fingerprints, and says why.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from stillhouse.clock import Clock
from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import Witness
from stillhouse.errors import DatabaseClosed, NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import Database, Kind, databases_of, enter
from stillhouse.postgres.sessions.session import Connection, Rows, ask_at_once
from stillhouse.warehouse.cut.bounded_sessions import BOUNDS, Bounded

HANDOVER_SECONDS = 20.0
"""How long a witness waits for the readers of its tables to take it over."""

_MOST_DATABASES = 16
_LOOKS, _PAUSE_SECONDS = 20, 0.02

# A witness that is not taken over, or belongs to a stopped service, ends by itself: it holds vacuum back.
_BOUNDS = {
    **BOUNDS,
    "idle_in_transaction_session_timeout": f"{HANDOVER_SECONDS + 10:.0f}s",
    "transaction_timeout": f"{2 * HANDOVER_SECONDS + 20:.0f}s",
}

# Other roles' rows in pg_stat_activity are empty without this right, and nobody would seem to be at work.
_SEES_ALL = "SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SEE = "SELECT pg_current_snapshot()"
# A transaction is at rest if it waits for its client or for a lock: neither occurs from the commit record to the end
# of the commit (access/transam/xact.c, CommitTransaction). State and id are read at the call, all after the point.
# Sessions come first: a session that commits a prepared transaction is at work for longer than that transaction is
# listed. The snapshot, which each statement takes anew, comes last: a transaction that has left the lists before they
# were read has left it too.
_LOOK = f"""
    SELECT coalesce(backend_xid::text, ''), coalesce(datname, ''), backend_type || ' ' || pid,
           coalesce(state LIKE 'idle in transaction%', false) OR coalesce(wait_event_type IN ('Client', 'Lock'), false)
      FROM pg_stat_activity
     WHERE pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR state = 'active');
    SELECT transaction, database FROM pg_prepared_xacts;
    {_SEE}
"""


@dataclass(frozen=True)
class Seen:
    """One look: `sessions` as (id or '', database, who, at rest), `prepared` as (id, database), and a snapshot."""

    sessions: tuple[tuple[str, str, str, bool], ...]
    prepared: tuple[tuple[str, str], ...]
    snapshot: str = ""

    def ids(self) -> set[str]:
        return {xid for xid, *_ in self.sessions if xid} | {xid for xid, _ in self.prepared}

    def in_doubt(self) -> dict[str, str]:
        """Transactions that may be committing, each with a description of its session.

        A prepared one is committed by a session of its database that has no id of its own.
        """
        doubts = {xid: who for xid, _, who, at_rest in self.sessions if xid and not at_rest}
        busy = {database: who for _, database, who, at_rest in self.sessions if not at_rest}
        doubts |= {xid: busy[database] for xid, database in self.prepared if database in busy}
        return doubts


def judge(
    doubts: Mapping[str, str], resting: Collection[str], later: Seen
) -> tuple[dict[str, str], set[str], bool]:
    """Judge transactions in doubt by a later look: those still in doubt, those at rest, whether any has ended.

    The look reads a session's wait after its id. So a session that has just committed, and waits for its client, looks
    like a transaction at rest. Rest therefore counts only if the transaction is there at the next look as well.
    """
    ended = not {*doubts, *resting} <= later.ids()
    still = {xid: who for xid, who in later.in_doubt().items() if xid in doubts}
    return still, {*doubts} - {*still}, ended


@dataclass
class _Post:
    """The witness of one node: a session for each open database.

    A session in a template would keep CREATE DATABASE waiting.
    """

    node: Node
    sessions: dict[str, Connection] = field(default_factory=dict)
    snapshot: str = ""
    doubts: dict[str, str] = field(default_factory=dict)
    why: str = ""

    def open(self) -> None:
        with self._excused():
            databases = [one for one in databases_of(self.node) if one.kind is Kind.OPEN]
            if len(databases) > _MOST_DATABASES:
                self._give_up(f"it has {len(databases)} databases, more than {_MOST_DATABASES}")
                return
            for database in databases:
                with suppress(DatabaseClosed):  # it has no fingerprints; node/fingerprints.py names it
                    self.sessions[database.name] = self._connect(database)
            if not all(
                connection.execute(_SEES_ALL).fetchall()[0][0] for connection in self.sessions.values()
            ):
                self._give_up("its role does not see what other sessions do: it lacks pg_monitor")
                return
            for connection in self.sessions.values():
                connection.execute(_BEGIN)

    def note_begun(self, replies: Sequence[list[Rows] | session.Error]) -> None:
        """Note that its sessions have begun anew."""
        with self._excused():
            for reply in replies:
                _unless_failed(reply)

    def note_seen(self, replies: Sequence[list[Rows] | session.Error]) -> None:
        """Note the snapshots that its sessions took before the point."""
        self.doubts = {}
        with self._excused():
            seen = {rows[0][0] for (rows,) in map(_unless_failed, replies)}
            self.why = "" if len(seen) == 1 else "transactions ended while its databases were looked at"
            self.snapshot = str(seen.pop())

    def note_look(self, replies: list[Rows] | session.Error) -> None:
        """Note the look right after the point."""
        if self.why:
            return
        with self._excused():
            seen = _seen(_unless_failed(replies))
            self.doubts = seen.in_doubt()
            if seen.snapshot != self.snapshot:
                self.why = "transactions ended at the moment of the cut"

    def settle(self, node: Connection, clock: Clock) -> None:
        """Look again until all transactions are seen at rest. They were at work, and not yet done, at the point."""
        resting: set[str] = set()
        who = next(iter(self.doubts.values()), "")
        with self._excused():
            for _ in range(_LOOKS):
                if self.why or not (self.doubts or resting):
                    return
                (replies,) = ask_at_once([node], _LOOK)
                self.doubts, resting, ended = judge(self.doubts, resting, _seen(_unless_failed(replies)))
                if ended:
                    self.why = f"{who} may have been committing at the moment of the cut"
                elif self.doubts:
                    clock.sleep(_PAUSE_SECONDS)
            self.why = self.why or f"{who} was at work at the moment of the cut"

    def export(self) -> Witness:
        with self._excused():
            if self.sessions and not self.why:
                exported = tuple(
                    (name, str(connection.execute("SELECT pg_export_snapshot()").fetchall()[0][0]))
                    for name, connection in self.sessions.items()
                )
                return Witness(exported)
        self.close()
        return Witness(why=self.why)

    def close(self) -> None:
        for connection in self.sessions.values():
            with suppress(session.Error):
                connection.close()
        self.sessions = {}

    def _connect(self, database: Database) -> Connection:
        return enter(self.node, database, application_name="stillhouse witness", settings=_BOUNDS)

    def _give_up(self, why: str) -> None:
        self.why = why
        self.close()

    @contextmanager
    def _excused(self) -> Iterator[None]:
        try:
            yield
        except (session.Error, NodeUnreachable) as error:
            self._give_up(f"its witness ended: {str(error).partition(chr(10))[0]}")


def _unless_failed(replies: list[Rows] | session.Error) -> list[Rows]:
    if isinstance(replies, session.Error):
        raise replies
    return replies


def _seen(replies: list[Rows]) -> Seen:
    sessions, prepared, ((snapshot,),) = replies
    return Seen(
        tuple(
            (str(xid), str(database), str(who), at_rest == "t") for xid, database, who, at_rest in sessions
        ),
        tuple((str(xid), str(database)) for xid, database in prepared),
        str(snapshot),
    )


class Witnesses:
    """The witnesses of all nodes of a cluster. Their maker closes them once they are taken over."""

    def __init__(self) -> None:
        self._posts: tuple[_Post, ...] = ()

    def __enter__(self) -> "Witnesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, nodes: Sequence[Node], threads: Executor) -> None:
        """Open fresh, warm sessions in place of those of an earlier try."""
        self.close()
        self._posts = tuple(_Post(node) for node in nodes)
        list(threads.map(_Post.open, self._posts))

    def again(self) -> None:
        """Begin anew, for other points; one round trip to all."""
        for post, replies in self._ask(f"ROLLBACK; {_BEGIN}"):
            post.note_begun(replies)

    def see(self) -> None:
        """Take the snapshots right before the points; one round trip to all."""
        for post, replies in self._ask(_SEE):
            post.note_seen(replies)

    def _ask(self, query: str) -> list[tuple[_Post, list[list[Rows] | session.Error]]]:
        asked = [(post, one) for post in self._posts for one in post.sessions.values()]
        replies = ask_at_once([one for _, one in asked], query)
        return [
            (post, [reply for (of, _), reply in zip(asked, replies, strict=True) if of is post])
            for post in self._posts
            if post.sessions
        ]

    def look(self, nodes: Sequence[Bounded]) -> None:
        """Look right after the points, in sessions other than the witnesses'; one round trip to all."""
        for post, reply in zip(
            self._posts, ask_at_once([one.connection for one in nodes], _LOOK), strict=True
        ):
            post.note_look(reply)

    def settle(self, nodes: Sequence[Bounded], threads: Executor, clock: Clock) -> None:
        def settle(post: _Post, node: Bounded) -> None:
            post.settle(node.connection, clock)

        list(threads.map(settle, self._posts, nodes))

    def in_vain(self, *, settles: bool) -> bool:
        """Whether another point might find the nodes quieter. A doubt counts, unless it `settles` later."""
        return any(post.sessions and (post.why or (post.doubts and not settles)) for post in self._posts)

    def export(self) -> dict[str, Witness]:
        """The exported witnesses, by the node's id."""
        return {post.node.id: post.export() for post in self._posts}

    def close(self) -> None:
        for post in self._posts:
            post.close()
        self._posts = ()
