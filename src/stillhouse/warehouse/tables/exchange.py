"""The swap of a whole cluster: one transaction on the coordinator, prepared on the data nodes first.

The hidden schemas on the coordinator say how it ended. While they exist, the swap has not happened, and a prepared
transaction on a data node is rolled back. Once they are gone, the swap has happened, and it is committed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.table_restore import TableName
from stillhouse.errors import NodeUnreachable, RestoreFailed, TablesHeld
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.event_triggers import disable_event_triggers, enable_event_triggers
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.warehouse.tables.gather import Hidden, Placed
from stillhouse.warehouse.tables.load import end_sessions
from stillhouse.warehouse.tables.marks import PREFIX, PREPARED
from stillhouse.warehouse.tables.related import ForeignTable, check_reach, foreign_tables, point, trees
from stillhouse.warehouse.tables.sessions import unseen
from stillhouse.warehouse.tables.swap import drop, hidden_tables, lock_standing, place

# A session that we no longer speak to must not keep its locks.
_LIMITS = {"idle_in_transaction_session_timeout": "60s"}
# Sessions queued behind us wait as long as we do. Our wait is shorter than deadlock_timeout, so in a deadlock the swap
# gives up: a session that has waited for deadlock_timeout is the one that is killed (storage/lmgr/proc.c, ProcSleep).
_BOUND_LOCKS = """
    SELECT set_config('lock_timeout', greatest(1, least(200, setting::int / 4)) || 'ms', false)
      FROM pg_settings WHERE name = 'deadlock_timeout'
"""
# lock_not_available, deadlock_detected
_HELD = ("55P03", "40P01")

# Prepared transactions of swaps on the data nodes, with the prefix of the operation and the database.
_PREPARED = f"""
    SELECT gid, substring(gid FROM '^{PREFIX}[0-9a-f]{{12}}'), database FROM ({PREPARED}) ours ORDER BY gid
"""
# Closed to all others since the copy was complete (table_load.py).
_WAITING = f"""
    SELECT FROM pg_namespace WHERE starts_with(nspname, %s) AND nspowner = '{session.SUPERUSER}'::regrole
"""
# An autovacuum gives way to sessions that have waited for deadlock_timeout. We wait less, so we have to end it.
_HOLDERS = """
    SELECT n.nspname, c.relname, coalesce(a.usename, a.backend_type, 'a prepared transaction'), l.pid,
           CASE WHEN a.backend_type = 'autovacuum worker' THEN pg_cancel_backend(l.pid) END
      FROM pg_locks l
      JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'relation' AND l.granted
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
     ORDER BY n.nspname, c.relname, l.pid
"""


@dataclass(frozen=True)
class Share:
    """The tables to swap in on one node."""

    hidden: tuple[Hidden, ...]
    tables: tuple[Placed, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Share":
        return cls(
            tuple(Hidden(**one) for one in said["hidden"]),
            tuple(Placed(**{**one, "target": TableName(**one["target"])}) for one in said["tables"]),
        )


Shares = Mapping[str, Share]
"""By the node's name."""


def exchange(nodes: Sequence[Node], database: str, prefix: str, shares: Shares) -> list[str]:
    """Try once, and `settle` the result. Returns notes on things lost with the old tables.

    Raises TablesHeld when another try is worth it, RestoreFailed when not. In both cases nothing has changed.
    """
    coordinator = next(node for node in nodes if node.role is Role.CN)
    with ExitStack() as stack:
        awake: dict[Connection, list[tuple[str, str]]] = {}

        def begin(node: Node) -> Connection:
            connection = stack.enter_context(unseen(node, database, prefix, _LIMITS))
            connection.execute(_BOUND_LOCKS)
            connection.execute("BEGIN")
            awake[connection] = disable_event_triggers(connection)
            return connection

        # The coordinator comes first: its writers have ended then, on the data nodes too.
        main = begin(coordinator)
        with _in_words(coordinator, database, [one.target for one in shares[coordinator.name].tables]):
            standing = lock_standing(main, [one.target for one in shares[coordinator.name].tables])
            doomed = _foreign_below(main, standing, nodes)
        notes: list[str] = []
        prepared: list[tuple[Node, Connection]] = []
        moved: dict[tuple[str, TableName], TableName] = {}
        for node in nodes:
            old = [one.remote for one in doomed if one.node == node.name]
            if node is not coordinator and (old or node.name in shares):
                connection = begin(node)
                prepared.append((node, connection))
                with _in_words(node, database, old):
                    found = lock_standing(connection, old)
                    for one in doomed:
                        if one.node == node.name:
                            check_reach(connection, [one.remote], one.roles)
                    notes += drop(connection, found)
                    moved |= _place(connection, node, shares.get(node.name, Share((), ())))
        with _in_words(coordinator, database, []):
            notes += drop(main, standing)
            _lead(main, nodes, shares[coordinator.name], moved)
            _place(main, coordinator, shares[coordinator.name])
        for node, connection in prepared:
            with _in_words(node, database, []):
                enable_event_triggers(connection, awake[connection])
                connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(_gid(prefix, node))))
        with _in_words(coordinator, database, []):
            enable_event_triggers(main, awake[main])
            main.execute("COMMIT")
    return notes


