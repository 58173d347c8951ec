"""The threads that requests are answered in, and the bound on requests that wait for one of them."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from stillhouse.errors import Overloaded

T = TypeVar("T")
_Call = Callable[[], None]
# Here a thread gets its next call.
_Desk = SimpleQueue[_Call]

# So many calls may wait at once: for a server, for the store, or for their turn to write.
_THREADS = 24
# So many may compute at once. Python runs one thread at a time, and each that wants to run takes time from the event
# loop: with 24 it came to no request for seconds, so nobody was told that the service is overloaded.
_COMPUTING = 3
# A call that has taken longer is believed to wait.
_COMPUTES_SECONDS = 0.02
# Reads of a fraction of a second on one core.
_MOST_WAITING = 200
_RETRY_AFTER_SECONDS = 1


class WorkerThreads:
    """Daemon threads behind a bounded queue. `run` belongs to one event loop.

    Among idle threads the one that worked last is taken: what it needs is still in the processor's cache.
    """

    def __init__(self, threads: int = _THREADS, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._threads = threads
        self._taken = 0  # calls that wait or run
        self._guard = threading.Lock()
        self._idle: list[_Desk] = []
        self._begun: dict[_Desk, float] = {}  # when a thread's present call began
        self._waiting: deque[_Call] = deque()
        self._is_looking = False

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
        with self._guard:
            self._waiting.append(call)
        self._hand_out()
        try:
            return await result
        finally:
            self._taken -= 1

    def _hand_out(self) -> None:
        """Give waiting calls to threads, now and again as long as some wait."""
        with self._guard:
            while self._waiting and self._may_begin():
                desk = self._idle.pop() if self._idle else self._new_thread()
                self._begun[desk] = monotonic()
                desk.put(self._waiting.popleft())
            is_later = bool(self._waiting) and not self._is_looking
            self._is_looking = self._is_looking or is_later
        if is_later:
            asyncio.get_running_loop().call_later(_COMPUTES_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._is_looking = False
        self._hand_out()

    def _may_begin(self) -> bool:
        late = monotonic() - _COMPUTES_SECONDS
        computing = sum(begun > late for begun in self._begun.values())
        return len(self._begun) < self._threads and computing < _COMPUTING

    def _new_thread(self) -> _Desk:
        desk: _Desk = SimpleQueue()
        threading.Thread(target=self._work, args=(desk,), name="api", daemon=True).start()
        return desk

    def _work(self, desk: _Desk) -> None:
        while True:
            desk.get()()
            while (call := self._next(desk)) is not None:
                call()

    def _next(self, desk: _Desk) -> _Call | None:
        """Take a waiting call; without one, the thread is idle."""
        with self._guard:
            del self._begun[desk]
            if self._waiting and self._may_begin():
                self._begun[desk] = monotonic()
                return self._waiting.popleft()
            self._idle.append(desk)
            return None


def _tell(
    loop: asyncio.AbstractEventLoop, tell: Callable[[Any], None], result: asyncio.Future[Any], said: Any
) -> None:
    def unless_cancelled() -> None:
        if not result.cancelled():
            tell(said)

    loop.call_soon_threadsafe(unless_cancelled)
