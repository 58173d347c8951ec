"""The threads that requests are answered in, and the bound on requests that wait for one of them."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from stillhouse.errors import Overloaded

T = TypeVar("T")

# Python runs one of them at a time, so more would make no read faster. So many are for calls that wait: for a server,
# for the store, or for their turn to write.
_THREADS = 24
# About a third of a second of reads on one core.
_MOST_WAITING = 200
_RETRY_AFTER_SECONDS = 1


class WorkerThreads:
    """Daemon threads behind a bounded queue. `run` belongs to one event loop."""

    def __init__(self, threads: int = _THREADS, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._threads = threads
        self._begun = 0  # threads
        self._taken = 0  # calls that wait or run
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    async def run(self, function: Callable[..., T], *arguments: Any, is_begun: bool = False) -> T:
        """Run a function in a thread and return its result. `is_begun`: it goes on with an answer that has begun.

        Raises Overloaded at once if too many wait.
        """
        if self._taken >= self._threads + self._most_waiting and not is_begun:
            raise Overloaded(f"{self._taken} requests wait for a thread", retry_after=_RETRY_AFTER_SECONDS)
        loop, context = asyncio.get_running_loop(), copy_context()
        result: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                found = context.run(function, *arguments)
            except BaseException as error:  # noqa: BLE001 the caller gets it
                _tell(loop, result.set_exception, result, error)
            else:
                _tell(loop, result.set_result, result, found)

        self._taken += 1
        self._begin_thread()
        self._calls.put(call)
        try:
            return await result
        finally:
            self._taken -= 1

    def _begin_thread(self) -> None:
        """Begin one more thread, if all that there are may be at work."""
        if self._begun < min(self._taken, self._threads):
            self._begun += 1
            threading.Thread(
                target=_work, args=(self._calls,), name=f"api-{self._begun}", daemon=True
            ).start()


def _work(calls: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        calls.get()()


def _tell(
    loop: asyncio.AbstractEventLoop, tell: Callable[[Any], None], result: asyncio.Future[Any], said: Any
) -> None:
    def unless_cancelled() -> None:
        if not result.cancelled():
            tell(said)

    loop.call_soon_threadsafe(unless_cancelled)