def _place(connection: Connection, node: Node, share: Share) -> dict[tuple[str, TableName], TableName]:
    """Each of the node's tables: its name in the snapshot, and its name now."""
    lay = {one.name: one.schema for one in share.hidden}
    now = place(connection, share.hidden, share.tables)
    return {
        (node.name, TableName(lay[one.hidden], one.table)): name
        for one, name in zip(share.tables, now, strict=True)
    }


def _lead(
    connection: Connection,
    nodes: Sequence[Node],
    share: Share,
    moved: Mapping[tuple[str, TableName], TableName],
) -> None:
    """Point the copied partitions to the data nodes' tables, by the names that these have now."""
    copied = hidden_tables(connection, share.tables)
    for foreign in _foreign_below(connection, copied, nodes):
        if (foreign.node, foreign.remote) not in moved:
            raise RestoreFailed(f"{foreign.remote} of node {foreign.node} was not restored")
        point(connection, foreign, moved[foreign.node, foreign.remote])


def _foreign_below(connection: Connection, roots: Sequence[int], nodes: Sequence[Node]) -> list[ForeignTable]:
    return foreign_tables(connection, [relation for relation, _ in trees(connection, roots)], nodes)


def settle(nodes: Sequence[Node]) -> None:
    """End each prepared swap on the data nodes as the coordinator has decided.

    The caller must hold the cluster. If it is killed, the next call finishes it. Raises NodeUnreachable.
    """
    for node in nodes:
        with (
            session.refusing_as(NodeUnreachable, node),
            closing(session.connect(node, "postgres")) as connection,
        ):
            # A session of a killed service may be in its commit. The outcome is known only when it is gone.
            end_sessions(node, connection)
    coordinator = next(node for node in nodes if node.role is Role.CN)
    for node in nodes:
        with session.refusing_as(NodeUnreachable, node):
            with closing(session.connect(node, "postgres")) as connection:
                prepared = connection.execute(_PREPARED).fetchall()
            for gid, of_prefix, where in prepared:
                waits = is_waiting(coordinator, where, of_prefix)
                verdict = sql.SQL("ROLLBACK PREPARED {}" if waits else "COMMIT PREPARED {}")
                with closing(session.connect(node, where)) as connection:
                    connection.execute(verdict.format(sql.Literal(gid)))


def is_waiting(coordinator: Node, database: str, prefix: str) -> bool:
    """Whether an operation's copy still waits for its swap. `settle` comes before, so that this is final."""
    with closing(session.connect(coordinator, database)) as connection:
        return bool(connection.execute(_WAITING.encode(), [f"{prefix}_"]).fetchall())


def _gid(prefix: str, node: Node) -> str:
    return f"{prefix}_{node.name}"


@contextmanager
def _in_words(node: Node, database: str, tables: Sequence[TableName]) -> Iterator[None]:
    """Turn a server's errors into ours; TablesHeld when another session holds one of `tables`."""
    try:
        with session.refusing_as(RestoreFailed, node):
            yield
    except NodeUnreachable as error:
        cause = error.__cause__
        if not isinstance(cause, session.Error) or cause.sqlstate not in _HELD:
            raise
        schemas, names = [one.schema for one in tables], [one.table for one in tables]
        with closing(session.connect(node, database)) as connection:
            held = connection.execute(_HOLDERS, [schemas, names]).fetchall()
        who = dict.fromkeys(f"{schema}.{table} by {user} (pid {pid})" for schema, table, user, pid, _ in held)
        raise TablesHeld(
            f"node {node.name}: tables are in use: {'; '.join(who) or cause}",
            hint="end the sessions that use them, and ask again",
        ) from error
