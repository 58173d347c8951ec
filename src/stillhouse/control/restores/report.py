"""Reports the progress of a restore to the catalog: of one node, or of all nodes together."""

import threading
import time
from collections.abc import Callable, Sequence

from stillhouse.catalog import operations, restores
from stillhouse.control.flow_context import FlowContext
from stillhouse.domain.progress import Pace, Progress


class Report:
    """The report of one share of a restore in one phase. Used from many threads.

    `percent` tells the progress of the whole operation by that of all shares.
    """

    def __init__(
        self,
        place: FlowContext,
        operation_id: str,
        share: str,
        phase: str,
        percent: Callable[[Sequence[Progress]], int],
    ) -> None:
        self._place, self._operation, self._share = place, operation_id, share
        self._phase, self._percent = phase, percent
        self._pace, self._lock = Pace(), threading.Lock()
        self._came_further = place.control.flows.pulse()

    def wait(self) -> None:
        """Note that the share waits for its turn, which is no standstill. Raises FlowInterrupted in the end."""
        self._came_further()
        self._place.control.flows.check_running()

    def show(self, done: int, total: int) -> None:
        """Report that `done` of `total` bytes are done."""
        self._came_further()
        with self._lock, self._place.control.database.transaction() as transaction:
            self._pace.add(time.monotonic(), done)
            now = Progress(self._phase, min(done, total), total, self._pace.bytes_per_second)
            restores.put(transaction, self._operation, self._share, now)
            shares = restores.of_operation(transaction, self._operation)
            operations.set_progress(transaction, self._operation, self._percent(shares))


def within(from_: int, to: int, now: Progress) -> int:
    """Return the percentage at which a part of the work stands that leads from one percentage to another."""
    return from_ + (to - from_) * now.bytes_done // max(now.bytes_total, 1)
