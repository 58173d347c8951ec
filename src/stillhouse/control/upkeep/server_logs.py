"""The timer's duty that keeps the logs of all clusters' servers within bounds."""

from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import attempt
from stillhouse.domain.cluster import Cluster, ClusterStatus, Provider
from stillhouse.postgres.host import server_log


def rotate_server_logs(place: FlowContext, _now: datetime) -> None:
    """Rotate each log that is too large. A cluster being made is left alone: its progress is read from its log."""
    with place.control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        if cluster.status is ClusterStatus.AVAILABLE and cluster.provider is Provider.EMBEDDED:
            attempt(f"server logs of cluster {cluster.id}", partial(_rotate, cluster))


def _rotate(cluster: Cluster) -> None:
    for node in cluster.nodes:
        if server_log.rotate(node):
            log.get("upkeep").info("server log rotated", cluster=cluster.id, node=node.name)
