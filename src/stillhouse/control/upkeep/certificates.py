"""The timer's duty that gives clusters which are reached from other hosts the certificate that was renewed."""

from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import attempt
from stillhouse.domain.cluster import Cluster, ClusterStatus, Provider
from stillhouse.postgres.host import server


def renew_certificates(place: FlowContext, _now: datetime) -> None:
    """Compare each coordinator's certificate with the service's, and replace it without a restart."""
    if place.site.binaries.outside is None:
        return
    with place.control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        is_ours = cluster.provider is Provider.EMBEDDED and cluster.status is ClusterStatus.AVAILABLE
        if is_ours and not cluster.stopped:
            attempt(f"certificate of cluster {cluster.id}", partial(_renew, place, cluster))


def _renew(place: FlowContext, cluster: Cluster) -> None:
    if server.renew_certificate(place.site.binaries, cluster.coordinator):
        log.get("upkeep").info("certificate renewed", cluster=cluster.id)
