"""Rows that COPY cannot write as text, found in the clone before anything is copied.

No line that COPY writes, and no value in it, may pass 1 GB (utils/memutils.h, MaxAllocSize). A bytea is written with
two digits for each byte, a text with two characters for each backslash: from 512 MB on a value may be too big.
"""

from collections.abc import Sequence

from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Connection, sql

# This leaves room for separators, and for values of fixed-length types.
_LONGEST_LINE = 0x3FFFFFFF - (1 << 20)

# How many characters a byte of a value can become. For most types this is unknown: a null in an array takes one bit.
# Stored generated columns are not dumped, but compared as text afterwards (table_likeness.py).
_COLUMNS = """
    SELECT c.oid, n.nspname, c.relname, a.attname,
           CASE WHEN t.typcategory = 'S' OR t.oid IN ('bytea'::regtype, 'json'::regtype, 'xml'::regtype) THEN 2 ELSE 64
            END
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v'
      JOIN pg_type t ON t.oid = a.atttypid
     WHERE c.oid = ANY(%s::oid[]) AND c.relkind = 'r' AND t.typlen = -1 AND pg_relation_size(c.reltoastrelid) > 0
     ORDER BY c.oid, a.attnum
"""
# The size that any value would have in memory, by its pointer: nothing is read or decompressed (varlena.c).
_RAW_SIZE = """
    CREATE OR REPLACE FUNCTION pg_temp.raw_size(anyelement) RETURNS int STRICT LANGUAGE internal AS 'byteaoctetlen'
"""


def check_sizes(connection: Connection, relations: Sequence[int]) -> None:
    """Check the rows in a clone, in the caller's transaction. Raises RestoreFailed, naming a row that is too big."""
    columns: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for _, schema, table, column, factor in connection.execute(_COLUMNS, [[*relations]]).fetchall():
        columns.setdefault((schema, table), []).append((column, factor))
    if columns:
        connection.execute(_RAW_SIZE)
        connection.execute("SET LOCAL bytea_output = 'hex'")
    for (schema, table), wide in columns.items():
        name = sql.Identifier(schema, table)
        for place, column, size in _suspects(connection, name, wide):
            try:
                _try(connection, name, wide, place)
            except session.Error as error:
                raise RestoreFailed(
                    f"a row of {schema}.{table}, at {place}, is too big to be copied: {column} alone has {size} bytes"
                    f" ({str(error).partition(chr(10))[0]})",
                    hint="restore the cluster beside this one, and take the row from there",
                ) from error


def _suspects(
    connection: Connection, table: sql.Identifier, columns: Sequence[tuple[str, int]]
) -> list[tuple[str, str, int]]:
    """Rows that may make too long a line: their place, their biggest column and its bytes."""
    sizes = [
        sql.SQL("({}, coalesce(pg_temp.raw_size(t.{}), 0)::bigint, {})").format(
            sql.Literal(column), sql.Identifier(column), sql.Literal(factor)
        )
        for column, factor in columns
    ]
    query = sql.SQL(
        "SELECT t.ctid::text, biggest.name, biggest.size FROM ONLY {} t"
        " CROSS JOIN LATERAL (SELECT (array_agg(v.name::text ORDER BY v.size DESC))[1], max(v.size),"
        " sum(v.size * v.factor) FROM (VALUES {}) v (name, size, factor)) biggest (name, size, line)"
        " WHERE biggest.line > {}"
    ).format(table, sql.SQL(", ").join(sizes), sql.Literal(_LONGEST_LINE))
    return [(place, column, int(size)) for place, column, size in connection.execute(query).fetchall()]


def _try(
    connection: Connection, table: sql.Identifier, columns: Sequence[tuple[str, int]], place: str
) -> None:
    """Have the server write the row as a dump does, to nowhere: the row may have a gigabyte."""
    connection.execute(
        sql.SQL("COPY (SELECT {} FROM ONLY {} t WHERE t.ctid = {}) TO '/dev/null'").format(
            sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns), table, sql.Literal(place)
        )
    )
