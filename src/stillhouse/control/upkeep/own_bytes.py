"""The timer's duty that measures snapshots: the bytes that each needs of the repository, and that it alone needs."""

from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.catalog import snapshot_sizes
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import Beside
from stillhouse.durable.flows import FlowInterrupted
from stillhouse.workers import process
from stillhouse.workers.jobs import MeasureJob, measure_job

_AGAIN_AFTER_SECONDS = 600.0
_ONE_AT_A_TIME = "all clusters"


class Measurer:
    """Measures one cluster at a time, beside everything else. A cluster that fails has its turn again after a while.

    A snapshot is measured once after it was taken or copied, with all others of its cluster; and again when one of
    them was purged.
    """

    def __init__(self, again_after_seconds: float = _AGAIN_AFTER_SECONDS) -> None:
        self._again_after_seconds = again_after_seconds
        self._not_before: dict[str, float] = {}
        self._work = Beside("measurer")

    def __call__(self, place: FlowContext, now: datetime) -> None:
        if self._work.is_at_work(_ONE_AT_A_TIME):
            return
        with place.control.database.reading() as reading:
            waiting = snapshot_sizes.unmeasured(reading)
        at = place.control.clock.monotonic()
        chosen = next((one for one in waiting if self._not_before.get(one, at) <= at), None)
        if chosen is None:
            return
        self._not_before[chosen] = at + self._again_after_seconds
        work = partial(self._measure, place, chosen)
        self._work.begin(_ONE_AT_A_TIME, f"bytes of snapshots of cluster {chosen}", work)

    def _measure(self, place: FlowContext, cluster_id: str) -> None:
        try:
            measure(place, cluster_id)
        except FlowInterrupted:
            return  # the service is shutting down: the next one measures
        with place.control.database.reading() as reading:
            # A snapshot that the repository does not have stays unmeasured: it is looked for again after a while.
            if cluster_id not in snapshot_sizes.unmeasured(reading):
                self._not_before.pop(cluster_id, None)


def measure(place: FlowContext, cluster_id: str) -> None:
    """Measure a cluster's snapshots in a process of its own, and keep the results."""
    control = place.control
    job = MeasureJob(place.vault.repository, cluster_id)
    sizes = process.run(measure_job, job, lambda event: control.flows.check_running())
    with control.database.transaction() as transaction:
        snapshot_sizes.save(transaction, cluster_id, sizes)
    log.get("bytes").info("snapshots measured", cluster=cluster_id, snapshots=len(sizes))
