"""Queries on a coordinator's catalog about distributed writes: tables to gate, sessions in the way, writers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import repeat
from statistics import median
from typing import LiteralString

from stillhouse.clock import Clock
from stillhouse.domain.cluster import Node
from stillhouse.errors import StateForbids
from stillhouse.postgres.sessions.grants import MAINTAIN_SINCE
from stillhouse.postgres.sessions.session import Connection, Error, sql
from stillhouse.warehouse.gate.lock_plan import Gated, LockTable, roots

BLIND = "the role does not see what other sessions do: it lacks pg_monitor"


class Blind(StateForbids):
    """Our role cannot see what the gate has to see."""


class Mode(StrEnum):
    """How firmly a partition root is locked. Plain reads pass both modes."""

    SHARE = "SHARE"
    # Also holds off SELECT ... FOR UPDATE, which takes a transaction id on a data node while it holds no lock on the
    # coordinator that conflicts with SHARE.
    EXCLUSIVE = "EXCLUSIVE"
    # Conflicts only with dropping or rewriting a table: the other modes are rehearsed with it.
    REHEARSAL = "ACCESS SHARE"


# The locks that each mode waits for, by PostgreSQL's lock conflict table (storage/lmgr/lock.c, LockConflicts).
_AGAINST_WRITERS = [
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
]
_CONFLICTS = {
    Mode.SHARE: _AGAINST_WRITERS,
    Mode.EXCLUSIVE: [*_AGAINST_WRITERS, "RowShareLock", "ShareLock"],
    Mode.REHEARSAL: ["AccessExclusiveLock"],
}

# Servers are found by their handler, since the wrapper itself may be created under any name.
_SERVERS = """
    SELECT s.oid, s.srvname,
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'hostaddr'),
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'host'),
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'port')
      FROM pg_foreign_server s
      JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
      JOIN pg_proc h ON h.oid = w.fdwhandler
     WHERE h.proname = 'postgres_fdw_handler'
"""

# A session reports its state when it begins to work and when it ends. A session at rest that has reported nothing
# since has ended no transaction in between (utils/activity/backend_status.c). Each look is a separate transaction:
# otherwise it would show the state seen by an earlier look.
_INSIDE = """
    SELECT pid, coalesce(usename, backend_type), state_change, NULL, coalesce(state LIKE 'idle%%', false)
      FROM pg_stat_activity
     WHERE datid = ANY(%s)
       AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
     ORDER BY pid
"""

# These are separate queries, joined in Python. One recursive query took from 0.1 s to many seconds, since the planner
# can only guess about a catalog that was never analysed.
_FOREIGN = "SELECT ftrelid FROM pg_foreign_table WHERE ftserver = ANY(%s)"
_PARTITIONED = "SELECT partrelid FROM pg_partitioned_table"
# Partitions are followed as LOCK does: pg_partition_root() stops at one that is being detached, LOCK does not.
_INHERITS = "SELECT inhrelid, inhparent FROM pg_inherits"
# The schema's `xmin` changes with each change of the schema, even a change to a new name and back.
_NAMED = """
    SELECT c.oid, format('%%I.%%I', n.nspname, c.relname), c.relkind = 'f', n.oid || ' ' || n.xmin
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY(%s)
     ORDER BY c.oid
"""

_OTHER_TABLES = """
    SELECT name FROM unnest(%s::text[], %s::oid[]) AS known (name, oid) WHERE to_regclass(name) IS DISTINCT FROM oid
"""

# A digest of everything that decides which tables are gated: sums of hashes, in any order. 80,000 partitions take 8
# ms. It leaves out names of tables: they are compared when the tables are locked, and cannot change from then on.
_DIGEST = """
    SELECT concat_ws(' ',
        (SELECT count(*) || ' ' || sum(hashoidextended(ftrelid, ftserver::bigint)) FROM pg_foreign_table),
        (SELECT count(*) || ' ' || sum(hashoidextended(inhrelid, inhparent::bigint * 2 + inhdetachpending::int))
           FROM pg_inherits),
        (SELECT sum(hashtextextended(xmin::text, oid::bigint)) FROM pg_namespace WHERE nspname !~ '^pg_'),
        (SELECT sum(hashoidextended(fdwhandler, oid::bigint)) FROM pg_foreign_data_wrapper),
        (SELECT sum(hashtextextended(concat(srvfdw, srvoptions), oid::bigint)) FROM pg_foreign_server),
        (SELECT sum(hashtextextended(concat(umserver, ' ', umuser, umoptions), oid::bigint)) FROM pg_user_mapping),
        (SELECT sum(hashtextextended(rolname, oid::bigint)) FROM pg_roles))
