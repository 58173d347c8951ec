"""Check-ups of registered clusters: at their registration, on request, and by the timer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.checks import check_ups
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.lookup import known_cluster
from stillhouse.control.timer import Beside
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node, Provider
from stillhouse.domain.registered.check_up import CheckUp, Finding, Weight, musts
from stillhouse.errors import StateForbids, StillhouseError
from stillhouse.postgres.host.capture_checks import identify
from stillhouse.postgres.host.check_up import check_up
from stillhouse.warehouse.gate.check_up import check_up_gate

_AT_ONCE = 8


def examine(engine: Engine, nodes: Sequence[Node]) -> list[Finding]:
    """Look at everything that snapshots need of these servers. Nothing is changed there."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        findings = [finding for found in pool.map(check_up, nodes) for finding in found]
    if musts(findings) or engine is Engine.SINGLE:
        return findings
    coordinator, *data_nodes = nodes
    return [*findings, *_twins(nodes), *check_up_gate(coordinator, data_nodes)]


def check_up_cluster(control: Control, project: str, cluster_id: str) -> CheckUp:
    """Check a registered cluster's servers now, and keep the result. Raises StateForbids for one of our own servers."""
    return _look_at(control, registered_cluster(control, project, cluster_id))


def registered_cluster(control: Control, project: str, cluster_id: str) -> Cluster:
    """Raises ClusterUnknown, and StateForbids for a cluster of our own servers."""
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
    if cluster.provider is not Provider.REGISTERED:
        raise StateForbids(
            f"cluster {cluster.id} is {cluster.provider}: Stillhouse has made its servers as it needs them",
            hint="`stillhouse cluster delete` removes it with its data",
        )
    return cluster


def latest_check_up(control: Control, project: str, cluster_id: str) -> CheckUp | None:
    """Return the latest check-up of a cluster. `None` for a cluster of our own servers."""
    with control.database.reading() as reading:
        known_cluster(reading, project, cluster_id)
        return check_ups.latest(reading, cluster_id)


def keep(transaction: Transaction, cluster_id: str, now: datetime, findings: Sequence[Finding]) -> CheckUp:
    made = CheckUp(now, tuple(findings))
    check_ups.put(transaction, cluster_id, made)
    return made


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
    found = musts(_look_at(control, cluster).findings)
    if found:
        log.get("check-up").warning(
            "the next snapshot of the cluster will fail",
            cluster=cluster.id,
            reasons=[f"{finding.node}: {finding.message}" for finding in found],
            mend=[finding.mend for finding in found],
        )


def _look_at(control: Control, cluster: Cluster) -> CheckUp:
    findings = examine(cluster.engine, cluster.nodes)
    with control.database.transaction() as transaction:
        return keep(transaction, cluster.id, control.clock.now(), findings)


def _twins(nodes: Sequence[Node]) -> list[Finding]:
    """Tell of nodes that are one server."""
    seen: dict[str, str] = {}
    found = []
    for node in nodes:
        try:
            identifier = identify(node)
        except StillhouseError:
            continue  # its own check-up tells
        if (first := seen.setdefault(identifier, node.name)) != node.name:
            message = f"it is the same server as node {first}, or a copy: both have the system identifier {identifier}"
            found.append(Finding(node.name, Weight.MUST, "server", message, "give each node its own address"))
    return found
