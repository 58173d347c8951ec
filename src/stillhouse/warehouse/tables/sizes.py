"""Rows that COPY cannot write as text, found in the clone before anything is copied.

No line that COPY writes, and no value in it, may pass 1 GB (utils/memutils.h, MaxAllocSize). A bytea is written with
two digits for each byte, a text with two characters for each backslash: from 512 MB on a value may be too big.
"""

from collections.abc import Sequence

from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import READER, Connection, sql

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
# The size that any value would have in memory, by its pointer: nothing is read or decompressed (varlena.c). Only a
# superuser can make this function, and only the reader calls it.
_RAW_SIZE = f"""
    CREATE OR REPLACE FUNCTION pg_catalog.stillhouse_raw_size(anyelement) RETURNS int
        STRICT LANGUAGE internal AS 'byteaoctetlen';
    GRANT EXECUTE ON FUNCTION pg_catalog.stillhouse_raw_size TO {READER}
"""
# COPY writes each of these as two characters (commands/copyto.c, CopyAttributeOutText).
_ESCAPED = ("\\", "\b", "\f", "\n", "\r", "\t", "\v")


def prepare_sizes(connection: Connection) -> None:
    """Make what `check_sizes` needs, in a clone that will be thrown away, as its superuser."""
    connection.execute(_RAW_SIZE.encode())


def check_sizes(reader: Connection, relations: Sequence[int]) -> None:
    """Check the rows in a clone. Raises RestoreFailed, naming a row that is too big.

    `reader` is a session of the reader, because the planner calls functions of users, those in the expressions of a
    table's indexes and statistics.
    """
    columns: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for _, schema, table, column, factor in reader.execute(_COLUMNS, [[*relations]]).fetchall():
        columns.setdefault((schema, table), []).append((column, factor))
    for (schema, table), wide in columns.items():
        name = sql.Identifier(schema, table)
        for place, column, size in _suspects(reader, name, wide):
            if why := _why_too_long(reader, name, wide, place):
                raise RestoreFailed(
                    f"a row of {schema}.{table}, at {place}, is too big to be copied: {column} alone has {size} bytes"
                    f" ({why})",
                    hint="restore the cluster beside this one, and take the row from there",
                )


def _suspects(
    reader: Connection, table: sql.Identifier, columns: Sequence[tuple[str, int]]
) -> list[tuple[str, str, int]]:
    """Rows that may make too long a line: their place, their biggest column and its bytes."""
    sizes = [
        sql.SQL("({}, coalesce(pg_catalog.stillhouse_raw_size(t.{}), 0)::bigint, {})").format(
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
    return [(place, column, int(size)) for place, column, size in reader.execute(query).fetchall()]


def _why_too_long(
    reader: Connection, table: sql.Identifier, columns: Sequence[tuple[str, int]], place: str
) -> str:
    """Have the server write the values as a dump does, and count: a row may have a gigabyte, and it stays there."""
    lengths = [_written(sql.SQL("t.{}").format(sql.Identifier(column))) for column, _ in columns]
    query = sql.SQL("SELECT {} FROM ONLY {} t WHERE t.ctid = {}").format(
        sql.SQL(" + ").join(lengths), table, sql.Literal(place)
    )
    try:
        ((length,),) = reader.execute(query).fetchall()
    except session.Error as error:
        if reader.closed:
            raise
        return str(error).partition("\n")[0]
    return f"its line has {length} bytes" if length > _LONGEST_LINE else ""


def _written(value: sql.Composed) -> sql.Composed:
    """The bytes of a value as COPY writes it."""
    text = plain = sql.SQL("pg_catalog.format('%s', {})").format(value)
    for character in _ESCAPED:
        plain = sql.SQL("pg_catalog.replace({}, {}, '')").format(plain, sql.Literal(character))
    return sql.SQL("(2 * pg_catalog.octet_length({})::bigint - pg_catalog.octet_length({}))").format(
        text, plain
    )
