"""A table's fingerprint: the number of its rows, and two sums over them that do not depend on their order.

No function of a user's is called: the rows are cast to text as anonymous records, by the types' own output functions,
which only superusers can make. The planner alone may call some, those in the expressions of a table's indexes and
statistics (optimizer/util/plancat.c). So this code needs sessions of the reader (postgres/reading.py).
"""

from dataclasses import dataclass

from stillhouse.postgres.sessions.reading import Named, only
from stillhouse.postgres.sessions.session import Connection, sql

# All relations that initdb did not make (access/transam.h, FirstNormalObjectId), including extensions' tables, and
# large objects, which live in the catalog. A materialised view WITH NO DATA cannot be read. Our own mark distinguishes
# a node's history from its clone's (postgres/lineage.py), so it differs.
_RELATIONS = """
    SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispopulated
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence = 'p'
       AND (c.oid >= 16384 OR c.oid IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass))
       AND (n.nspname, c.relname) <> ('stillhouse', 'lineage')
     ORDER BY c.relpages, 2, 3
"""
# Tablespace, database and number of a table's files and of its TOAST table's. Without a tablespace of its own, a
# relation lies in its database's (src/include/catalog/pg_class.h).
_FILES = """
    SELECT c.oid, coalesce(nullif(c.reltablespace, 0), d.dattablespace)::bigint, d.oid::bigint, c.relfilenode::bigint,
           coalesce(nullif(t.reltablespace, 0), d.dattablespace)::bigint, t.relfilenode::bigint
      FROM pg_class c JOIN pg_database d ON d.datname = current_database()
      LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
     WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relfilenode <> 0
"""
# The roots of partitioned tables have no rows of their own, so a proof has nothing to read in them.
_PARTITIONED = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'p' AND c.relpersistence = 'p' AND c.oid >= 16384 ORDER BY 1, 2
"""
# By name, so that a column added meanwhile is not read. The types that print the present name of an object print its
# number here.
_COLUMNS = """
    SELECT coalesce(string_agg(format('t.%I', attname) || CASE WHEN atttypid IN (
               'regclass'::regtype, 'regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype,
               'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regproc'::regtype,
               'regprocedure'::regtype, 'regrole'::regtype, 'regtype'::regtype)
           THEN '::pg_catalog.oid' ELSE '' END, ', ' ORDER BY attnum), '')
      FROM pg_attribute WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped
"""
# Two independent sums over all rows: order does not matter, and a row too many counts. A row's cast is always the
# built-in one: a cast of the table's own type may be a function that its owner wrote.
_ROWS = """
    SELECT count(*), coalesce(sum(hashtextextended(row_text, 0)), 0)::text,
           coalesce(sum(hashtextextended(row_text, 7919)), 0)::text
      FROM (SELECT ROW({})::text AS row_text FROM ONLY {} AS t OFFSET 0) AS rows
"""
# Everything is read as of one moment, and no DDL is waited for. Values are written alike in all our sessions.
SETTINGS = {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "lock_timeout": "30s",
}


@dataclass(frozen=True)
class Relation(Named):
    """A table, a materialised view or a sequence."""

    is_populated: bool

    @property
    def has_rows(self) -> bool:
        return self.kind != "S" and self.is_populated


@dataclass(frozen=True)
class Rows:
    count: int
    digest: str


def list_relations(connection: Connection) -> list[Relation]:
    """All relations that a proof reads in the session's database, small ones first."""
    return [Relation(*row) for row in connection.execute(_RELATIONS).fetchall()]


def list_files(connection: Connection) -> dict[int, list[list[int]]]:
    """Return by each table's oid the tablespace, database and number of its files, then those of its TOAST table."""
    found = {}
    for oid, tablespace, database, number, toast_tablespace, toast in connection.execute(_FILES).fetchall():
        found[oid] = [[tablespace, database, number]]
        if toast:
            found[oid].append([toast_tablespace, database, toast])
    return found


def list_partitioned(connection: Connection) -> list[tuple[str, str]]:
    """Schema and name of the partitioned tables in the session's database, which `list_relations` leaves out."""
    return [(schema, name) for schema, name in connection.execute(_PARTITIONED).fetchall()]


def read_rows(connection: Connection, relation: Relation) -> Rows:
    """Read and sum the rows. Call it in a session of the reader with SETTINGS.

    It reads the columns that the session's snapshot shows. The lock on the table stays until the end of the caller's
    transaction or sub-transaction, in which nothing else was read. Raises TableReplaced.
    """
    query = sql.SQL(_COLUMNS).format(sql.Literal(relation.oid))
    ((columns,),) = connection.execute(query).fetchall()
    read = sql.SQL(_ROWS).format(sql.SQL(columns), relation.identifier)
    with only(connection, relation):
        ((count, first, second),) = connection.execute(read).fetchall()
    return Rows(count, f"{first} {second}")


def count_rows(connection: Connection, relation: Relation) -> int:
    """Count the rows as `read_rows` does, without the sums."""
    with only(connection, relation):
        count = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(relation.identifier)
        return int(connection.execute(count).fetchall()[0][0])