"""

# Fast-path locks are not in the shared table. SIRead locks have a separate table.
_LOCK_TABLE = """
    SELECT current_setting('max_locks_per_transaction')::int,
           current_setting('max_connections')::int,
           current_setting('max_prepared_transactions')::int,
           (SELECT count(*) FROM pg_locks WHERE NOT fastpath AND mode <> 'SIReadLock')
"""

# Catalogs that are written rarely and briefly: locking them in SHARE mode disturbs no one.
_QUIET = ["pg_cast", "pg_conversion", "pg_language", "pg_range", "pg_transform", "pg_ts_config", "pg_ts_dict"]
_TURNS = 10
_SECONDS_PER_CONNECTION = 1e-7
_DENIED = "42501"  # SQLSTATE insufficient_privilege

# A mapping for PUBLIC without a user lets everyone through under his own name: NULL.
_REMOTE_USERS = """
    SELECT DISTINCT coalesce(o.option_value, r.rolname)
      FROM pg_user_mapping m
      LEFT JOIN LATERAL pg_options_to_table(m.umoptions) o ON o.option_name = 'user'
      LEFT JOIN pg_roles r ON r.oid = m.umuser
     WHERE m.umserver = ANY(%s)
"""

# A prepared transaction has no process. Its locks carry the virtual transaction as which it was prepared, or -1/<xid>
# after a restart (twophase.c, MarkAsPreparingGuts). The lock on its own id is among them and identifies it. A session
# that waits for a lock is in the way just as the lock's owner is: requests are granted in turn (lock.c,
# LockAcquireExtended). The query goes from the locked partitions up to their roots, which are few: pg_partition_tree()
# of each root would lock all.
_HOLDERS = """
    WITH RECURSIVE held AS MATERIALIZED (
        SELECT l.relation, l.pid, coalesce(a.usename, p.owner) AS owner,
               coalesce(a.query_start, p.prepared) AS since, p.gid
          FROM pg_locks l
          LEFT JOIN pg_stat_activity a ON a.pid = l.pid
          LEFT JOIN pg_locks own
            ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
               AND own.virtualtransaction = l.virtualtransaction
          LEFT JOIN pg_prepared_xacts p ON p.transaction = own.transactionid
         WHERE l.locktype = 'relation' AND l.mode = ANY(%(modes)s)
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.pid IS DISTINCT FROM pg_backend_pid()
           AND coalesce(a.xact_start, p.prepared, '-infinity') <= clock_timestamp() - make_interval(secs => %(age)s)
    ), above (relation, oid) AS (
        SELECT DISTINCT relation, relation FROM held
        UNION
        SELECT b.relation, i.inhparent FROM above b JOIN pg_inherits i ON i.inhrelid = b.oid
    )
    SELECT DISTINCT h.pid, h.owner, h.since, h.gid
      FROM held h JOIN above b USING (relation)
     WHERE b.oid IN (SELECT unnest(%(tables)s::oid[]))
     ORDER BY 1
"""

# backend_xid is set while a transaction with an id runs, and cleared only after its commit record is in the WAL
# (ProcArrayEndTransaction). backend_xmin is of no use here: every reader has one. With track_activities off, the start
# of a transaction is unknown. A session that is hidden from our role has no type (pgstatfuncs.c, pg_stat_get_activity).
_WRITERS = """
    SELECT pid, usename, query_start, NULL, backend_type IS NULL
      FROM pg_stat_activity
     WHERE backend_type IS NULL
        OR (backend_type = 'client backend' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
            AND (%(anyone)s OR usename = ANY(%(users)s))
            AND coalesce(xact_start, '-infinity') <= clock_timestamp() - make_interval(secs => %(age)s))
     ORDER BY 1
"""

# The right that each lock wants: LockTableAclCheck in commands/lockcmds.c, ATSimplePermissions in tablecmds.c.
_NOT_OURS_TO_LOCK = """
    SELECT known.name, known.lone, pg_get_userbyid(c.relowner)
      FROM unnest(%s::text[], %s::oid[], %s::boolean[]) AS known (name, oid, lone)
      JOIN pg_class c ON c.oid = known.oid
     WHERE NOT CASE WHEN known.lone THEN pg_has_role(c.relowner, 'USAGE')
                    ELSE has_table_privilege(c.oid, %s) END
     ORDER BY known.name
