"""Look-up of the clusters and snapshots that a request names, within the request's project."""

from collections.abc import Collection

from stillhouse.catalog import clusters, snapshots
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.domain.cluster import Cluster, ClusterStatus, Provider, Task
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import (
    ClusterBusy,
    ClusterUnknown,
    InvalidInput,
    OnAnotherHost,
    SnapshotUnknown,
    StateForbids,
)
from stillhouse.warehouse.cluster.planned_nodes import has_plan


def known_cluster(transaction: Transaction, project: str, cluster_id: str) -> Cluster:
    """Find the project's cluster; another project's is as unknown as one that never existed."""
    if not is_uuid(cluster_id):
        raise InvalidInput("a cluster id is a UUID of 36 characters")
    cluster = clusters.find_cluster(transaction, project, cluster_id.lower())
    if cluster is None:
        raise ClusterUnknown(f"cluster {cluster_id} does not exist or has been deleted")
    return cluster


def working_cluster(
    transaction: Transaction, project: str, cluster_id: str, *, beside: Collection[Task] = ()
) -> Cluster:
    """Find and lock the project's cluster, if its servers run and no operation holds it but one of `beside`."""
    cluster = idle_cluster(transaction, project, cluster_id, {ClusterStatus.AVAILABLE}, beside=beside)
    if cluster.stopped:
        raise StateForbids(f"cluster {cluster.id} is stopped")
    return cluster


def idle_cluster(
    transaction: Transaction,
    project: str,
    cluster_id: str,
    states: Collection[ClusterStatus],
    *,
    beside: Collection[Task] = (),
) -> Cluster:
    """Find and lock the project's cluster, if it is in one of these states and held by nothing but one of `beside`."""
    clusters.lock_cluster(transaction, known_cluster(transaction, project, cluster_id).id)
    cluster = known_cluster(transaction, project, cluster_id)
    if cluster.status not in states:
        raise StateForbids(f"cluster {cluster.id} is in state {cluster.status}")
    if cluster.task is not None and cluster.task not in beside:
        raise ClusterBusy(f"cluster {cluster.id} is busy: {cluster.task}")
    return cluster


def answering_cluster(transaction: Transaction, project: str, cluster_id: str) -> Cluster:
    """Find the project's cluster, if its servers are at work; another operation may hold it."""
    cluster = known_cluster(transaction, project, cluster_id)
    if cluster.status is not ClusterStatus.AVAILABLE or cluster.stopped:
        state = "stopped" if cluster.stopped else f"in state {cluster.status}"
        raise StateForbids(f"cluster {cluster.id} is {state}: its servers cannot be asked")
    return cluster


def known_snapshot(transaction: Transaction, project: str, snapshot_id: str) -> Snapshot:
    """Find the project's snapshot. Snapshots in the trash are unknown, as are other projects'."""
    if is_uuid(snapshot_id):
        snapshot = snapshots.find_snapshot(transaction, project, snapshot_id.lower())
        if snapshot is not None:
            return snapshot
    raise SnapshotUnknown(f"snapshot {snapshot_id[:64]} does not exist or has been deleted")


def locked_snapshot(transaction: Transaction, project: str, snapshot_id: str) -> Snapshot:
    snapshots.lock_snapshot(transaction, known_snapshot(transaction, project, snapshot_id).id)
    return known_snapshot(transaction, project, snapshot_id)


def usable_snapshot(transaction: Transaction, project: str, snapshot_id: str) -> tuple[Cluster, Snapshot]:
    """Find a snapshot that can be restored, and the cluster it was taken of.

    Both rows are locked, the cluster first, so that a deletion of either waits, or has already happened.
    """
    clusters.lock_cluster(transaction, known_snapshot(transaction, project, snapshot_id).cluster_id)
    snapshot = locked_snapshot(transaction, project, snapshot_id)
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise StateForbids(f"snapshot {snapshot.id} is in state {snapshot.status}")
    source = clusters.read_cluster(transaction, snapshot.cluster_id)
    if source.status is ClusterStatus.DELETING:
        raise StateForbids(f"cluster {source.id} is being deleted, and its snapshots may be with it")
    return source, snapshot


def may_ask(context: CatalogContext, cluster: Cluster) -> bool:
    """Tell whether this process may ask the servers: those that were made on another host answer only there.

    The service that leads finds out by asking.
    """
    return (
        context.following.told is None
        or cluster.provider is not Provider.EMBEDDED
        or has_plan(context.settings.data / "clusters" / cluster.id)
    )


def check_may_ask(context: CatalogContext, cluster: Cluster) -> None:
    """Raise OnAnotherHost if the servers are on another host."""
    if not may_ask(context, cluster):
        raise OnAnotherHost(
            f"the servers of cluster {cluster.name} are on another host, and only the replica there can ask them",
            hint="ask again: a balancer may choose that replica; or ask it by its own address",
        )
