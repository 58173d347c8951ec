"""The service's one timer: every few seconds it calls each periodic duty."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.control.flow_context import FlowContext
from stillhouse.durable.flows import in_our_errors
from stillhouse.errors import ShuttingDown, StillhouseError

# Decides from the catalog which work is due at a time, and enqueues its flows in the transaction that notes so.
Duty = Callable[[FlowContext, datetime], list[str] | None]


class Timer:
    """One thread. It keeps no state of its own: the catalog knows which work was done and which is due."""

    def __init__(self, place: FlowContext, duties: Mapping[str, Duty], every_seconds: float) -> None:
        self._place = place
        self._duties = dict(duties)
        self._every_seconds = every_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and return when no duty is at work any more. A second call, or one before the start, does nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            for name, duty in self._duties.items():
                if not self._stopping.is_set():
                    attempt(name, partial(duty, self._place, self._place.control.clock.now()))


def attempt(what: str, act: Callable[[], list[str] | None]) -> None:
    """Do one of several independent things. Its failure is logged and goes no further.

    This is the one place where going on after an error is right. No caller waits for an answer. The catalog still
    says that the thing is due, so the next round tries it again. A cluster or a duty that always fails must not keep
    the others from their schedules.
    """
    try:
        in_our_errors(what, act)
    except ShuttingDown:
        return  # work that is due now is still due at the next start
    except StillhouseError as error:
        log.get("timer").error("failed", what=what, code=error.code, reason=str(error))