"""


Address = tuple[str, int]


@dataclass(frozen=True)
class Wiring:
    """One database's catalog: the tables that must be locked, in OID order, and the users under whom it writes.

    `digest` differs when anything in here may have changed.
    """

    digest: str
    is_wired: bool
    tables: tuple[Gated, ...]
    users: frozenset[str | None]


@dataclass(frozen=True)
class Server:
    """A foreign server, and the addresses it may stand for."""

    oid: int
    name: str
    addresses: frozenset[Address]


@dataclass(frozen=True)
class Holder:
    """A session or transaction in the way, as an operator looks for it in pg_stat_activity."""

    pid: int | None
    user: str
    query_start: datetime
    prepared: str | None

    def __str__(self) -> str:
        if self.prepared is not None:
            return f"prepared transaction {self.prepared!r} of user {self.user} since {self.query_start}"
        return f"pid {self.pid}, user {self.user}, query started {self.query_start}"


def fdw_servers(connection: Connection) -> list[Server]:
    """Every postgres_fdw server of this database."""
    return [
        Server(
            oid, name, frozenset(address for given in (hostaddr, host) for address in addresses(given, port))
        )
        for oid, name, hostaddr, host, port in connection.execute(_SERVERS).fetchall()
    ]


def addresses(hosts: str | None, ports: str | None) -> Iterator[Address]:
    """The addresses in options of libpq: hosts and ports may be lists, and one port stands for all hosts."""
    names = [name.strip() for name in hosts.split(",")] if hosts else []
    numbers = [port.strip() for port in ports.split(",")] if ports else []
    for name, port in zip(
        names, numbers if len(numbers) > 1 else numbers * len(names) or repeat(""), strict=False
    ):
        if name and (not port or port.isdecimal()):
            yield name, int(port or 5432)


def leading_to(nodes: Sequence[Node], servers: Sequence[Server]) -> list[int]:
    """The servers of one database through which `nodes` may be written: the servers with a node's address.

    Addresses are compared as written. If a node has no server, a server with an unknown address may be that node under
    another name. It counts too: gating a server too many costs milliseconds, overlooking a node makes the cut false.
    """
    every = frozenset[Address]().union(*(node.addresses for node in nodes))
    sure = [server for server in servers if server.addresses & every]
    named = frozenset[Address]().union(*(server.addresses for server in sure))
    return [server.oid for server in (sure if all(node.addresses & named for node in nodes) else servers)]


def gated_tables(connection: Connection, servers: Sequence[int]) -> tuple[Gated, ...]:
    """The tables to lock so that nothing is written through `servers`, in OID order."""

    def column(query: LiteralString, *given: object) -> list[int]:
        return [oid for (oid,) in connection.execute(query, given or None).fetchall()]

    foreign = column(_FOREIGN, list(servers)) if servers else []
    if not foreign:
        return ()
    inherits = [(child, parent) for child, parent in connection.execute(_INHERITS).fetchall()]
    sizes = roots(foreign, inherits, frozenset(column(_PARTITIONED)))
    named = connection.execute(_NAMED, [list(sizes)]).fetchall()
    return tuple(Gated(oid, name, is_foreign, sizes[oid], schema) for oid, name, is_foreign, schema in named)


def read_wiring(connection: Connection, nodes: Sequence[Node]) -> Wiring:
    """How this database is wired to `nodes`. The digest is read first, so that later changes are noticed."""
    seen = digest(connection)
    servers = leading_to(nodes, fdw_servers(connection))
    return Wiring(seen, bool(servers), gated_tables(connection, servers), remote_users(connection, servers))


def digest(connection: Connection) -> str:
    """The digest alone: it takes a twentieth of the time of a full read."""
    return str(connection.execute(_DIGEST).fetchall()[0][0])


def lock_table(connection: Connection) -> LockTable:
    return LockTable(*connection.execute(_LOCK_TABLE).fetchall()[0])


def lock_statement(connection: Connection, tables: Sequence[Gated], mode: Mode) -> str:
    """One statement that locks all of `tables`, so that `statement_timeout` bounds it.

    LOCK takes a root's foreign partitions with it but refuses a foreign table by name. This ALTER takes SHARE ROW
    EXCLUSIVE on it (tablecmds.c, AlterTableGetLockLevel) and is undone by the roll-back. It cannot be rehearsed.
    """
    roots = [table.name for table in tables if not table.foreign]
    lone = [table.name for table in tables if table.foreign and mode is not Mode.REHEARSAL]
    statements = [f"LOCK TABLE {', '.join(roots)} IN {mode} MODE"] if roots else []
    statements += [f"ALTER FOREIGN TABLE ONLY {name} DISABLE TRIGGER USER" for name in lone]
    if len(statements) < 2:
        return "".join(statements)
    block = f"BEGIN {'; '.join(statements)}; END"
    return f"DO {sql.as_text(sql.Literal(block), connection)}"


def other_tables(connection: Connection, tables: Sequence[Gated]) -> str:
    """The `tables` that have lost their names to other tables."""
    asked = [[table.name for table in tables], [table.oid for table in tables]]
    return ", ".join(name for (name,) in connection.execute(_OTHER_TABLES, asked).fetchall())


@dataclass(frozen=True)
class NotOurs:
    """A table that our role may not lock. It is `lone` if it is a foreign table that is nobody's partition."""

    name: str
    lone: bool
    owner: str


