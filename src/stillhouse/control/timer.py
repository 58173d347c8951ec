"""The service's one timer: every few seconds it calls each periodic duty."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from stillhouse import log, metrics
from stillhouse.control.flow_context import FlowContext
from stillhouse.durable.our_errors import in_our_errors
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
            metrics.count_round(self._place.control.clock.now().timestamp())


class Beside:
    """Work beside the timer, each in a thread of its own, and at most one at a time for each key.

    Work that hangs holds up neither the timer nor other work. `begin` and `join` belong to the timer's thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: dict[str, threading.Thread] = {}

    def is_at_work(self, key: str) -> bool:
        thread = self._threads.get(key)
        return thread is not None and thread.is_alive()

    def begin(self, key: str, what: str, act: Callable[[], list[str] | None]) -> None:
        """Attempt `what`, unless work of this key goes on."""
        if not self.is_at_work(key):
            self._threads = {one: thread for one, thread in self._threads.items() if thread.is_alive()}
            thread = threading.Thread(target=attempt, args=(what, act), name=self._name, daemon=True)
            self._threads[key] = thread
            thread.start()

    def join(self, seconds: float) -> None:
        """Return when all work has ended, or after so many seconds."""
        latest = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, latest - time.monotonic()))


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
        metrics.count_failed_duty(error.code)
        log.get("timer").error("failed", what=what, code=error.code, reason=str(error))
