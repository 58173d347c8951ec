"""What two snapshots' lists of tables tell about a table."""

import pytest

from stillhouse.domain.reports.difference import (
    Change,
    ListedTables,
    RelationId,
    TableAtCut,
    TableDifference,
    TableId,
    compare,
)

ORDERS = TableId("gaussdb", "public", "orders")
OLD_FILE, NEW_FILE = RelationId(1663, 5, 16384), RelationId(1663, 5, 16500)


def listed(table: TableAtCut | None, left_out: dict[str, str] | None = None) -> ListedTables:
    return ListedTables(frozenset({"gaussdb"}), "", left_out or {}, {ORDERS: table} if table else {})


def read(rows: int, digest: str = "1 1", file: RelationId = OLD_FILE) -> TableAtCut:
    return TableAtCut(rows, digest, "", (file,))


NOT_READ = TableAtCut(None, "", "there was no time", (OLD_FILE,))
SILENT = ListedTables(why="fingerprints are switched off")


@pytest.mark.parametrize(
    ("before", "after", "change", "rows", "why"),
    [
        (listed(read(10)), listed(read(10)), Change.SAME, (10, 10), ""),
        (listed(read(10)), listed(read(10, file=NEW_FILE)), Change.SAME, (10, 10), ""),
        (listed(read(10)), listed(read(10, "2 2")), Change.CHANGED, (10, 10), ""),
        (listed(read(10)), listed(read(0, "0 0")), Change.CHANGED, (10, 0), ""),
        (listed(None), listed(read(0)), Change.ADDED, (None, 0), ""),
        (listed(read(10)), listed(None), Change.REMOVED, (10, None), ""),
        (listed(read(10)), listed(NOT_READ), Change.UNKNOWN, (10, None), "there was no time"),
        (listed(NOT_READ), listed(read(10)), Change.UNKNOWN, (None, 10), "there was no time"),
        (SILENT, listed(read(10)), Change.UNKNOWN, (None, 10), "fingerprints are switched off"),
        (listed(read(10)), SILENT, Change.UNKNOWN, (10, None), "fingerprints are switched off"),
        (listed(None, {"gaussdb": "closed"}), listed(read(1)), Change.UNKNOWN, (None, 1), "closed"),
        (ListedTables(frozenset({"other"})), listed(read(1)), Change.ADDED, (None, 1), ""),
    ],
)
def test_a_table_is_told_by_both_lists(
    before: ListedTables, after: ListedTables, change: Change, rows: tuple[int | None, int | None], why: str
) -> None:
    (found,) = compare(before, after)
    relations = found.relations
    assert found == TableDifference(ORDERS, change, *rows, why, relations)


def test_the_files_are_those_of_the_later_snapshot_if_it_has_the_table() -> None:
    (rewritten,) = compare(listed(read(1)), listed(read(1, file=NEW_FILE)))
    (removed,) = compare(listed(read(1)), listed(None))
    assert (rewritten.relations, removed.relations) == ((NEW_FILE,), (OLD_FILE,))


def test_tables_come_by_name() -> None:
    names = [TableId("b", "a", "a"), TableId("a", "b", "b"), TableId("a", "a", "z")]
    every = ListedTables(frozenset({"a", "b"}), "", {}, dict.fromkeys(names, read(1)))
    assert [one.table for one in compare(every, every)] == sorted(names)
