"""Requests that change facts of a cluster unknown to its servers: name, description, time zone, a switch."""

from stillhouse.catalog import clusters, operations
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.errors import NotOffered, StateForbids

# The servers of every cluster are started with it: `postgres.server`.
TIME_ZONE = "UTC"
_NO_OTHER_ZONE = (
    f"the time zone of a cluster is {TIME_ZONE}; change it in the database, by ALTER DATABASE or ALTER ROLE"
)


def rename(control: Control, project: str, cluster_id: str, name: str) -> str:
    """Give the cluster another name; its snapshots keep the name of their time. Returns the id of an operation that has
    ended. Raises NameTaken.
    """
    with audited(control, project, "ModifyClusterName", f"cluster/{cluster_id}") as transaction:
        names.check_cluster_name(name)
        cluster = _changeable(transaction, project, cluster_id)
        now = control.clock.now()
        clusters.rename(transaction, cluster.id, name, now)
        return operations.note_done(transaction, cluster.id, Task.CHANGING, now)


def describe(control: Control, project: str, cluster_id: str, description: str) -> None:
    with audited(control, project, "SaveClusterDescriptionInfo", f"cluster/{cluster_id}") as transaction:
        _keep(control, transaction, project, cluster_id, {"description": description})


def set_time_zone(control: Control, project: str, cluster_id: str, zone: str) -> str:
    """Accept the time zone that the cluster has, and raise NotOffered for every other. Returns the id of an operation
    that has ended.
    """
    with audited(control, project, "ModifyClusterTimezone", f"cluster/{cluster_id}") as transaction:
        cluster = _changeable(transaction, project, cluster_id)
        if zone != TIME_ZONE:
            raise NotOffered(f"ModifyClusterTimezone is not offered: {_NO_OTHER_ZONE}")
        return operations.note_done(transaction, cluster.id, Task.CHANGING, control.clock.now())


def switch_logical_clusters(control: Control, project: str, cluster_id: str, enabled: bool) -> None:
    """Store whether a console is to show the pages of logical clusters: the switch means no more in DWS."""
    with audited(control, project, "EnableLogicalCluster", f"cluster/{cluster_id}") as transaction:
        _keep(control, transaction, project, cluster_id, {"logical_cluster_enable": enabled})


def _keep(
    control: Control, transaction: Transaction, project: str, cluster_id: str, said: dict[str, object]
) -> None:
    cluster = _changeable(transaction, project, cluster_id)
    clusters.set_facts(transaction, cluster.id, cluster.facts | said, control.clock.now())


def _changeable(transaction: Transaction, project: str, cluster_id: str) -> Cluster:
    """Find and lock the cluster in any state, unless it is being deleted."""
    clusters.lock_cluster(transaction, known_cluster(transaction, project, cluster_id).id)
    cluster = known_cluster(transaction, project, cluster_id)
    if cluster.status is ClusterStatus.DELETING:
        raise StateForbids(f"cluster {cluster.id} is being deleted")
    return cluster
