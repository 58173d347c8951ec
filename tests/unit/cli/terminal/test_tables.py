"""Tables are as wide as the terminal at most: the id goes first, then columns from the right."""

import pytest

from stillhouse.cli.terminal.tables import fitted, lines

TABLE = [
    ["id", "name", "status", "started", "finished"],
    ["0" * 36, "nightly", "AVAILABLE", "s" * 26, "f" * 26],
    ["1" * 36, "a-longer-name", "CREATING", "-", "-"],
]


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (None, ["id", "name", "status", "started", "finished"]),
        (200, ["id", "name", "status", "started", "finished"]),
        (80, ["name", "status", "started", "finished"]),
        (60, ["name", "status", "started"]),
        (30, ["name", "status"]),
    ],
)
def test_columns_go_until_the_rest_fits(most: int | None, kept: list[str]) -> None:
    rows, left_out = fitted(TABLE, most)
    assert rows[0] == kept
    assert sorted(kept + left_out) == sorted(TABLE[0])
    assert most is None or max(map(len, lines(rows))) <= most
    assert TABLE[0][0] == "id", "the table itself is left as it was"


def test_the_last_of_two_columns_is_cut() -> None:
    rows, _ = fitted([["name", "why"], ["nightly", "w" * 50]], 30)
    assert lines(rows)[1] == f"nightly  {'w' * 20}…"
