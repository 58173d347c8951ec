"""Check that a copy of tables equals those gathered in the clone: each definition, and all rows.

A dump may leave out something that we know nothing of. Users' functions could reach the copy while it was loaded. A
generated column is computed anew, by functions that may have changed since the cut.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.resources import files
from typing import Any

from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions.session import Connection, sql

_TOLD = 3
_POLL_SECONDS = 0.5

_DEFINITION = files(__package__).joinpath("table_definition.sql").read_bytes()
# The copy still belongs to the role that made it: any right of another role was granted by a user's function.
_LET_IN = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%s)
       AND (c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL))
     ORDER BY 1
"""
_TABLES = """
    SELECT n.nspname, c.relname, c.relkind = 'S',
           ARRAY(SELECT attname::text FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'S') ORDER BY c.relpages, 1, 2
"""
# Each value as its output function writes it, as a dump does: a cast may be a user's function. Column by column, since
# a row of big values may be longer than a text can be. Byte by byte, since some collations call different texts equal.
_VALUE = 'num_nulls(t.{}), hashtextextended(concat(t.{}) COLLATE "C", 0)'
# Two sums over all rows, which do not depend on their order.
_ROWS = """
    SELECT count(*), coalesce(sum(hash_array_extended(hashes, 0)), 0),
           coalesce(sum(hash_array_extended(hashes, 7919)), 0)
      FROM (SELECT ARRAY[{}]::bigint[] FROM ONLY {} t OFFSET 0) AS rows (hashes)
"""
_POSITION = "SELECT last_value, is_called FROM {}"

Thing = tuple[str, str, str]


def read_definition(connection: Connection, schemas: Sequence[str]) -> tuple[Thing, ...]:
    """Everything in these schemas, one row per thing: its relation, its name and its definition."""
    return tuple(connection.execute(_DEFINITION, [[*schemas]]).fetchall())


def check_definition(connection: Connection, schemas: Sequence[str], gathered: Sequence[Thing]) -> None:
    """Check the definitions before rights are given on the copy. Raises RestoreFailed, which names the difference."""
    then, now = Counter(gathered), Counter(read_definition(connection, schemas))
    lacking = [f"{what} of {name} was {how}" for name, what, how in (then - now)]
    strange = [f"{what} of {name} is {how}" for name, what, how in (now - then)]
    strange += [
        f"rights were given on {name}" for (name,) in connection.execute(_LET_IN, [[*schemas]]).fetchall()
    ]
    if lacking or strange:
        raise RestoreFailed(
            "the copied tables are not defined as they were, and nothing was changed: "
            + "; ".join([*lacking[:_TOLD], *strange[:_TOLD]]),
            hint="a function of a user's may have reached them; else restore the cluster beside this one",
        )


def check_rows(
    source: Connection, copy: Connection, schemas: Sequence[str], check: Callable[[], None]
) -> None:
    """Compare every table and sequence, reading both sides at once; `check` is called meanwhile.

    Raises RestoreFailed.
    """
    for schema, table, is_sequence, columns in source.execute(_TABLES, [[*schemas]]).fetchall():
        name = sql.Identifier(schema, table)
        query = sql.SQL(_POSITION).format(name) if is_sequence else _reading(name, columns)
        then, now = _both(source, copy, query, check)
        if then != now:
            raise RestoreFailed(
                f"the copy of {table} has other rows than the snapshot, and nothing was changed:"
                f" {_otherwise(source, copy, name, columns, check) or 'their number'}",
                hint="a function that a generated column calls may give other values now than at the cut",
            )


def _both(
    source: Connection, copy: Connection, query: sql.Composed, check: Callable[[], None]
) -> list[list[tuple[Any, ...]]]:
    """The answers of both sides. Big tables take long: `check` is called meanwhile, and raises to end it."""
    sides = (source, copy)

    def ask(side: Connection) -> list[tuple[Any, ...]]:
        return side.execute(query).fetchall()

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, one) for one in sides]
        while wait(answers, _POLL_SECONDS).not_done:
            try:
                check()
            except BaseException:
                for one in sides:
                    one.cancel_safe()
                raise
        return [answer.result() for answer in answers]


def _reading(table: sql.Identifier, columns: Sequence[str]) -> sql.Composed:
    values = [sql.SQL(_VALUE).format(sql.Identifier(one), sql.Identifier(one)) for one in columns]
    return sql.SQL(_ROWS).format(sql.SQL(", ").join(values), table)


def _otherwise(
    source: Connection,
    copy: Connection,
    table: sql.Identifier,
    columns: Sequence[str],
    check: Callable[[], None],
) -> str:
    """The columns that differ, found by comparing each alone."""
    differing = []
    for column in columns:
        then, now = _both(source, copy, _reading(table, [column]), check)
        if then != now:
            differing.append(column)
    return ", ".join(differing)
