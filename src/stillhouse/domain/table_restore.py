"""Table restore: checks which tables of a snapshot go back into its cluster, and settles their names. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.domain.names import LONGEST_IDENTIFIER, is_reserved
from stillhouse.errors import InvalidInput

MOST_TABLES = 100

# The prefix of PostgreSQL (catalog/catalog.c, IsReservedName), and of this service's schemas for tables in transfer.
_SYSTEM_PREFIXES = ("pg_", "stillhouse_tables_")
_SYSTEM_SCHEMAS = frozenset({"information_schema", "stillhouse"})

_TO_LOWER = {ord(upper): ord(upper.lower()) for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


@dataclass(frozen=True, order=True)
class TableName:
    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class TableRestore:
    """The tables to restore: pairs of a source in the snapshot and a target in the cluster, by PostgreSQL name."""

    database: str
    pairs: tuple[tuple[TableName, TableName], ...]

    @property
    def sources(self) -> tuple[TableName, ...]:
        return tuple(source for source, _ in self.pairs)

    @property
    def targets(self) -> tuple[TableName, ...]:
        return tuple(target for _, target in self.pairs)

    def to_detail(self) -> dict[str, Any]:
        """Return the form that the operation's `detail` holds."""
        tables = [
            {
                "schema": source.schema,
                "table": source.table,
                "target_schema": target.schema,
                "target_table": target.table,
            }
            for source, target in self.pairs
        ]
        return {"database": self.database, "tables": tables}

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> "TableRestore":
        pairs = tuple(
            (
                TableName(one["schema"], one["table"]),
                TableName(one["target_schema"], one["target_table"]),
            )
            for one in detail["tables"]
        )
        return cls(detail["database"], pairs)


@dataclass(frozen=True)
class TablesWanted:
    """The request, with each name as it was written. A target's schema or table may be empty.

    Unless `case_sensitive`, names of schemas and tables are folded as PostgreSQL folds unquoted names.
    """

    database: str
    sources: tuple[TableName, ...]
    targets: tuple[TableName, ...]
    case_sensitive: bool = True

    def named(self, backup_key: str) -> TableRestore:
        """Settle every name. `backup_key` is the snapshot's. Raises InvalidInput, naming the place.

        Missing names of a target are made as in the service's console: `<schema>_dws_backup`, `<table>_<backup key>`.
        """
        _check(len(self.sources) > 0, "restore_table_list: there is no table to restore")
        _check(
            len(self.sources) <= MOST_TABLES, f"restore_table_list: at most {MOST_TABLES} tables at a time"
        )
        _check(
            len(self.sources) == len(self.targets),
            "target_table_list must be as long as restore_table_list: they pair by position",
        )
        _check_name(self.database, "database")
        sources = [self._folded(one) for one in self.sources]
        targets = [
            _or_default(self._folded(target), source, backup_key)
            for target, source in zip(self.targets, sources, strict=True)
        ]
        _check_tables(sources, "restore_table_list")
        _check_tables(targets, "target_table_list")
        _check_new_schemas(sources, targets)
        return TableRestore(self.database, tuple(zip(sources, targets, strict=True)))

    def _folded(self, name: TableName) -> TableName:
        """Fold ASCII letters only, as the server does in every multibyte encoding (parser/scansup.c)."""
        if self.case_sensitive:
            return name
        return TableName(name.schema.translate(_TO_LOWER), name.table.translate(_TO_LOWER))


def _or_default(target: TableName, source: TableName, backup_key: str) -> TableName:
    return TableName(
        target.schema or f"{source.schema}_dws_backup", target.table or f"{source.table}_{backup_key}"
    )


def _check_tables(tables: Sequence[TableName], where: str) -> None:
    for number, name in enumerate(tables):
        _check_name(name.schema, f"{where}.{number}.schema_name")
        _check_name(name.table, f"{where}.{number}.table_name")
        is_system = name.schema.startswith(_SYSTEM_PREFIXES) or name.schema in _SYSTEM_SCHEMAS
        _check(not is_system, f"{where}.{number}.schema_name must not be a schema of the system")
    _check(len({*tables}) == len(tables), f"{where} names a table twice")


def _check_new_schemas(sources: Sequence[TableName], targets: Sequence[TableName]) -> None:
    """Check that the restore makes no schema with a reserved name. If the user has a schema with a reserved name, its
    tables may go back into it.
    """
    there = {source.schema for source in sources}
    for number, target in enumerate(targets):
        _check(
            target.schema in there or not is_reserved(target.schema),
            f"target_table_list.{number}.schema_name must not begin with 'stillhouse_': such names are the service's",
        )


def _check_name(name: str, what: str) -> None:
    """Check one name. The message never repeats it, because it may be megabytes long."""
    _check(name != "", f"{what} must not be empty")
    _check(
        not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in name),
        f"{what} must be valid Unicode text without the character NUL",
    )
    _check(
        len(name.encode()) <= LONGEST_IDENTIFIER,
        f"{what} must be at most {LONGEST_IDENTIFIER} bytes, also where it is made of the source's name",
    )


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidInput(message)
