"""Which tables a restore of tables takes, and under which names it puts them back."""

from typing import Any

import pytest

from stillhouse.domain.table_restore import MOST_TABLES, TableName, TableRestore, TablesWanted
from stillhouse.errors import InvalidInput

KEY = "20261120_080006"
ORDERS = TableName("public", "orders")


def wanted(source: TableName = ORDERS, target: TableName = ORDERS, **more: Any) -> TablesWanted:
    return TablesWanted(**{"database": "gaussdb", "sources": (source,), "targets": (target,), **more})


def pair(source: TableName, target: TableName, **more: Any) -> tuple[TableName, TableName]:
    (only,) = wanted(source, target, **more).named(KEY).pairs
    return only


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (TableName("", ""), TableName("public_dws_backup", f"orders_{KEY}")),
        (TableName("mart", ""), TableName("mart", f"orders_{KEY}")),
        (TableName("", "old"), TableName("public_dws_backup", "old")),
        (TableName("mart", "old"), TableName("mart", "old")),
    ],
)
def test_what_a_target_lacks_is_named_after_its_source_and_the_snapshot(
    target: TableName, named: TableName
) -> None:
    assert pair(ORDERS, target) == (ORDERS, named)


def test_names_are_folded_as_postgresql_folds_them_unless_their_case_counts() -> None:
    mixed = TableName("Mart", "ÉTÉ_Orders")
    assert pair(mixed, mixed, case_sensitive=True) == (mixed, mixed)
    folded = TableName("mart", "ÉtÉ_orders")
    assert pair(mixed, mixed, case_sensitive=False) == (folded, folded)
    empty = TableName("", "")
    assert pair(mixed, empty, case_sensitive=False)[1] == TableName("mart_dws_backup", f"ÉtÉ_orders_{KEY}")
    assert wanted(database="Sales", case_sensitive=False).named(KEY).database == "Sales"


def test_tables_may_go_back_to_their_own_names_or_to_each_other_s() -> None:
    items = TableName("mart", "items")
    swapped = wanted(sources=(ORDERS, items), targets=(items, ORDERS)).named(KEY)
    assert (swapped.sources, swapped.targets) == ((ORDERS, items), (items, ORDERS))
    assert pair(ORDERS, ORDERS) == (ORDERS, ORDERS)


@pytest.mark.parametrize("name", ["a" * 63, "é" * 31, "odd.name", 'with "quotes"', "Ünïcode", "1", " "])
def test_a_name_that_postgresql_can_have_passes(name: str) -> None:
    one = TableName(name, name)
    assert pair(one, one) == (one, one)


@pytest.mark.parametrize("name", ["", "a" * 64, "é" * 32, "a\0b", "\ud800"])
@pytest.mark.parametrize("part", ["schema", "table"])
def test_a_name_that_postgresql_cannot_have_is_refused_with_its_place(name: str, part: str) -> None:
    wrong = TableName(**{"schema": "public", "table": "orders", part: name})
    with pytest.raises(InvalidInput, match=rf"restore_table_list\.0\.{part}_name must"):
        wanted(wrong).named(KEY)
    if name:  # an empty one is the default's
        with pytest.raises(InvalidInput, match=rf"target_table_list\.0\.{part}_name must"):
            wanted(target=wrong).named(KEY)
        with pytest.raises(InvalidInput, match="database must"):
            wanted(database=name).named(KEY)


def test_a_default_name_that_is_too_long_is_refused() -> None:
    long = TableName("s" * 52, "t" * 47)
    assert pair(long, TableName("", ""))[1] == TableName("s" * 52 + "_dws_backup", "t" * 47 + "_" + KEY)
    with pytest.raises(InvalidInput, match=r"target_table_list\.0\.schema_name"):
        pair(TableName("s" * 53, "t"), TableName("", "t"))
    with pytest.raises(InvalidInput, match=r"target_table_list\.0\.table_name"):
        pair(TableName("s", "t" * 48), TableName("s", ""))


@pytest.mark.parametrize(
    "schema",
    [
        "pg_catalog",
        "pg_toast",
        "pg_mine",
        "information_schema",
        "stillhouse",
        "stillhouse_tables_1",
    ],
)
def test_the_system_s_schemas_are_neither_read_nor_written(schema: str) -> None:
    of_system = TableName(schema, "orders")
    with pytest.raises(InvalidInput, match=r"restore_table_list\.0\.schema_name"):
        wanted(of_system).named(KEY)
    with pytest.raises(InvalidInput, match=r"target_table_list\.0\.schema_name"):
        wanted(target=of_system).named(KEY)
    with pytest.raises(InvalidInput, match="of the system"):
        wanted(TableName(schema.upper(), "t"), case_sensitive=False).named(KEY)


def test_no_schema_is_made_under_a_name_of_the_service() -> None:
    """A user may have made such a schema himself, and gets his tables back into it."""
    users = TableName("stillhouse_reports", "orders")
    assert pair(users, users) == (users, users)
    assert pair(users, ORDERS) == (users, ORDERS)
    with pytest.raises(
        InvalidInput, match=r"target_table_list\.0\.schema_name must not begin with 'stillhouse_'"
    ):
        pair(ORDERS, users)


def test_the_lists_pair_by_position_are_not_empty_and_not_too_long() -> None:
    many = tuple(TableName("public", f"t{number}") for number in range(MOST_TABLES + 1))
    assert len(wanted(sources=many[1:], targets=many[1:]).named(KEY).pairs) == MOST_TABLES
    for sources, targets, said in [
        ((), (), "no table"),
        (many, many, "at most 100"),
        (many[:2], many[:1], "as long as"),
        (many[:1], (), "as long as"),
        (many[:2], (ORDERS, ORDERS), "target_table_list names a table twice"),
        (many[:2], (TableName("a", "x"), TableName("A", "X")), "target_table_list names a table twice"),
        ((ORDERS, ORDERS), many[:2], "restore_table_list names a table twice"),
    ]:
        with pytest.raises(InvalidInput, match=said):
            wanted(sources=sources, targets=targets, case_sensitive=False).named(KEY)


def test_no_refusal_repeats_a_name() -> None:
    with pytest.raises(InvalidInput) as refusal:
        wanted(TableName("s3cret" * 20, "t")).named(KEY)
    assert "s3cret" not in str(refusal.value)


def test_an_operation_s_detail_gives_back_what_is_to_be_done() -> None:
    made = wanted(ORDERS, TableName("", "")).named(KEY)
    detail = made.to_detail()
    assert detail == {
        "database": "gaussdb",
        "tables": [
            {
                "schema": "public",
                "table": "orders",
                "target_schema": "public_dws_backup",
                "target_table": f"orders_{KEY}",
            }
        ],
    }
    assert TableRestore.from_detail({"snapshot_id": "x", **detail}) == made
