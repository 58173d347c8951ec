"""When the engine looks for flows to begin: at once after they were enqueued in this process, else every few seconds.

By itself the engine looks at its tables every second or oftener, in five threads, at 1 to 3 ms of a processor each. It
has no means to be told of work, so three of its threads are replaced while it launches. Its own function goes on to
take the flows (`dbos/_queue.py`, `queue_worker_thread`): ours only decides how long it waits between two looks.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, Queue, _dbos, _queue

# For flows that another process has enqueued, a command for example.
SELDOM_SECONDS = 5.0
# While as many flows are at work as may be, by the engine's own count: it counts a flow for a moment after its end.
_SOON_SECONDS = 0.5


class Looks:
    """The looks of one engine at our queue, and at the engine's own, through which it recovers children."""

    def __init__(self) -> None:
        self._ours, self._engines = _Pauses(), _Pauses()
        self._threads: list[threading.Thread] = []

    def now(self) -> None:
        """Look for enqueued flows now. Call it when they are committed, and when a flow has ended: others may wait."""
        self._ours.end_one()

    @contextmanager
    def replacing_polls(self) -> Iterator[None]:
        """Launch the engine within: it starts threads by these names of its module, each with these arguments."""
        replacements = {
            "startup_recovery_thread": self._recover,
            "queue_thread": self._stop_when_told,
            "background_jobs_thread": _do_nothing,
        }
        originals = {name: getattr(_dbos, name) for name in replacements}
        self._recover_by = originals["startup_recovery_thread"]
        vars(_dbos).update(replacements)
        try:
            yield
        finally:
            vars(_dbos).update(originals)

    def begin(self, engine: DBOS, queue: Queue, most_at_once: int) -> None:
        """Begin to take flows from the queue, of which so many may be at work at once."""
        self._ours.is_full = lambda: engine._active_workflows_set.count_for_queue(queue.name) >= most_at_once
        self.now()
        for pauses, each in (self._ours, queue), (self._engines, engine._registry.get_internal_queue()):
            thread = threading.Thread(
                target=_queue.queue_worker_thread,
                args=(pauses, engine, each),
                name=f"queue-{each.name}",
                daemon=True,
            )
            self._threads.append(thread)
            thread.start()

    def _recover(self, engine: DBOS, unended: Any) -> None:
        """Enqueue anew what a process that died has left unended; children into the engine's queue."""
        self._recover_by(engine, unended)
        self._engines.end_one()
        self._ours.end_one()

    def _stop_when_told(self, stop: threading.Event, _engine: DBOS) -> None:
        stop.wait()
        for pauses in (self._ours, self._engines):
            pauses.set()
        for thread in self._threads:
            thread.join()


class _Pauses(threading.Event):
    """The event by which a worker of the engine is stopped, and on which it waits between two looks."""

    def __init__(self) -> None:
        super().__init__()
        self._over = threading.Event()
        self.is_full: Callable[[], bool] = lambda: False
        self._was_full = False

    def end_one(self) -> None:
        self._over.set()

    def set(self) -> None:
        super().set()
        self._over.set()

    def wait(self, timeout: float | None = None) -> bool:
        # A look at a full queue takes nothing, and a flow that ended just after it has asked for no other look.
        # `timeout` is the engine's, which grows up to two minutes after conflicts between transactions.
        self._over.wait(_SOON_SECONDS if self._was_full or self.is_full() else SELDOM_SECONDS)
        self._over.clear()  # before the look, which so sees all that was committed before the call of `end_one`
        self._was_full = self.is_full()
        return self.is_set()


def _do_nothing(_stop: threading.Event, _engine: DBOS) -> None:
    """Stand in for the engine's sweeps of delayed flows and of deadlines: ours have neither."""
