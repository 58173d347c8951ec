"""What the list in a snapshot's manifest tells of tables that are to be restored."""

import uuid

import pytest

from stillhouse.control.snapshots.listed_tables import Listed, told_by
from stillhouse.domain.table_restore import TableName, TableRestore
from support.repositories.crafted_lines import Line

ORDERS, ROOT, GHOST = (TableName("public", name) for name in ("orders", "parted", "ghost"))
WITNESS = {"t": "witness", "databases": ["postgres", "gaussdb"], "why": "", "partitioned": True}
LISTED: list[Line] = [
    {"t": "node", "node": "cn"},
    {"t": "file", "path": "base/1", "size": 0, "map": None, "entry": 0},
    WITNESS,
    {"t": "table", "database": "postgres", "schema": "public", "name": "ghost", "kind": "r", "rows": 1},
    {"t": "partitioned", "database": "postgres", "schema": "public", "name": "ghost"},
    {"t": "partitioned", "database": "gaussdb", "schema": "public", "name": "parted"},
    {"t": "table", "database": "gaussdb", "schema": "public", "name": "orders", "kind": "r", "left_out": "x"},
    {"t": "table", "database": "gaussdb", "schema": "other", "name": "ghost", "kind": "r", "rows": 1},
    {"t": "table", "database": "gaussdb", "schema": "public", "name": "Ghost", "kind": "r", "rows": 1},
    {"t": "table", "database": "gaussdb", "schema": "public", "name": "seen", "kind": "m", "rows": 1},
    {"t": "end"},
]


def restore(*sources: TableName, database: str = "gaussdb") -> TableRestore:
    return TableRestore(database, tuple((one, TableName("new", uuid.uuid4().hex)) for one in sources))


def with_witness(**witness: object) -> list[Line]:
    return [witness if line is WITNESS else line for line in LISTED]


def test_tables_that_are_listed_are_not_missing_partitioned_or_not_read_or_not() -> None:
    assert told_by(LISTED, restore(ORDERS, ROOT)) == Listed()


def test_what_is_not_listed_in_that_database_by_that_name_is_missing_in_the_order_asked() -> None:
    seen = TableName("public", "seen")  # a materialised view
    assert told_by(LISTED, restore(seen, ORDERS, GHOST)) == Listed(missing=(seen, GHOST))
    assert told_by(LISTED, restore(GHOST, GHOST)) == Listed(missing=(GHOST,))


def test_a_database_that_the_snapshot_has_not_is_said_to_be_missing() -> None:
    assert told_by(LISTED, restore(ORDERS, database="sales")) == Listed(has_database=False)


@pytest.mark.parametrize(
    "witness",
    [
        {"t": "witness", "databases": [], "why": "it was not quiet", "partitioned": False},
        {
            "t": "witness",
            "databases": ["gaussdb"],
            "why": "",
        },  # of a version that listed no partitioned tables
        {"t": "rotten", "path": "x", "block": 1},  # of one that listed nothing
    ],
)
def test_nothing_is_said_to_be_missing_where_the_list_is_not_whole(witness: Line) -> None:
    assert told_by(with_witness(**witness), restore(GHOST, ORDERS)) == Listed()
