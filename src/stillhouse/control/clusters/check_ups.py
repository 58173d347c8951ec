"""Check-ups of registered clusters: at their registration, on request, and for the timer."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from stillhouse.catalog.checks import check_ups
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.control.lookup import known_cluster
from stillhouse.domain.cluster import Cluster, Engine, Node, Provider
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


def check_up_cluster(context: CatalogContext, project: str, cluster_id: str) -> CheckUp:
    """Check a registered cluster's servers now, and keep the result. Raises StateForbids for one of our own servers."""
    return look_at(context, registered_cluster(context, project, cluster_id))


def look_at(context: CatalogContext, cluster: Cluster) -> CheckUp:
    """Check the servers now, and keep the result."""
    findings = examine(cluster.engine, cluster.nodes)
    with context.database.transaction() as transaction:
        return keep(transaction, cluster.id, context.clock.now(), findings)


def registered_cluster(context: CatalogContext, project: str, cluster_id: str) -> Cluster:
    """Raises ClusterUnknown, and StateForbids for a cluster of our own servers."""
    with context.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
    if cluster.provider is not Provider.REGISTERED:
        raise StateForbids(
            f"cluster {cluster.id} is {cluster.provider}: Stillhouse has made its servers as it needs them",
            hint="`stillhouse cluster delete` removes it with its data",
        )
    return cluster


def latest_check_up(context: CatalogContext, project: str, cluster_id: str) -> CheckUp | None:
    """Return the latest check-up of a cluster. `None` for a cluster of our own servers."""
    with context.database.reading() as reading:
        known_cluster(reading, project, cluster_id)
        return check_ups.latest(reading, cluster_id)


def keep(transaction: Transaction, cluster_id: str, now: datetime, findings: Sequence[Finding]) -> CheckUp:
    made = CheckUp(now, tuple(findings))
    check_ups.put(transaction, cluster_id, made)
    return made


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
