"""Calls that check passwords, in threads of their own with a bounded queue: each check costs 0.1 s and 32 MiB.

In the threads of all other requests, some dozens of wrong passwords would hold up every caller.
"""

import contextvars
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from stillhouse.errors import Overloaded

_Result = TypeVar("_Result")
# At most half of the processors, so that callers who are known already are served beside a flood of guesses.
_THREADS = max(1, min(2, (os.cpu_count() or 1) // 2))
_MOST, _MOST_PER_SENDER = 64, 8


class PasswordChecks:
    """The queue. Used from many threads."""

    def __init__(self, most: int = _MOST, most_per_sender: int = _MOST_PER_SENDER) -> None:
        self._most, self._most_per_sender = most, most_per_sender
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="password")
        self._by_sender: Counter[str] = Counter()
        self._guard = threading.Lock()

    def submit(self, sender: str, check: Callable[[], _Result]) -> "Future[_Result]":
        """Queue the check. Raises Overloaded if too many wait, in all or of this sender's.

        The second limit leaves room in the queue for other senders.
        """
        with self._guard:
            if self._by_sender.total() >= self._most or self._by_sender[sender] >= self._most_per_sender:
                raise Overloaded("too many passwords are being checked")
            self._by_sender[sender] += 1
        future = self._threads.submit(contextvars.copy_context().run, check)
        future.add_done_callback(lambda _: self._done(sender))
        return future

    def _done(self, sender: str) -> None:
        with self._guard:
            self._by_sender[sender] -= 1
            if not self._by_sender[sender]:
                del self._by_sender[sender]
