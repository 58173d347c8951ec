"""Tells a thread that another has changed a snapshot, so that it need not look all the time."""

import threading
from collections import Counter
from functools import partial

from stillhouse.catalog.schema.calls import BELL, call
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Transaction


class Bells:
    """A bell for each subject. A call of another process may be missed, and beside a catalog in a file there are none:
    a waiter must look now and then without being told.
    """

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._times: Counter[str] = Counter()
        self._is_over = False

    def ring(self, subject: str) -> None:
        """Wake the subject's waiters. Call it after the commit, so that they see the change."""
        with self._rung:
            self._times[subject] += 1
            self._rung.notify_all()

    def ring_at_commit(self, transaction: Transaction, subject: str) -> None:
        """Wake the waiters of all processes when the transaction commits, if it does."""
        after_commit(transaction, partial(self.ring, subject))
        call(transaction, BELL, subject)

    def wait(self, subject: str, heard: int, seconds: float) -> int:
        """Wait until the bell has rung more than `heard` times, or for so long. Return how often it has rung."""
        with self._rung:
            self._rung.wait_for(lambda: self._times[subject] > heard or self._is_over, seconds)
            return self._times[subject]

    def end(self) -> None:
        """Wake all waiters, and let nobody wait any more: the flows are to stop."""
        with self._rung:
            self._is_over = True
            self._rung.notify_all()

    def forget(self, subject: str) -> None:
        """Call it when nobody waits for the subject any more."""
        with self._rung:
            self._times.pop(subject, None)
