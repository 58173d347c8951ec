"""What differs between two snapshots of a cluster: table by table, from their lists of tables. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Change(StrEnum):
    """How a table of the later snapshot differs from the earlier one's. UNKNOWN: one of them does not tell."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"
    SAME = "SAME"
    UNKNOWN = "UNKNOWN"


class TableId(NamedTuple):
    database: str
    schema: str
    name: str


class RelationId(NamedTuple):
    """The files of a relation, as `relation_files.RelationFile` names them."""

    tablespace: int
    database: int
    relation: int


@dataclass(frozen=True)
class TableAtCut:
    """A table as a snapshot lists it. If its rows were not read, `rows` is missing, and `left_out` gives the reason.

    `relations` are its own files and those of its TOAST table, if the snapshot tells them.
    """

    rows: int | None
    digest: str
    left_out: str
    relations: tuple[RelationId, ...]


@dataclass(frozen=True)
class ListedTables:
    """The tables of one node in a snapshot. If `databases` is empty, `why` gives the reason.

    `left_out` are databases whose tables are not listed, each with the reason.
    """

    databases: frozenset[str] = frozenset()
    why: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[TableId, TableAtCut] = field(default_factory=dict)

    def silent_about(self, database: str) -> str:
        """Return why the tables of a database are not listed; "" if they are, or if the database was not there."""
        if not self.databases:
            return self.why or "its tables are not listed"
        return self.left_out.get(database, "")


@dataclass(frozen=True)
class TableDifference:
    """One table. `rows_before` and `rows_after` are missing where the table was, and where its rows were not read; then
    `why` gives the reason.
    """

    table: TableId
    change: Change
    rows_before: int | None
    rows_after: int | None
    why: str
    relations: tuple[RelationId, ...]


def compare(before: ListedTables, after: ListedTables) -> Iterator[TableDifference]:
    """Yield every table of one node in either snapshot, by name."""
    for table in sorted({*before.tables, *after.tables}):
        yield _compared(table, before.tables.get(table), after.tables.get(table), before, after)


def _compared(
    table: TableId,
    then: TableAtCut | None,
    now: TableAtCut | None,
    before: ListedTables,
    after: ListedTables,
) -> TableDifference:
    change, why = Change.CHANGED, ""
    if then is None or now is None:
        silent = before if then is None else after
        change = Change.ADDED if then is None else Change.REMOVED
        if why := silent.silent_about(table.database):
            change = Change.UNKNOWN
    elif then.rows is None or now.rows is None:
        change, why = Change.UNKNOWN, then.left_out or now.left_out
    elif (then.rows, then.digest) == (now.rows, now.digest):
        change = Change.SAME
    relations = now.relations if now else then.relations if then else ()
    return TableDifference(
        table, change, then.rows if then else None, now.rows if now else None, why, relations
    )
