"""Safe reading of tenants' relations: as our reader, which is no superuser, and only the very relation meant.

Between two of our statements a tenant may rename a table, or its schema, and put in its place a view that calls his
function. So a relation is read only under a lock, and the lock is checked by the relation's oid, not by its name.
Nothing here makes a superuser plan or run a statement over a tenant's relation.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, NodeUnreachable, TableReplaced, shown
from stillhouse.postgres.host.releases import why_too_old
from stillhouse.postgres.sessions import databases, session
from stillhouse.postgres.sessions.databases import MAINTENANCE, Database, databases_of
from stillhouse.postgres.sessions.roles import grant_connect
from stillhouse.postgres.sessions.session import READER, Connection, sql

# The server refuses a user's view or foreign table before it calls any function in it.
_RESTRICT = "SET restrict_nonsystem_relation_kind = 'view, foreign-table'"
_IS_RESTRICTED = (
    "is restricted"  # rewrite/rewriteHandler.c and foreign/foreign.c; our sessions' lc_messages is C
)

# Names by oid, as of now even if the transaction's snapshot is older, because these functions use the system's caches.
# All locks of the session are listed, also locks that the planner took.
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
# The objects that are read along with a relation.
_BELONG_TO_IT = ("index", "toast table")


@dataclass(frozen=True)
class Named:
    """A relation as it was listed. `kind` is its letter in pg_class: r, m or S."""

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
    """Return a session of the reader in that very database.

    If the owner has revoked everyone's right to connect, the reader is granted it. Raises as `enter` does, and
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
    """Guard a read of the relation by its name. Raises TableReplaced, before or after the block, if the name meant
    another relation: then the read is void.

    The caller's transaction, or sub-transaction, must have locked nothing else. It holds the lock until its end.
    """
    try:
        # Materialised views and sequences cannot be locked by LOCK TABLE, so the read's own lock must do.
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
    """Raise TableReplaced if another relation has the name now. Call it after a failed read, in a session that sees the
    present.
    """
    query = sql.SQL(_NAMESAKE).format(
        name=sql.Literal(sql.as_text(relation.identifier, connection)),
        oid=sql.Literal(relation.oid),
        type=sql.Literal(_TYPES[relation.kind]),
    )
    for (kind,) in connection.execute(query).fetchall():
        raise _replaced(relation, f"there is now another {kind}")


def _open_to_reader(node: Node, database: Database) -> Database:
    if not database.reader_barred:
        return database
    with suppress(session.Error, NodeUnreachable):  # then it stays barred, and `enter` says why
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
