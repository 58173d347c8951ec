"""A node that waits for its turn at being restored is not at a standstill, and ends with the service."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillhouse.control.restores.report import Report
from stillhouse.control.threads.copy_turns import CopyTurns
from stillhouse.durable.flows import FlowInterrupted


class Flows:
    """Counts how often the flow came further; it is to stop after so many looks."""

    def __init__(self, looks: int) -> None:
        self.further, self._left = 0, looks

    def pulse(self) -> Callable[[], None]:
        def come_further() -> None:
            self.further += 1

        return come_further

    def check_running(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise FlowInterrupted


def test_waiting_for_a_turn_is_progress_until_the_service_ends() -> None:
    flows, turns = Flows(looks=2), CopyTurns(1)
    place = cast(Any, SimpleNamespace(control=SimpleNamespace(flows=flows)))
    report = Report(place, "operation", "dn1", "copying", lambda _: 0)
    with (
        turns.turn("restored", lambda: None),
        pytest.raises(FlowInterrupted),
        turns.turn("restored", report.wait),
    ):
        pass
    assert flows.further == 3
