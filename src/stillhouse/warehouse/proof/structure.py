"""The check that a restored node is sound: every page of tables reads, every row is known to its B-trees.

PostgreSQL's extension amcheck does it, called for each relation in our own session. pg_amcheck calls it too, but
passes on only the server's messages: a time-out, a missing right and a broken index look alike there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import LiteralString

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, NodeUnreachable, ProofFailed, shown
from stillhouse.postgres.files.corruption import first_line, tells_of_bad_data
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE, Kind, enter, list_databases, reopened
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.session import Connection, sql

_LONGEST_SECONDS = 24 * 3600.0
_MOST_OF_A_TABLE = 20  # broken rows that are named

_SIZES = """
    SELECT oid::bigint, pg_database_size(oid) / current_setting('block_size')::bigint FROM pg_database
"""
# Relations with pages, as bin/pg_amcheck/pg_amcheck.c selects them. Heaps (access method 2, sequences among them) and
# whole B-trees (403) can be checked; other kinds of index are only counted. The shared relations are read in one
# database only.
_RELATIONS = """
    SELECT c.oid, n.nspname, c.relname,
           CASE WHEN c.relam = 403 AND c.relkind = 'i' AND i.indisvalid AND i.indisready AND i.indislive THEN 'index'
                WHEN c.relam = 2 AND c.relkind IN ('r', 'S', 'm', 't') THEN 'table' ELSE 'other' END,
           pg_relation_size(c.oid) / current_setting('block_size')::bigint,
           EXISTS (SELECT FROM unnest(i.indcollation::oid[]) AS used (collation_oid)
                     JOIN pg_collation l ON l.oid = used.collation_oid
                    WHERE CASE WHEN l.collprovider = 'd'
                               THEN d.datcollversion <> pg_database_collation_actual_version(d.oid)
                               ELSE l.collversion <> pg_collation_actual_version(l.oid) END)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
           JOIN pg_database d ON d.datname = current_database()
     WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'S', 'm', 't', 'i')
       AND (NOT c.relisshared OR current_database() = 'postgres')
     ORDER BY c.oid
"""
# Only members count: whoever may make functions in that schema may have made some of these names.
_EXTENSION = """
    SELECT n.nspname, max(p.pronargs) FILTER (WHERE p.proname = 'bt_index_parent_check'),
           coalesce(bool_or(p.proname = 'verify_heapam' AND p.pronargs = 6), false)
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
      JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
      JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
     WHERE e.extname = 'amcheck' GROUP BY n.nspname
