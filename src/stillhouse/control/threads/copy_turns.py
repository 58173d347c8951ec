"""How many nodes are copied at once on this host, so that memory does not grow with a cluster's nodes."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_SECONDS = 1.0


class CopyTurns:
    """Turns at copying a node into the repository, or out of it. For the threads of one process.

    A node has its turn while fewer than `at_once` others are copied, or while no other node of the same work is: the
    nodes of a large cluster wait for each other, and no snapshot or restore waits for another one. Among the nodes of
    one work turns come in the order in which they were asked for.
    """

    def __init__(self, at_once: int = 0) -> None:
        """With 0 as many copy at once as there are cores, and two at least: one may wait for a disk or a network."""
        self._at_once = at_once or max(2, os.cpu_count() or 1)
        self._changed = threading.Condition()
        self._copying: Counter[str] = Counter()  # by work
        self._waiting: dict[str, list[object]] = {}

    @contextmanager
    def turn(self, work: str, go_on: Callable[[], object]) -> Iterator[Callable[[], None]]:
        """Wait for a turn, and hold it until the end, or until the function that is given is called before.

        `work` is the id of the snapshot or of the restored cluster. `go_on` is called now and then while the turn is
        waited for, and ends the waiting by raising.
        """
        self._wait(work, go_on)
        held = True

        def end() -> None:
            nonlocal held
            if held:
                held = False
                self._give_back(work)

        try:
            yield end
        finally:
            end()

    def _wait(self, work: str, go_on: Callable[[], object]) -> None:
        ticket = object()
        with self._changed:
            line = self._waiting.setdefault(work, [])
            line.append(ticket)
        try:
            while True:
                with self._changed:
                    if self._changed.wait_for(
                        lambda: line[0] is ticket and self._is_room(work), _LOOK_SECONDS
                    ):
                        self._copying[work] += 1
                        return
                go_on()
        finally:
            with self._changed:
                line.remove(ticket)
                if not line:
                    del self._waiting[work]
                self._changed.notify_all()

    def _is_room(self, work: str) -> bool:
        return self._copying.total() < self._at_once or not self._copying[work]

    def _give_back(self, work: str) -> None:
        with self._changed:
            self._copying[work] -= 1
            if not self._copying[work]:
                del self._copying[work]
            self._changed.notify_all()
