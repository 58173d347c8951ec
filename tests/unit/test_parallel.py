"""Work on all nodes at once: the first cause of a failure is told, not that the others were stopped."""

import threading
from collections.abc import Callable

import pytest

from stillhouse.errors import Cancelled, RestoreFailed
from stillhouse.parallel import at_once


def test_results_are_in_the_order_of_the_items() -> None:
    second_ended = threading.Event()

    def work(item: int, check: Callable[[], None]) -> int:
        if item == 2:
            second_ended.set()
        assert second_ended.wait(60)
        check()
        return item * 10

    assert at_once(work, [1, 2], 2) == [10, 20]


def test_the_first_cause_stops_the_others_and_is_raised() -> None:
    begun: list[str] = []

    def work(item: str, check: Callable[[], None]) -> None:
        begun.append(item)
        if item == "fails":
            raise RestoreFailed("the disk is full")
        _until_stopped(check)

    with pytest.raises(RestoreFailed, match="the disk is full"):
        at_once(work, ["is stopped", "fails", "never begins"], 2)
    assert sorted(begun) == ["fails", "is stopped"]


def test_a_failure_while_stopping_does_not_hide_the_one_that_came_before() -> None:
    def work(item: str, check: Callable[[], None]) -> None:
        if item == "came first":
            raise RestoreFailed("the disk is full")
        with pytest.raises(Cancelled):
            _until_stopped(check)
        raise RestoreFailed("its server does not stop")

    with pytest.raises(RestoreFailed, match="the disk is full"):
        at_once(work, ["is stopped", "came first"], 2)


def test_a_cancellation_that_stops_all_is_raised_as_it_is() -> None:
    def work(item: int, check: Callable[[], None]) -> None:
        raise Cancelled("a person said so")

    with pytest.raises(Cancelled, match="a person said so"):
        at_once(work, [1], 2)


def _until_stopped(check: Callable[[], None]) -> None:
    while True:
        check()
