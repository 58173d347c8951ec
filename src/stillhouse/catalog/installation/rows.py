"""All rows of a catalog, and of the workflow engine beside it, copied into another database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    JSON,
    Boolean,
    Integer,
    MetaData,
    Table,
    delete,
    exc,
    func,
    insert,
    inspect,
    select,
    text,
)

from stillhouse.catalog.schema.access_tables import audit
from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import installation, metadata, snapshot_queue
from stillhouse.errors import CatalogNotOurs, InternalError

_AT_ONCE = 500
# Their numbers are drawn by the database.
_NUMBERED = ((audit, "id"), (snapshot_queue, "position"))


@dataclass(frozen=True)
class EngineTables:
    """Names of the engine's tables, those that others refer to first, and their schema on PostgreSQL."""

    schema: str
    names: Sequence[str]


def lock(source: Transaction, engine: EngineTables) -> None:
    """Let no other transaction write to the catalog before this one ends. SQLite's writers run one at a time anyway."""
    if source.dialect.name == "postgresql":
        ours = [table.name for table in metadata.sorted_tables]
        theirs = [f"{engine.schema}.{name}" for name in engine.names]
        source.execute(text(f"LOCK TABLE {', '.join(ours + theirs)} IN EXCLUSIVE MODE"))


def replace_all(source: Transaction, target: Transaction, engine: EngineTables) -> dict[str, int]:
    """Make the target's rows those of the source, and return how many each table has. The installation's row stays.

    Raises CatalogNotOurs where the engine's tables differ, and InternalError where rows are missing afterwards.
    """
    pairs = [(table, table) for table in metadata.sorted_tables if table is not installation]
    pairs += [_engine_pair(source, target, engine.schema, name) for name in engine.names]
    for _, there in reversed(pairs):
        target.execute(delete(there))
    counts = {}
    for here, there in pairs:
        _copy(source, target, here, there)
        counts[here.name] = _count(source, here)
        if _count(target, there) != counts[here.name]:
            raise InternalError(f"table {here.name} has {_count(target, there)} rows of {counts[here.name]}")
    if target.dialect.name == "postgresql":
        _draw_on(target)
    return counts


def _copy(source: Transaction, target: Transaction, here: Table, there: Table) -> None:
    found = source.execute(select(here)).mappings()
    for rows in found.partitions(_AT_ONCE):
        try:
            target.execute(insert(there), [dict(row) for row in rows])
        except exc.DataError as error:
            said = str(error.orig).partition("\n")[0]
            raise InternalError(
                f"a row of {here.name} cannot be stored there: {said}", hint="nothing was moved"
            ) from error


def _count(transaction: Transaction, table: Table) -> int:
    return int(transaction.execute(select(func.count()).select_from(table)).scalar_one())


def _engine_pair(source: Transaction, target: Transaction, schema: str, name: str) -> tuple[Table, Table]:
    here, there = _reflected(source, schema, name), _reflected(target, schema, name)
    for column in there.columns:
        if column.name not in here.columns:
            raise CatalogNotOurs(
                f"the workflow engine's table {name} has a column {column.name} at one place alone",
                hint="both must be of one version: serve once from the present catalog, then move it",
            )
        # SQLite keeps a document as text, and an absent one must not become the document `null`.
        if isinstance(column.type, JSON) or isinstance(here.columns[column.name].type, JSON):
            column.type = here.columns[column.name].type = JSON(none_as_null=True)
        # PostgreSQL compares no number with a truth.
        elif isinstance(here.columns[column.name].type, Integer) and isinstance(column.type, Boolean):
            here.columns[column.name].type = Boolean()
    return here, there


def _reflected(transaction: Transaction, schema: str, name: str) -> Table:
    place = schema if transaction.dialect.name == "postgresql" else None
    if not inspect(transaction).has_table(name, schema=place):
        raise CatalogNotOurs(f"the workflow engine's table {name} is missing")
    return Table(name, MetaData(), autoload_with=transaction, schema=place, resolve_fks=False)


def _draw_on(target: Transaction) -> None:
    """Let the next numbers follow the largest ones."""
    for table, column in _NUMBERED:
        target.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column}'), greatest(max({column}), 1),"
                f" max({column}) IS NOT NULL) FROM {table.name}"
            )
        )
