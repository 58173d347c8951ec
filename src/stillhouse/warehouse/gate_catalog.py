"""What a coordinator's catalog says about distributed writes: what to gate, who is in the way, who writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillhouse.domain.cluster import Node
from stillhouse.postgres.session import Connection


class Mode(StrEnum):
    """How firmly a partition root is locked; plain reads pass both."""

    SHARE = "SHARE"
    # Also holds off SELECT ... FOR UPDATE, which takes a transaction id on a data node
    # while it holds nothing on the coordinator that conflicts with SHARE.
    EXCLUSIVE = "EXCLUSIVE"


# What each mode waits for: the lock conflict table of PostgreSQL (storage/lmgr/lock.c, LockConflicts).
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
}

# By handler, since the wrapper itself may be created under any name.
_SERVERS = """
    SELECT s.oid,
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'hostaddr'),
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'host'),
           (SELECT option_value FROM pg_options_to_table(s.srvoptions) WHERE option_name = 'port')
      FROM pg_foreign_server s
      JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
      JOIN pg_proc h ON h.oid = w.fdwhandler
     WHERE h.proname = 'postgres_fdw_handler'
"""

# A session says what it does when it begins to, and when it has done: one that is at rest, and has not said anything
# since, has ended no transaction in between (utils/activity/backend_status.c). A look is a transaction of its own, or
# it would show what an earlier one has seen.
_INSIDE = """
    SELECT pid, coalesce(usename, backend_type), state_change, NULL, coalesce(state LIKE 'idle%%', false)
      FROM pg_stat_activity
     WHERE datid = ANY(%s) AND backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
     ORDER BY pid
"""

_GATED = """
    SELECT c.oid, format('%%I.%%I', n.nspname, c.relname), c.relkind = 'f'
      FROM (SELECT DISTINCT CASE WHEN f.relispartition THEN pg_partition_root(f.oid)::oid ELSE f.oid END
              FROM pg_foreign_table t JOIN pg_class f ON f.oid = t.ftrelid
             WHERE t.ftserver = ANY(%s)) AS gated (oid)
      JOIN pg_class c USING (oid)
      JOIN pg_namespace n ON n.oid = c.relnamespace
     ORDER BY c.oid
"""

# A mapping for PUBLIC that names no user lets anyone through under his own name: NULL.
_REMOTE_USERS = """
    SELECT DISTINCT coalesce(o.option_value, r.rolname)
      FROM pg_user_mapping m
      LEFT JOIN LATERAL pg_options_to_table(m.umoptions) o ON o.option_name = 'user'
      LEFT JOIN pg_roles r ON r.oid = m.umuser
     WHERE m.umserver = ANY(%s)
"""

# A prepared transaction holds locks under virtual transaction -1/<xid> and has no process.
_HOLDERS = """
    SELECT DISTINCT l.pid, coalesce(a.usename, p.owner), coalesce(a.query_start, p.prepared), p.gid
      FROM pg_locks l
      LEFT JOIN pg_stat_activity a ON a.pid = l.pid
      LEFT JOIN pg_prepared_xacts p
        ON l.pid IS NULL AND p.transaction::text = split_part(l.virtualtransaction, '/', 2)
     WHERE l.locktype = 'relation' AND l.granted AND l.mode = ANY(%(modes)s)
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.relation IN (SELECT unnest(%(tables)s::oid[])
                          UNION ALL
                          SELECT t.relid FROM unnest(%(tables)s::oid[]) r, pg_partition_tree(r) t)
       AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND coalesce(a.xact_start, p.prepared, '-infinity') <= clock_timestamp() - make_interval(secs => %(age)s)
     ORDER BY 1
"""

# backend_xid is set while a transaction that has an id of its own runs, and cleared only after its commit
# record is in the WAL (ProcArrayEndTransaction). backend_xmin is of no use here: every reader has one. Where
# track_activities is off, nobody knows since when a transaction runs.
_WRITERS = """
    SELECT pid, usename, query_start, NULL
      FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
       AND (%(anyone)s OR usename = ANY(%(users)s))
       AND coalesce(xact_start, '-infinity') <= clock_timestamp() - make_interval(secs => %(age)s)
     ORDER BY 1
"""


Address = tuple[str, int]


@dataclass(frozen=True)
class Server:
    """A foreign server, and the addresses it may stand for."""

    oid: int
    addresses: frozenset[Address]


@dataclass(frozen=True)
class Gated:
    """One thing to lock: a partition root, or a foreign table that is nobody's partition."""

    oid: int
    name: str
    foreign: bool


@dataclass(frozen=True)
class Holder:
    """Someone in the way, as an operator looks for him in pg_stat_activity."""

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
        Server(oid, frozenset((host, int(port or 5432)) for host in (hostaddr, host) if host))
        for oid, hostaddr, host, port in connection.execute(_SERVERS).fetchall()
    ]


def leading_to(nodes: Sequence[Node], servers: Sequence[Server]) -> list[int]:
    """The servers of one database through which `nodes` may be written: those with a node's address.

    Addresses are compared as written. Where a node is left without a server, one with an address that is no
    node's may be that node under another name. It counts too: to gate a stranger costs milliseconds, to
    overlook a node makes the cut false.
    """
    addresses = {(node.host, node.port) for node in nodes}
    sure = [server for server in servers if server.addresses & addresses]
    named = frozenset[Address]().union(*(server.addresses for server in sure))
    return [server.oid for server in (sure if addresses <= named else servers)]


def gated_tables(connection: Connection, servers: Sequence[int]) -> tuple[Gated, ...]:
    """What must be locked so that nothing is written through `servers`, in OID order."""
    return tuple(Gated(*row) for row in connection.execute(_GATED, [list(servers)]).fetchall())


def remote_users(connection: Connection, servers: Sequence[int]) -> frozenset[str | None]:
    """The names under which this database's users log in through `servers`; None stands for any name."""
    return frozenset(name for (name,) in connection.execute(_REMOTE_USERS, [list(servers)]).fetchall())


def sessions_in(connection: Connection, databases: Sequence[int]) -> tuple[list[Holder], list[Holder]]:
    """Who is in these databases (oids): those at rest, with the moment since when they are, and those at work."""
    rows = connection.execute(_INSIDE, [list(databases)]).fetchall()
    at_rest = [Holder(*row) for *row, is_at_rest in rows if is_at_rest]
    return at_rest, [Holder(*row) for *row, is_at_rest in rows if not is_at_rest]


def lock_holders(connection: Connection, tables: Sequence[Gated], mode: Mode, *, age: float) -> list[Holder]:
    """Transactions at least `age` seconds old whose locks on `tables` or their partitions conflict."""
    asked = {"modes": _CONFLICTS[mode], "tables": [table.oid for table in tables], "age": age}
    return [Holder(*row) for row in connection.execute(_HOLDERS, asked).fetchall()]


def remote_writers(connection: Connection, users: frozenset[str | None], *, age: float) -> list[Holder]:
    """Transactions with an id on this data node that may come from the coordinator's postgres_fdw.

    They are told by their user, the one thing that the coordinator's catalog vouches for: a session's
    `application_name` is whatever `postgres_fdw.application_name` (any user may set it) or the server's
    option says, and its address is shared by everything on the coordinator's host. A person who writes on the
    node under a mapped user's name is therefore waited for too: that costs a try, never the cut's truth.
    """
    asked = {"anyone": None in users, "users": [name for name in users if name is not None], "age": age}
    return [Holder(*row) for row in connection.execute(_WRITERS, asked).fetchall()]
