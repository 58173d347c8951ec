"""The databases of a server, each of one kind, and sessions in them: all work on a whole server begins here.

docs/warehouse.md explains how a capture, a restore and a proof treat each kind. No kind of database makes them fail,
not even one that cannot be entered.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, NodeUnreachable, shown
from stillhouse.postgres.sessions import session, text
from stillhouse.postgres.sessions.session import READER, SUPERUSER, Connection

_TIMES_RENAMED = 5
# The database for our own work: every server has it from the beginning, and no tenant owns it.
MAINTENANCE = "postgres"

# A database that the service opened in a clone counts as closed until it is closed again.
_OPENED = "stillhouse.opened=on"
_DATABASES = """
    SELECT d.oid::bigint, namesend(d.datname),
           CASE WHEN d.datconnlimit = -2 THEN 'invalid'
                WHEN NOT d.datallowconn OR %(opened)s = ANY(s.setconfig) THEN 'closed'
                WHEN d.datistemplate THEN 'template' ELSE 'open' END,
           CASE WHEN NOT coalesce(has_database_privilege(r.oid, d.oid, 'CONNECT'), true)
                THEN 'its owner has taken the right to connect from ' || r.rolname
                WHEN d.datconnlimit = 0 THEN 'its connection limit is 0' ELSE '' END
      FROM pg_catalog.pg_database d
      LEFT JOIN pg_catalog.pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0
      LEFT JOIN pg_catalog.pg_roles r ON r.rolname = %(reader)s
     ORDER BY d.oid
"""
_THIS_ONE = "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database()"
# The server finds the name by its oid: our statements cannot hold a name that is not valid in this database.
_OPEN = """
    DO $$ BEGIN
        UPDATE pg_catalog.pg_database SET datallowconn = true WHERE oid = {oid};
        EXECUTE (SELECT pg_catalog.format('ALTER DATABASE %I SET stillhouse.opened = on', datname)
                   FROM pg_catalog.pg_database WHERE oid = {oid});
    END $$
"""
_SHUT = "UPDATE pg_catalog.pg_database SET datallowconn = false WHERE oid = {oid}"
_CLOSE = """
    DO $$ BEGIN
        UPDATE pg_catalog.pg_database SET datallowconn = false WHERE oid = {oid};
        EXECUTE (SELECT pg_catalog.format('ALTER DATABASE %I RESET stillhouse.opened', datname)
                   FROM pg_catalog.pg_database WHERE oid = {oid});
    END $$
"""


class Kind(StrEnum):
    OPEN = "open"
    TEMPLATE = "template"  # open too; new databases are copied from it, which waits until it has no sessions
    CLOSED = "closed"  # takes no new sessions; sessions in it may stay
    INVALID = "invalid"  # half dropped (datconnlimit -2): it takes no sessions, and can only be dropped


@dataclass(frozen=True)
class Database:
    """A database of a server. `name` may hold bytes that are not UTF-8, as lone surrogates.

    `reader_barred` says why our reader, which is no superuser, may not enter an open database. It is empty if no reason
    is known.
    """

    oid: int
    name: str
    kind: Kind
    reader_barred: str = ""

    def __str__(self) -> str:
        return shown(self.name)

    @property
    def is_pristine(self) -> bool:
        """Whether this is template0 (catalog/pg_database.dat), which holds nothing but the work of initdb."""
        return self.oid == 4

    @property
    def is_open(self) -> bool:
        return self.kind in (Kind.OPEN, Kind.TEMPLATE)


def list_databases(connection: Connection) -> list[Database]:
    """Return all databases, oldest first: one order for all services. `connection` is to any database of the server."""
    rows = connection.execute(_DATABASES, {"opened": _OPENED, "reader": READER}).fetchall()
    return [Database(oid, text.decode(name), Kind(kind), barred) for oid, name, kind, barred in rows]


def databases_of(node: Node) -> list[Database]:
    with closing(session.connect(node, MAINTENANCE)) as connection:
        return list_databases(connection)


def enter(
    node: Node,
    database: Database,
    *,
    autocommit: bool = True,
    application_name: str = "stillhouse",
    settings: Mapping[str, str] | None = None,
    role: str = SUPERUSER,
) -> Connection:
    """Return a session in that very database, even if it was renamed.

    Raises DatabaseClosed, with the reason, if only this database refuses us, and NodeUnreachable if every one does.
    """
    refused = ""
    for _ in range(_TIMES_RENAMED):
        if not database.is_open:
            raise DatabaseClosed(f"node {node.name}: database {database} is {database.kind}{refused}")
        if role == READER and database.reader_barred:
            raise DatabaseClosed(
                f"node {node.name}: {READER} cannot enter database {database}: {database.reader_barred}"
            )
        try:
            connection = session.connect(
                node,
                database.name,
                autocommit=True,
                application_name=application_name,
                settings=settings,
                role=role,
            )
        except NodeUnreachable as error:
            refused = f": {error.message}"
            database, before = _look_again(node, database, error), database
            if database == before:
                raise DatabaseClosed(
                    f"node {node.name}: database {database} cannot be entered: {error}"
                ) from error
            continue
        if _is_in(connection, database):
            connection.autocommit = autocommit
            return connection
        connection.close()
        database = _look_again(node, database, None)
    raise DatabaseClosed(f"node {node.name}: database {database} is renamed again and again")


@contextmanager
def reopened(node: Node, database: Database) -> Iterator[Database]:
    """Open a closed database of a clone for the time of the block. Only the service can enter, since the clone is in
    quarantine. Any other database is left as it is.

    A service that dies meanwhile leaves the database open, but marked as closed: the next call closes it.
    """
    if database.kind is not Kind.CLOSED:
        yield database
        return
    _alter(node, _OPEN, database)
    try:
        yield Database(database.oid, database.name, Kind.OPEN)
    finally:
        _alter(node, _CLOSE, database)


def shut(node: Node, database: Database) -> None:
    """Close a database of a clone to new sessions, because we could not look into it."""
    _alter(node, _SHUT, database)


def _alter(node: Node, command: str, database: Database) -> None:
    with closing(session.connect(node, MAINTENANCE)) as connection:
        connection.execute(command.format(oid=database.oid).encode())


def _look_again(node: Node, database: Database, error: NodeUnreachable | None) -> Database:
    """Find the database again by its oid. Raises `error` if the node does not answer in another database either."""
    if database.name == MAINTENANCE and error is not None:
        raise error
    for now in databases_of(node):
        if now.oid == database.oid:
            return now
    raise DatabaseClosed(f"node {node.name}: database {database} was dropped meanwhile") from error


def _is_in(connection: Connection, database: Database) -> bool:
    return connection.execute(_THIS_ONE).fetchall() == [(database.oid,)]
