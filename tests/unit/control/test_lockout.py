"""Lock-out and the count of refusals: when, for how long, for whom, and in how much memory."""

from hypothesis import given
from hypothesis import strategies as st

from stillhouse.clock import SystemClock
from stillhouse.control.lockout import Lockouts, LockoutsInMemory
from stillhouse.control.refusal_counts import Tally

HOLDER = ("key", "A" * 20, "10.0.0.1")
ELSEWHERE = ("key", "A" * 20, "10.0.0.2")


class At(SystemClock):
    """A moment, in monotonic seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return self._seconds


def fail(lockouts: Lockouts, times: int, now: float, subject: tuple[str, ...] = HOLDER) -> None:
    for _ in range(times):
        lockouts.failed(subject, At(now))


def test_the_sixth_failure_in_a_row_locks_for_five_minutes() -> None:
    lockouts = LockoutsInMemory()
    fail(lockouts, 5, now=0)
    assert not lockouts.is_locked(HOLDER, At(0))
    fail(lockouts, 1, now=10)
    assert lockouts.is_locked(HOLDER, At(10)) and lockouts.is_locked(HOLDER, At(309.9))
    assert not lockouts.is_locked(HOLDER, At(310))


def test_after_a_lock_there_are_as_many_tries_as_before() -> None:
    lockouts = LockoutsInMemory()
    fail(lockouts, 6, now=0)
    fail(lockouts, 5, now=300)
    assert not lockouts.is_locked(HOLDER, At(300))
    fail(lockouts, 1, now=300)
    assert lockouts.is_locked(HOLDER, At(300))


def test_a_success_or_five_quiet_minutes_end_the_row() -> None:
    lockouts = LockoutsInMemory()
    fail(lockouts, 5, now=0)
    lockouts.succeeded(HOLDER)
    fail(lockouts, 5, now=1)
    assert not lockouts.is_locked(HOLDER, At(1))
    fail(lockouts, 5, now=302)
    assert not lockouts.is_locked(HOLDER, At(302))


def test_who_fails_elsewhere_locks_nobody_else() -> None:
    lockouts = LockoutsInMemory()
    fail(lockouts, 100, now=0, subject=ELSEWHERE)
    assert lockouts.is_locked(ELSEWHERE, At(0)) and not lockouts.is_locked(HOLDER, At(0))


def test_names_without_end_are_remembered_within_bounds() -> None:
    lockouts = LockoutsInMemory()
    for number in range(12_000):
        lockouts.failed(("key", str(number), ""), At(0))
    assert len(lockouts._failures) == 10_000


def test_of_a_long_name_a_few_bytes_are_kept() -> None:
    lockouts = LockoutsInMemory()
    lockouts.failed(("a" * 10**6, "b" * 10**6), At(0))
    assert [len(key) for key in lockouts._failures] == [16]


def test_names_that_read_alike_when_joined_are_two() -> None:
    lockouts = LockoutsInMemory()
    fail(lockouts, 6, now=0, subject=("ab", "c"))
    assert lockouts.is_locked(("ab", "c"), At(0)) and not lockouts.is_locked(("a", "bc"), At(0))


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60))
def test_nobody_is_locked_for_more_than_five_minutes_after_a_failure(steps: list[tuple[int, bool]]) -> None:
    """The gateway asks first, so a failure while locked is never counted."""
    lockouts, now, last = LockoutsInMemory(), 0.0, float("-inf")
    for pause, right in steps:
        now += pause
        if lockouts.is_locked(HOLDER, At(now)):
            assert now - last < 300
        elif right:
            lockouts.succeeded(HOLDER)
        else:
            lockouts.failed(HOLDER, At(now))
            last = now


def test_refusals_are_counted_by_outcome_kind_and_hour() -> None:
    tally = Tally()
    assert [tally.count("o", ("a",), 100), tally.count("o", ("a",), 200)] == [(1, True), (2, False)]
    assert tally.count("o", ("b",), 300) == tally.count("p", ("a",), 300) == (1, False)
    assert [tally.count("o", ("a",), 3699), tally.count("o", ("a",), 3700)] == [(3, False), (1, True)]


def test_kinds_beyond_an_outcome_s_thousandth_count_as_one() -> None:
    tally = Tally()
    first = [tally.count("o", (str(number),), 0)[0] for number in range(1000)]
    later = [tally.count("o", (str(number),), 0)[0] for number in range(1000, 3000)]
    assert (first, later) == ([1] * 1000, list(range(1, 2001)))
    assert tally.count("o", ("5",), 0) == (2, False)
    assert tally.count("p", ("new",), 0) == (1, False)
