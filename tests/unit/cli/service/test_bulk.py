"""Which snapshots the bulk commands act on, and the question before a cluster or many snapshots go."""

import io
from typing import Any

import pytest

from stillhouse.cli.service.retention import beyond_last, obstacle_to_deletion
from stillhouse.cli.service.snapshot import _ask_to_replace
from stillhouse.cli.terminal import confirm
from stillhouse.domain.reports.sizes import said_size
from stillhouse.errors import InvalidInput


def one(name: str, state: str = "AVAILABLE", type_: str = "MANUAL", use: str = "") -> dict[str, Any]:
    return {"name": name, "state": state, "type": type_, "use": use}


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [str(row["name"]) for row in rows]


def test_the_newest_that_can_be_restored_are_kept_and_failed_ones_are_not_counted() -> None:
    history = [one("e", "FAILED"), one("d"), one("c", "CANCELLED"), one("b"), one("a"), one("z", "FAILED")]
    assert names(beyond_last(history, 1)) == ["c", "b", "a", "z"]
    assert names(beyond_last(history, 2)) == ["a", "z"]
    assert beyond_last(history, 3) == history[-1:]


def test_nothing_goes_while_fewer_can_be_restored_than_are_to_be_kept() -> None:
    assert beyond_last([one("b", "FAILED"), one("a")], 2) == []


def test_automated_busy_and_damaged_ones_stay() -> None:
    history = [
        one("new"),
        one("auto", type_="AUTO"),
        one("used", use="being restored"),
        one("hurt", "DAMAGED"),
        one("taken", "CREATING"),
    ]
    assert beyond_last(history, 1) == []
    assert [bool(obstacle_to_deletion(row)) for row in history] == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("typed", "is_terminal", "goes"),
    [("sales\n", True, True), ("Sales\n", True, False), ("\n", True, False), ("sales\n", False, False)],
)
def test_only_the_name_typed_at_a_terminal_is_a_yes(
    monkeypatch: pytest.MonkeyPatch, typed: str, is_terminal: bool, goes: bool
) -> None:
    stdin = io.StringIO(typed)
    monkeypatch.setattr(stdin, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr("sys.stdin", stdin)
    if goes:
        confirm.demand("it goes", "sales", yes=False)
    else:
        with pytest.raises(InvalidInput, match="nothing was done"):
            confirm.demand("it goes", "sales", yes=False)


def test_yes_needs_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    confirm.demand("it goes", "sales", yes=True)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_sizes_have_one_system_of_units(count: int, words: str) -> None:
    assert said_size(count) == words


def test_tables_that_are_there_are_replaced_only_after_a_yes() -> None:
    checked = {"check_table_name_result": {"target_table_list": ["public.orders"]}}
    with pytest.raises(InvalidInput, match="nothing was done"):
        _ask_to_replace(checked, "gaussdb")
    _ask_to_replace({"check_table_name_result": {"target_table_list": None}}, "gaussdb")
