"""The three words of a proof: which one its results lead to, and what share was seen."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stillhouse.api.shapes.ours import extensions
from stillhouse.domain.proof import Proof, ProofState, judge
from stillhouse.warehouse.proof.compare_with_cut import Compared

BAD, GAP, NODE = (
    ["t holds other rows"],
    ["u: canceling statement due to statement timeout"],
    ["cn: no witness"],
)


def test_proved_is_only_what_was_compared() -> None:
    assert judge([], [], []) == (ProofState.PROVED, None)
    state, failure = judge([], [], NODE)
    assert state is ProofState.FAILED and failure is not None
    assert failure.reason == "nothing was compared with the cut: cn: no witness" and failure.hint


def test_what_could_not_be_checked_is_no_verdict() -> None:
    state, failure = judge([], [*GAP, "v: out of memory"], [])
    assert state is ProofState.FAILED
    assert failure is not None
    assert failure.reason == f"could not be checked: {GAP[0]}, and 1 more"


@pytest.mark.parametrize("unchecked", [[], GAP])
@pytest.mark.parametrize("uncompared", [[], NODE])
def test_what_is_bad_is_bad_whatever_else_was_not_seen(unchecked: list[str], uncompared: list[str]) -> None:
    state, failure = judge(BAD, unchecked, uncompared)
    assert state is ProofState.REFUTED and failure is not None
    assert failure.reason == BAD[0] and "take a new one" in failure.hint


@pytest.mark.parametrize(
    ("tables", "rows", "rows_total", "is_of_nothing"),
    [
        (0, 0, 0, True),  # no table has a fingerprint
        (2, 0, 500, True),  # only those of large objects have, and these are empty
        (2, 0, 0, False),  # there is nothing else
        (3, 1, 500, False),
    ],
)
def test_of_nothing_is_a_comparison_without_tables_or_without_a_row_of_those_there_are(
    tables: int, rows: int, rows_total: int, is_of_nothing: bool
) -> None:
    compared = Compared(tables=tables, tables_total=5, rows=rows, rows_total=rows_total)
    assert compared.is_of_nothing is is_of_nothing


def shown(**report: Any) -> dict[str, Any]:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return dict(extensions.proof(Proof("p", "s", ProofState.PROVED, "", 100, now, now, report)))


def test_a_proof_tells_what_share_it_has_seen() -> None:
    seen = shown(tables=2, tables_total=3, rows=99_999, rows_total=100_000, pages=10, pages_total=10)
    assert (seen["rows_share"], seen["pages_share"]) == (0.9999, 1.0)
    assert shown(rows=999_999, rows_total=1_000_000, pages=1, pages_total=3)["rows_share"] == 0.9999
    assert shown(rows=0, rows_total=0, pages=5, pages_total=5)["rows_share"] == 1.0


def test_a_proof_of_an_older_service_or_one_that_ended_early_has_no_share() -> None:
    older = shown(tables=2, rows=10, findings=[], left_out=[], notes=[], reason="")
    assert (older["rows"], older["rows_share"], older["pages_share"], older["unchecked"]) == (
        10,
        None,
        None,
        [],
    )
    assert shown(tables=0, tables_total=0, rows=0, rows_total=0, pages=0, pages_total=0)["rows_share"] is None