"""
# Every argument is given, in its own type, so that no other function in that schema matches as well.
_CHECK_TABLE = sql.SQL(
    "SELECT blkno, offnum, attnum, msg FROM {}.verify_heapam({}::oid::pg_catalog.regclass, false, true,"
    " 'none'::text, NULL::bigint, NULL::bigint)"
)
_CHECK_INDEX = sql.SQL("SELECT {}.bt_index_parent_check({}::oid::pg_catalog.regclass, {})")


@dataclass
class Structure:
    """`findings` are broken relations, `unchecked` could not be checked, `notes` describe relations passed over.

    `pages` of the `pages_total` in all relations' main forks were checked.
    """

    findings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pages: int = 0
    pages_total: int = 0


@dataclass(frozen=True)
class _Relation:
    oid: int
    schema: str
    name: str
    kind: str
    pages: int
    is_ordered_otherwise: bool

    def __str__(self) -> str:
        return shown(f"{self.schema}.{self.name}")


@dataclass(frozen=True)
class _Amcheck:
    """The schema of its functions, how many arguments the one for indexes takes, and whether it has one for tables."""

    schema: str
    arguments: int
    checks_tables: bool


def check_structure(node: Node, go_on: Callable[[], None] = lambda: None) -> Structure:
    """Check every database of a node; `go_on` is called before each relation.

    Only for a clone: the extension amcheck is installed meanwhile, and its locks hold writers up. Raises
    NodeUnreachable or ProofFailed when the server ends meanwhile.
    """
    seen, latest = Structure(), monotonic() + _LONGEST_SECONDS
    with session.refusing_as(ProofFailed, node):
        with closing(session.connect(node, MAINTENANCE)) as connection:
            databases = list_databases(connection)
            pages: dict[int, int] = dict(connection.execute(_SIZES).fetchall())
        for database in databases:
            where = f"{node.name}: {database}"
            if database.is_pristine:
                continue
            if database.kind is Kind.INVALID:
                seen.notes.append(f"{where} is half dropped and cannot be entered: its pages are not checked")
                seen.pages_total += pages.get(database.oid, 0)
                continue
            with ExitStack() as stack:
                try:
                    # A closed database is opened meanwhile: the clone is in quarantine.
                    opened = stack.enter_context(reopened(node, database))
                    connection = stack.enter_context(closing(enter(node, opened)))
                except (NodeUnreachable, DatabaseClosed) as error:
                    seen.unchecked.append(f"{where}: {error.message}")
                    seen.pages_total += pages.get(database.oid, 0)
                    continue
                _check_database(connection, where, seen, latest, go_on)
    return seen


def _check_database(
    connection: Connection, where: str, seen: Structure, latest: float, go_on: Callable[[], None]
) -> None:
    try:
        relations = [_Relation(*row) for row in connection.execute(_RELATIONS).fetchall()]
        seen.pages_total += sum(relation.pages for relation in relations)
        with _amcheck(connection) as amcheck:
            if not amcheck.checks_tables:
                seen.unchecked.append(
                    f"{where}: its amcheck is too old: ALTER EXTENSION amcheck UPDATE at the source"
                )
                return
            for relation in relations:
                go_on()
                _check(connection, amcheck, relation, f"{where}: {relation}", seen, latest)
    except session.Error as error:
        _tell(connection, error, where, seen)


def _tell(connection: Connection, error: session.Error, what: str, seen: Structure) -> None:
    """Judge an error: the data are bad, or could not be checked. Raises it where the session is gone."""
    if connection.closed:
        raise error
    told = seen.findings if tells_of_bad_data(error) else seen.unchecked
    told.append(f"{what}: {first_line(error)}")


def _check(
    connection: Connection, amcheck: _Amcheck, relation: _Relation, what: str, seen: Structure, latest: float
) -> None:
    if relation.kind == "other":
        return
    if relation.is_ordered_otherwise:
        seen.notes.append(f"{what} is not looked at: its collation has another version on this host")
        return
    left = latest - monotonic()
    if left <= 0:
        seen.unchecked.append(f"{what}: there was no time")
        return
    try:
        connection.execute(f"SET statement_timeout = {max(1, round(left * 1000))}".encode())
        if relation.kind == "table":
            seen.findings += _broken_rows(connection, amcheck, relation, what)
        else:
            # The check demands that the index has all rows of the table, that their order holds, and that each is
            # found from the root. From 17 on it also demands that unique entries are unique.
            wanted = sql.SQL(", ").join([sql.SQL("true")] * (amcheck.arguments - 1))
            connection.execute(
                _CHECK_INDEX.format(sql.Identifier(amcheck.schema), sql.Literal(relation.oid), wanted)
            )
    except session.Error as error:
        _tell(connection, error, what, seen)
    else:
        seen.pages += relation.pages


def _broken_rows(connection: Connection, amcheck: _Amcheck, relation: _Relation, what: str) -> Iterator[str]:
    query = _CHECK_TABLE.format(sql.Identifier(amcheck.schema), sql.Literal(relation.oid))
    found = connection.execute(query).fetchall()
    for block, offset, attribute, message in found[:_MOST_OF_A_TABLE]:
        place = ", ".join(
            f"{name} {number}"
            for name, number in (("block", block), ("item", offset), ("attribute", attribute))
            if number is not None
        )
        yield f"{what}, {place}: {message}"
    if len(found) > _MOST_OF_A_TABLE:
        yield f"{what}: and {len(found) - _MOST_OF_A_TABLE} more"


@contextmanager
def _amcheck(connection: Connection) -> Iterator[_Amcheck]:
    """Install the extension, and remove it if it was not there before: a checked clone still equals its source."""
    was_there = connection.execute(_EXTENSION).fetchall()
    if not was_there:
        _alter(connection, "CREATE EXTENSION amcheck WITH SCHEMA pg_catalog")
    ((schema, arguments, checks_tables),) = connection.execute(_EXTENSION).fetchall()
    try:
        yield _Amcheck(schema, arguments, checks_tables)
    finally:
        if not was_there and not connection.closed:
            connection.execute("SET statement_timeout = 0")
            _alter(connection, "DROP EXTENSION amcheck")


def _alter(connection: Connection, command: LiteralString) -> None:
    with connection.transaction(), without_event_triggers(connection):
        connection.execute(command)
