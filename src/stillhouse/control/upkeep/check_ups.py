"""Check-ups of registered clusters by the timer."""

from datetime import datetime, timedelta
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.checks import check_ups
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.clusters.check_ups import look_at
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import Beside
from stillhouse.domain.cluster import Cluster, ClusterStatus, Provider
from stillhouse.domain.registered.check_up import musts


class CheckUps:
    """The timer's duty. A server that hangs holds up neither the timer nor other clusters."""

    def __init__(self, every: timedelta) -> None:
        self._every = every
        self._looks = Beside("check-up")

    def __call__(self, place: FlowContext, now: datetime) -> None:
        if not self._every:
            return
        with place.control.database.reading() as reading:
            due = [
                cluster for cluster in clusters.all_clusters(reading) if self._is_due(reading, cluster, now)
            ]
        for cluster in due:
            look = partial(_look_by_timer, place.control, cluster)
            self._looks.begin(cluster.id, f"check-up of cluster {cluster.id}", look)

    def _is_due(self, reading: Transaction, cluster: Cluster, now: datetime) -> bool:
        if cluster.provider is not Provider.REGISTERED or cluster.status is not ClusterStatus.AVAILABLE:
            return False
        if self._looks.is_at_work(cluster.id):
            return False
        latest = check_ups.latest(reading, cluster.id)
        return latest is None or latest.time + self._every <= now


def _look_by_timer(control: Control, cluster: Cluster) -> None:
    found = musts(look_at(control, cluster).findings)
    if found:
        log.get("check-up").warning(
            "the next snapshot of the cluster will fail",
            cluster=cluster.id,
            reasons=[f"{finding.node}: {finding.message}" for finding in found],
            mend=[finding.mend for finding in found],
        )