def not_ours_to_lock(connection: Connection, tables: Sequence[Gated]) -> list[NotOurs]:
    """The `tables` that our role may not lock as the gate does: a superuser may lock all."""
    right = "MAINTAIN" if connection.info.server_version >= MAINTAIN_SINCE else "UPDATE, DELETE, TRUNCATE"
    asked = [[getattr(table, name) for table in tables] for name in ("name", "oid", "foreign")]
    return [NotOurs(*row) for row in connection.execute(_NOT_OURS_TO_LOCK, [*asked, right]).fetchall()]


def strong_lock_seconds(connection: Connection, clock: Clock) -> float:
    """How much longer a SHARE lock takes than a weak one, in a transaction that is rolled back.

    For each SHARE lock the server searches the fast-path locks of every possible backend (lock.c,
    FastPathTransferRelationLocks). So this grows with max_connections: 2 microseconds with 100. Where our role may not
    lock a catalog, it is five times that.
    """

    def seconds(mode: Mode) -> float:
        connection.execute("BEGIN")
        begun = clock.monotonic()
        connection.execute(
            f"LOCK TABLE {', '.join(f'pg_catalog.{name}' for name in _QUIET)} IN {mode} MODE".encode()
        )
        taken = clock.monotonic() - begun
        connection.execute("ROLLBACK")
        return taken

    # The modes alternate, so that load meets both; load is part of the measurement.
    try:
        more = median(seconds(Mode.SHARE) - seconds(Mode.REHEARSAL) for _ in range(_TURNS))
    except Error as error:
        if error.sqlstate != _DENIED:
            raise
        connection.execute("ROLLBACK")
        return lock_table(connection).connections * _SECONDS_PER_CONNECTION
    return max(more, 0.0) / len(_QUIET)


def remote_users(connection: Connection, servers: Sequence[int]) -> frozenset[str | None]:
    """The names under which this database's users log in through `servers`; None stands for any name."""
    return frozenset(name for (name,) in connection.execute(_REMOTE_USERS, [list(servers)]).fetchall())


def sessions_in(connection: Connection, databases: Sequence[int]) -> tuple[list[Holder], list[Holder]]:
    """The sessions in these databases (oids): first those at rest, with the time since when, then those at work."""
    rows = connection.execute(_INSIDE, [list(databases)]).fetchall()
    at_rest = [Holder(*row) for *row, is_at_rest in rows if is_at_rest]
    return at_rest, [Holder(*row) for *row, is_at_rest in rows if not is_at_rest]


def lock_holders(connection: Connection, tables: Sequence[Gated], mode: Mode, *, age: float) -> list[Holder]:
    """Transactions at least `age` seconds old that hold or await conflicting locks on `tables` or their partitions."""
    asked = {"modes": _CONFLICTS[mode], "tables": [table.oid for table in tables], "age": age}
    return [Holder(*row) for row in connection.execute(_HOLDERS, asked).fetchall()]


def remote_writers(connection: Connection, users: frozenset[str | None], *, age: float) -> list[Holder]:
    """Transactions with an id on this data node that may come from the coordinator's postgres_fdw.

    They are recognised by their user, the only thing that the coordinator's catalog guarantees. A session's
    `application_name` can be any value, set by `postgres_fdw.application_name` (any user may set it) or by the
    server's option. Its address is shared by everything on the coordinator's host. So a person who writes on the node
    under a mapped user's name is waited for too: that costs a try, never the cut's truth. Raises Blind if a session is
    hidden from our role: no writers would then prove nothing.
    """
    asked = {"anyone": None in users, "users": [name for name in users if name is not None], "age": age}
    found = connection.execute(_WRITERS, asked).fetchall()
    if any(is_hidden for *_, is_hidden in found):
        raise Blind(BLIND)
    return [Holder(*row) for *row, _ in found]


def sees_all(connection: Connection) -> bool:
    """Whether no session is hidden from our role."""
    return bool(connection.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE')").fetchall()[0][0])


def named(holders: Sequence[Holder]) -> str:
    return "; ".join(str(holder) for holder in holders)
