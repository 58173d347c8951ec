"""The settings that a host can honour are found by halves, and nothing else is given up."""

from collections.abc import Sequence

from stillhouse.warehouse.clone.settings_search import Item, items_of, settings_of, sift

SETTINGS = {f"s{number}": str(number) for number in range(64)}


def test_only_what_cannot_be_is_refused_and_the_order_is_kept() -> None:
    bad = {("s3", "3"), ("s4", "4"), ("s63", "63")}
    tries = []

    def why_not(items: Sequence[Item]) -> str:
        tries.append(items)
        return ", ".join(sorted(name for name, _ in bad & {*items}))

    items = items_of(SETTINGS)
    kept, refused = sift(items, why_not)
    assert kept == [item for item in items if item not in bad]
    assert refused == {(name, value): name for name, value in bad}
    assert len(tries) < 40


def test_what_cannot_be_together_costs_one_of_them() -> None:
    def why_not(items: Sequence[Item]) -> str:
        return "too much" if {("s1", "1"), ("s2", "2")} <= {*items} else ""

    kept, refused = sift(items_of(SETTINGS), why_not)
    assert refused == {("s2", "2"): "too much"}
    assert len(kept) == 63


def test_libraries_count_one_by_one() -> None:
    settings = {
        "shared_preload_libraries": "citus, $libdir/b,,c",
        "work_mem": "4MB",
        "local_preload_libraries": "",
    }
    items = items_of(settings)
    assert [value for name, value in items if name == "shared_preload_libraries"] == [
        "citus",
        "$libdir/b",
        "c",
    ]
    assert settings_of(items[1:]) == {"shared_preload_libraries": "$libdir/b, c", "work_mem": "4MB"}
