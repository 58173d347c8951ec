"""The timer: every duty is asked again and again, whatever the others do, until it is stopped."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, cast

import pytest
import structlog

from stillhouse.clock import SystemClock
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import Duty, Timer, attempt
from stillhouse.errors import CatalogUnavailable, ShuttingDown

PATIENCE = 30


class _Control:
    clock = SystemClock()


class _Place:
    control = _Control()


Start = Callable[..., Timer]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Timer] = []

    def begin(**duties: Duty) -> Timer:
        table = Timer(cast(FlowContext, _Place()), duties, every_seconds=0.001)
        running.append(table)
        table.start()
        return table

    yield begin
    for table in running:
        table.stop()


def counted(times: int) -> tuple[Duty, threading.Event]:
    """A duty, and what is set when it was asked so many times."""
    left, done = [times], threading.Event()

    def duty(_place: FlowContext, now: datetime) -> None:
        assert now.tzinfo is not None
        left[0] -= 1
        if left[0] <= 0:
            done.set()

    return duty, done


@pytest.mark.parametrize("failure", [CatalogUnavailable("planted"), RuntimeError("planted")])
def test_a_duty_that_fails_keeps_neither_itself_nor_the_others_from_the_next_round(
    start: Start, failure: Exception
) -> None:
    tries, tried = counted(3)

    def fail(place: FlowContext, now: datetime) -> None:
        tries(place, now)
        raise failure

    good, done = counted(3)
    start(bad=fail, good=good)
    assert done.wait(PATIENCE) and tried.wait(PATIENCE)


def test_stop_returns_only_when_the_duty_at_work_is_done(start: Start) -> None:
    entered, leave = threading.Event(), threading.Event()
    log: list[str] = []

    def slow(_place: FlowContext, _now: datetime) -> None:
        entered.set()
        leave.wait(PATIENCE)
        log.append("duty ended")

    table = start(slow=slow)
    assert entered.wait(PATIENCE)

    def stop() -> None:
        table.stop()
        log.append("stopped")

    stopper = threading.Thread(target=stop)
    stopper.start()
    leave.set()
    stopper.join(PATIENCE)
    assert log == ["duty ended", "stopped"]
    table.stop()


def test_a_timer_that_was_never_started_can_be_stopped() -> None:
    Timer(cast(FlowContext, _Place()), {}, 1).stop()


@pytest.mark.parametrize(
    ("failure", "code"),
    [(CatalogUnavailable("planted"), "catalog.unavailable"), (RuntimeError("planted"), "internal")],
)
def test_a_failure_is_logged_with_its_code(failure: Exception, code: str) -> None:
    def fail() -> None:
        raise failure

    with structlog.testing.capture_logs() as logged:
        attempt("this duty", fail)
    line: dict[str, Any] = dict(logged[-1])
    assert (line["component"], line["what"], line["code"], line["log_level"]) == (
        "timer",
        "this duty",
        code,
        "error",
    )
    assert "planted" in line["reason"]


def test_a_shutdown_is_no_failure() -> None:
    def fail() -> None:
        raise ShuttingDown("planted")

    with structlog.testing.capture_logs() as logged:
        attempt("this duty", fail)
    assert logged == []
