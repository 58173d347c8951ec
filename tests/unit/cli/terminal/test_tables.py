"""Tables are as wide as the terminal at most: texts stand below their rows, then columns go."""

import pytest

from stillhouse.cli.terminal.tables import fitted, laid_out, lines

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


FINDINGS = [
    ["weight", "node", "message", "mend"],
    [
        "must",
        "cn",
        "WAL cannot be streamed to this host by this role",
        "GRANT pg_monitor TO stillhouse_backup",
    ],
    ["good", "dn1", "fine", "-"],
]


@pytest.mark.parametrize("most", [80, 60, 30])
def test_texts_stand_below_their_row_where_it_has_no_room(most: int) -> None:
    found, left_out = laid_out(FINDINGS, most)
    assert left_out == [] and max(map(len, found)) <= most
    assert found[:2] == ["weight  node", "must    cn"]
    told = " ".join(" ".join(found).split())
    assert "must cn message: WAL cannot be streamed to this host by this role mend: GRANT" in told
    assert told.endswith("good dn1 message: fine"), "an empty text takes no line"


@pytest.mark.parametrize("most", [None, 200])
def test_texts_stay_in_their_row_where_it_has_room(most: int | None) -> None:
    assert laid_out(FINDINGS, most) == (lines(FINDINGS), [])
