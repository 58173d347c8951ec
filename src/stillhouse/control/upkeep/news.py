"""The timer's duty of the service that leads: it tells the replicas on other hosts the state of its own."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from stillhouse.catalog import clusters
from stillhouse.catalog.installation import news
from stillhouse.control.clusters.addresses import as_reached
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.replicas.following import Told
from stillhouse.control.reports.capacity import measure
from stillhouse.control.reports.disk_use import disk_use
from stillhouse.control.timer import Beside
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.reports.capacity import Host
from stillhouse.durable.engine_tables import ENGINE

# The disk's use is told in such steps, so that the news do not change all the time.
_STEP_BYTES = 64 << 20
# To measure what projects use walks through all files of their clusters.
_MEASURED_SECONDS = 60.0


class Telling:
    """The news are written when they have changed, at most once in a round of the timer."""

    def __init__(self) -> None:
        self._work = Beside("news")
        self._told: Told | None = None
        self._disk_use: dict[str, int] = {}
        self._measured = float("-inf")

    def __call__(self, place: FlowContext, now: datetime) -> None:
        if not place.control.database.is_sqlite:
            self._work.begin("all", "news for the replicas", partial(self.tell, place.control))

    def tell(self, control: Control) -> None:
        with control.database.reading() as reading:
            found = clusters.all_clusters(reading)
        told = Told(
            host=_in_steps(measure(control)),
            silent=control.node_watch.silent(found),
            addresses=_addresses(control, found),
            disk_use=self._use_of_disk(control, found),
        )
        if told != self._told:
            with control.database.transaction() as transaction:
                news.tell(transaction, ENGINE, told.to_document(), control.clock.now())
            self._told = told

    def _use_of_disk(self, control: Control, found: Sequence[Cluster]) -> dict[str, int]:
        at = control.clock.monotonic()
        if at - self._measured >= _MEASURED_SECONDS:
            projects = sorted({cluster.project for cluster in found})
            used = {project: disk_use(control, project) for project in projects}
            self._disk_use = {project: size for project, size in used.items() if size}
            self._measured = at
        return self._disk_use


def _in_steps(host: Host) -> Host:
    return replace(host, disk_used_bytes=host.disk_used_bytes // _STEP_BYTES * _STEP_BYTES)


def _addresses(control: Control, found: Sequence[Cluster]) -> dict[str, str]:
    """Return the name by which each cluster is reached from other hosts, of those that are."""
    reached = {cluster.id: as_reached(control, cluster) for cluster in found if cluster.nodes}
    return {
        cluster.id: reached[cluster.id].coordinator.host
        for cluster in found
        if cluster.nodes and reached[cluster.id] is not cluster
    }
