"""Turns at copying: a large cluster's nodes wait for each other, and no snapshot waits for another."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest

from stillhouse.control.threads.copy_turns import CopyTurns
from stillhouse.errors import Cancelled


class Waiting:
    """A thread that asks for a turn, and holds it until it is told to end."""

    def __init__(self, turns: CopyTurns, snapshot: str) -> None:
        self.has, self._end = threading.Event(), threading.Event()
        self._turns, self._snapshot = turns, snapshot
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._turns.turn(self._snapshot, lambda: None):
            self.has.set()
            self._end.wait(60)

    def end(self) -> None:
        self._end.set()
        self._thread.join(60)


def nothing() -> None:
    pass


def refused(turns: CopyTurns, snapshot: str) -> bool:
    """Whether a turn is not to be had now: the waiting is called off at its first look."""

    def call_off() -> None:
        raise Cancelled("looked")

    try:
        with turns.turn(snapshot, call_off):
            return False
    except Cancelled:
        return True


def test_as_many_nodes_of_a_snapshot_copy_as_there_are_turns() -> None:
    turns = CopyTurns(2)
    with turns.turn("large", nothing):
        with turns.turn("large", nothing):
            assert refused(turns, "large")
        assert not refused(turns, "large")


def test_no_snapshot_waits_for_another_one() -> None:
    turns = CopyTurns(2)
    with turns.turn("large", nothing), turns.turn("large", nothing):
        with turns.turn("small", nothing):
            assert refused(turns, "small")
        assert refused(turns, "large")


def test_a_copied_node_gives_its_turn_to_the_next_before_it_ends() -> None:
    turns = CopyTurns(1)
    with turns.turn("large", nothing) as end:
        end()
        with turns.turn("large", nothing):
            end()  # a second time changes nothing
            assert refused(turns, "large")
    assert not refused(turns, "large")


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = CopyTurns(1), list[Waiting]()
    with turns.turn("large", nothing):
        for number in range(3):
            order.append(Waiting(turns, "large"))
            _until(partial(is_in_line, turns, number + 1))
    for number, waiting in enumerate(order):
        assert waiting.has.wait(60)
        assert not any(later.has.is_set() for later in order[number + 1 :])
        waiting.end()
    assert not turns._waiting and not turns._copying


@pytest.mark.parametrize("count", [1, 8])
def test_a_turn_that_is_no_longer_waited_for_holds_up_nobody(count: int) -> None:
    turns = CopyTurns(1)
    with ExitStack() as held:
        held.enter_context(turns.turn("large", nothing))
        assert all(refused(turns, "large") for _ in range(count))
    assert not refused(turns, "large")
    assert not turns._waiting and not turns._copying


def is_in_line(turns: CopyTurns, count: int) -> bool:
    return len(turns._waiting["large"]) == count


def _until(is_so: Callable[[], bool]) -> None:
    waited = threading.Event()
    while not is_so():
        waited.wait(0.001)
