"""Rates and the time left, over traces of work of several shapes."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.domain.progress import Pace, Progress, expected_bytes, together

MIB = 1 << 20
TOTAL = 10_000 * MIB
EVERY = 0.5  # seconds between reports

Rate = Callable[[float], float]
"""Bytes in a second, at a second of the work."""


def trace(rate: Rate) -> list[tuple[float, int]]:
    """Reports of the work until it is done, as they come."""
    samples, done, seconds = [(0.0, 0)], 0.0, 0.0
    while done < TOTAL:
        done += rate(seconds) * EVERY
        seconds += EVERY
        samples.append((seconds, min(int(done), TOTAL)))
    return samples


def estimates(rate: Rate, after: float = 0.1, until: float = 0.95) -> Iterator[tuple[float, float]]:
    """(what was estimated to be left, what was left) at each report between these shares of the work."""
    samples, pace = trace(rate), Pace()
    for seconds, done in samples:
        pace.add(seconds, done)
        if TOTAL * after <= done <= TOTAL * until:
            left = Progress("copying", done, TOTAL, pace.bytes_per_second).seconds_left
            assert left is not None
            yield left, samples[-1][0] - seconds


STEADY = 50.0 * MIB
SHAPES: dict[str, Rate] = {
    "steady": lambda at: STEADY,
    "slow start": lambda at: STEADY / 20 if at < 10 else STEADY,
    "nothing at first": lambda at: 0 if at < 8 else STEADY,
    "bursts": lambda at: 2 * STEADY if int(at) % 2 else 0,
    "short pauses": lambda at: 0 if int(at) % 10 == 9 else STEADY,
    "jitter": lambda at: STEADY * (0.6 + 0.8 * ((at * 7919) % 1.0)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_after_the_first_tenth_the_time_left_is_known_within_a_fifth(shape: str) -> None:
    for estimated, left in estimates(SHAPES[shape]):
        assert abs(estimated - left) <= max(0.2 * left, 2.0), (shape, estimated, left)


@settings(max_examples=40)
@given(
    rate=st.floats(4, 200),
    start=st.floats(0, 0.06),
    wobble=st.lists(st.floats(0.85, 1.15), min_size=1, max_size=20),
)
def test_steady_work_is_estimated_within_a_fifth_at_any_rate_after_any_short_start(
    rate: float, start: float, wobble: list[float]
) -> None:
    """`start` is the share of the whole time in which next to nothing is done."""
    still = start * TOTAL / (rate * MIB * 10)

    def at(seconds: float) -> float:
        return 0 if seconds < still else rate * 10 * MIB * wobble[int(seconds / EVERY) % len(wobble)]

    for estimated, left in estimates(at):
        assert abs(estimated - left) <= max(0.2 * left, 2.0)


def test_a_change_of_speed_is_followed() -> None:
    """What comes is like the later half of what was: of a disk that has become slower we know so far no more."""
    estimated, left = list(estimates(lambda at: STEADY if at < 40 else STEADY / 4, until=0.8))[-1]
    assert abs(estimated - left) <= 0.2 * left


def test_each_phase_has_a_pace_of_its_own() -> None:
    """Copy, wait for the cut, WAL: the wait is no part of either."""
    copy, wal = Pace(), Pace()
    for second in range(11):
        copy.add(second, second * 100)
    for second in range(500, 511):
        wal.add(second, (second - 500) * 7)
    assert (copy.bytes_per_second, wal.bytes_per_second) == (100, 7)


def test_work_that_begins_anew_is_not_reckoned_from_before() -> None:
    pace = Pace()
    for second, done in [(0, 0), (10, 1000), (20, 0), (30, 50)]:
        pace.add(second, done)
    assert pace.bytes_per_second == 5


def test_nothing_is_made_up() -> None:
    pace = Pace()
    assert pace.bytes_per_second == 0
    pace.add(1.0, 0)
    pace.add(1.0, 100)
    assert pace.bytes_per_second == 0, "no time has passed"
    assert Progress("copying", 5, 100).seconds_left is None
    assert Progress("copying", 100, 100).seconds_left == 0
    assert Progress("copying", 120, 100, 10).seconds_left == 0


def test_memory_is_bounded_and_the_whole_time_is_kept() -> None:
    pace = Pace()
    for number in range(10_000):
        pace.add(number, number * 3)
    assert len(pace._samples) <= 64
    assert pace._samples[0] == (0, 0)
    assert pace.bytes_per_second == 3


def test_nodes_are_counted_together_and_those_that_are_done_have_no_rate() -> None:
    nodes = [Progress("copying", 100, 100, 50), Progress("copying", 20, 100, 10)]
    whole = together("copying", nodes)
    assert (whole.bytes_done, whole.bytes_total, whole.bytes_per_second) == (120, 200, 10)
    assert whole.seconds_left == 8


def test_a_whole_capture_is_expected_to_read_everything() -> None:
    for looked_at in range(0, TOTAL, TOTAL // 7):
        assert expected_bytes(looked_at, looked_at, TOTAL) == TOTAL


def test_an_incremental_capture_is_expected_to_read_the_rest_as_what_it_has_looked_at() -> None:
    assert expected_bytes(0, 0, TOTAL) == TOTAL, "nobody knows yet"
    assert expected_bytes(TOTAL // 200, TOTAL // 2, TOTAL) < TOTAL // 20
    assert expected_bytes(TOTAL // 100, TOTAL, TOTAL) == TOTAL // 100, "all is planned: that, and no more"
    assert expected_bytes(TOTAL * 2, TOTAL * 2, TOTAL) == TOTAL * 2, "it has grown"


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_what_is_planned_is_always_expected(planned: int, more: int, all_bytes: int) -> None:
    assert expected_bytes(planned, planned + more, all_bytes) >= planned
