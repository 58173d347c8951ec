"""Reading what tenants own: as our reader, who is no superuser, and never anything but the very relation meant.

Between two statements of ours a tenant may rename a table, or its schema, and put in its place a view that calls his
function. So a relation is looked at only while a lock holds it fast, and the lock is that of its number, not its name.
Nothing here makes a superuser plan or run a statement over a tenant's relation.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, NodeUnreachable, TableReplaced, shown
from stillhouse.postgres import databases, session
from stillhouse.postgres.databases import MAINTENANCE, Database, databases_of
from stillhouse.postgres.releases import why_too_old
from stillhouse.postgres.roles import grant_connect
from stillhouse.postgres.session import READER, Connection, sql

# A view or a foreign table of a user's is refused before any function in it is called.
_RESTRICT = "SET restrict_nonsystem_relation_kind = 'view, foreign-table'"
_IS_RESTRICTED = (
    "is restricted"  # rewrite/rewriteHandler.c and foreign/foreign.c; our sessions' lc_messages is C
)

# By number, and as of now even if the transaction's snapshot is older: these functions use the system's caches. The
# locks are all that the session holds, also those that the planner took.
_LOCKED = """
    SELECT DISTINCT l.relation = {oid}, o.type, o.identity
      FROM pg_catalog.pg_locks l
     CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, l.relation, 0) o
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
       AND (l.relation = {oid} OR l.relation >= 16384)
"""
_NAMESAKE = """
    SELECT o.type FROM (SELECT pg_catalog.to_regclass({name})::pg_catalog.oid) now (oid)
     CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, now.oid, 0) o
     WHERE now.oid IS NOT NULL AND (now.oid <> {oid} OR o.type <> {type})
"""
_TYPES = {"r": "table", "m": "materialized view", "S": "sequence"}
# The other things that a relation brings with it.
_BELONG_TO_IT = ("index", "toast table")


@dataclass(frozen=True)
class Named:
    """A relation as it was listed; `kind` is pg_class's letter for it: r, m or S."""

    oid: int
    schema: str
    name: str
    kind: str

    def __str__(self) -> str:
        return shown(f"{self.schema}.{self.name}")

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def enter_as_reader(
    node: Node,
    database: Database,
    *,
    autocommit: bool = True,
    application_name: str = "stillhouse",
    settings: Mapping[str, str] | None = None,
) -> Connection:
    """A session of the reader's in that very database.

    Where its owner has taken from everyone the right to connect, the reader is given it. Raises as `enter` does, and
    DatabaseClosed on a server that is too old.
    """
    connection = databases.enter(
        node,
        _open_to_reader(node, database),
        application_name=application_name,
        settings=settings,
        role=READER,
    )
    try:
        if too_old := why_too_old(connection.info.server_version):
            raise DatabaseClosed(
                f"node {node.name}: {too_old}", hint="update PostgreSQL, and restart the cluster"
            )
        connection.execute(_RESTRICT)
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def only(connection: Connection, relation: Named) -> Iterator[None]:
    """Within the block the relation's name means this relation; if it does not, the read does not count.

    The caller's transaction, or sub-transaction, must have locked nothing else; it holds the lock until its end. Raises
    TableReplaced.
    """
    try:
        # Materialised views and sequences cannot be locked by name: the read's own lock has to do.
        if relation.kind == "r":
            lock = sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(relation.identifier)
            connection.execute(lock)
            _check(connection, relation)
        yield
    except session.Error as error:
        if isinstance(error, psycopg.errors.WrongObjectType) or _IS_RESTRICTED in str(error):
            raise _replaced(relation, str(error).partition("\n")[0]) from error
        raise
    _check(connection, relation)


def check_name(connection: Connection, relation: Named) -> None:
    """After a read that failed, in a session that sees the present: raise TableReplaced if the name is another's."""
    query = sql.SQL(_NAMESAKE).format(
        name=sql.Literal(relation.identifier.as_string(connection)),
        oid=sql.Literal(relation.oid),
        type=sql.Literal(_TYPES[relation.kind]),
    )
    for (kind,) in connection.execute(query).fetchall():
        raise _replaced(relation, f"there is now another {kind}")


def _open_to_reader(node: Node, database: Database) -> Database:
    if not database.reader_barred:
        return database
    with suppress(session.Error, NodeUnreachable):  # then it stays barred, and it is said why
        with closing(session.connect(node, MAINTENANCE)) as connection:
            grant_connect(connection)
        return next((one for one in databases_of(node) if one.oid == database.oid), database)
    return database


def _check(connection: Connection, relation: Named) -> None:
    query = sql.SQL(_LOCKED).format(oid=sql.Literal(relation.oid))
    found = connection.execute(query).fetchall()
    if (kinds := [kind for is_meant, kind, _ in found if is_meant]) != [_TYPES[relation.kind]]:
        raise _replaced(relation, f"it is now a {kinds[0]}" if kinds else "its name is another's")
    for is_meant, kind, identity in found:
        if not is_meant and kind not in _BELONG_TO_IT:
            raise _replaced(relation, f"reading it also read {kind} {identity}")


def _replaced(relation: Named, how: str) -> TableReplaced:
    return TableReplaced(f"{relation} was replaced while it was read: {how}")
