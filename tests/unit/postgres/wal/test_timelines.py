"""History files as PostgreSQL writes them, and which points of the WAL are in such a history."""

import pytest

from stillhouse.postgres.wal.timelines import Stretch, parse, stretches_from, why_not_passed

# Of a server that was promoted twice. The reason is free text.
FILE = """1\t0/3000148\tno recovery target specified

# a comment, which an administrator may add
2\t1/A0\tat restore point "before"
"""
HISTORY = parse(3, FILE)


def test_a_history_is_read_from_the_oldest_timeline_to_the_present() -> None:
    assert (Stretch(1, 0, 0x3000148), Stretch(2, 0x3000148, 0x1000000A0), Stretch(3, 0x1000000A0)) == HISTORY
    assert parse(1, "") == (Stretch(1, 0),)


@pytest.mark.parametrize(
    ("timeline", "lsn", "why"),
    [
        (1, 0x3000148, ""),
        (1, 0x3000149, "left that at 0/03000148 for timeline 3"),
        (2, 0x1000000A0, ""),
        (2, 0x1000000A1, "left that at 1/000000A0"),
        (3, 0x1000000A1, ""),
        (4, 1, "the base's timeline is 4, the node's 3"),
    ],
)
def test_a_point_is_in_the_history_if_its_timeline_was_left_behind_it(
    timeline: int, lsn: int, why: str
) -> None:
    found = why_not_passed(HISTORY, timeline, lsn)
    assert why in found and bool(why) == bool(found)


def test_a_history_that_is_missing_knows_the_present_timeline_alone() -> None:
    assert why_not_passed(parse(2, ""), 2, 5) == ""
    assert why_not_passed(parse(2, ""), 1, 5)


@pytest.mark.parametrize("text", ["1", "one\t0/1\twhy", "1\t0-1\twhy", FILE + "2\t", "\0\1 \2"])
def test_nothing_is_believed_of_a_history_that_is_no_history(text: str) -> None:
    assert parse(3, text) == (Stretch(3, 0),)


def test_the_changes_since_a_base_lie_on_all_timelines_from_its_own() -> None:
    assert [*stretches_from(HISTORY, 2, 0x4000000)] == [Stretch(2, 0x4000000, 0x1000000A0), HISTORY[2]]
    assert [*stretches_from(HISTORY, 3, 0x1000000B0)] == [Stretch(3, 0x1000000B0)]
