"""Requests about clusters. Each is accepted or refused in one transaction; flows do the work."""

from dataclasses import dataclass, field

from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.secrets import keep_secret
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import (
    idle_cluster,
    known_cluster,
    usable_snapshot,
    working_cluster,
)
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Task
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import ClusterBusy, InvalidInput

# Of a snapshot's cluster, these facts hold for the restored one too unless the request says otherwise.
_INHERITED_FACTS = (
    "node_type",
    "number_of_cn",
    "vpc_id",
    "subnet_id",
    "security_group_id",
    "availability_zone",
)
_DELETABLE = frozenset(
    {
        ClusterStatus.AVAILABLE,
        ClusterStatus.CREATE_FAILED,
        ClusterStatus.FAILED,
        ClusterStatus.DELETE_FAILED,
    }
)


@dataclass(frozen=True)
class ClusterRequest:
    """`facts` is what is only echoed: see `Cluster.facts`."""

    name: str
    number_of_node: int
    user_pwd: str = field(repr=False)
    user_name: str = names.DEFAULT_USER
    port: int = names.DEFAULT_PORT
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoreRequest:
    """`facts` holds only what the request gave: the rest comes from the snapshot's cluster."""

    name: str
    port: int = names.DEFAULT_PORT
    facts: dict[str, object] = field(default_factory=dict)


def request_cluster(control: Control, project: str, request: ClusterRequest) -> str:
    """Accept a new cluster; the flow `provision_cluster` builds it. Its id."""
    cluster_id = new_uuid()
    with audited(control, project, "CreateCluster", f"cluster/{cluster_id}") as transaction:
        names.check_cluster_name(request.name)
        names.check_number_of_node(request.number_of_node)
        names.check_port(request.port)
        names.check_user_name(request.user_name)
        names.check_password(request.user_pwd, request.user_name)
        now = control.clock.now()
        cluster = Cluster(
            id=cluster_id,
            project=project,
            name=request.name,
            engine=Engine.SINGLE if request.number_of_node == 1 else Engine.FDW,
            status=ClusterStatus.CREATING,
            number_of_node=request.number_of_node,
            port=request.port,
            user_name=request.user_name,
            created=now,
            updated=now,
            facts=request.facts,
        )
        clusters.insert_cluster(transaction, cluster)
        operations.begin(transaction, cluster_id, Task.CREATING, cluster_id, now)
        keep_secret(transaction, control.sealer, user_pwd_key(cluster_id), request.user_pwd, now)
        control.flows.enqueue(transaction, "provision_cluster", cluster_id)
    return cluster_id


def request_restore(control: Control, project: str, snapshot_id: str, request: RestoreRequest) -> str:
    """Accept a new cluster from a snapshot; the flow `restore_cluster` builds it. Its id.

    The flow finds the snapshot as the subject of the new cluster's operation.
    """
    cluster_id = new_uuid()
    with audited(control, project, "RestoreCluster", f"snapshot/{snapshot_id}") as transaction:
        names.check_cluster_name(request.name)
        names.check_port(request.port)
        source, snapshot = usable_snapshot(transaction, project, snapshot_id)
        now = control.clock.now()
        inherited = {key: source.facts[key] for key in _INHERITED_FACTS if key in source.facts}
        cluster = Cluster(
            id=cluster_id,
            project=project,
            name=request.name,
            engine=source.engine,
            status=ClusterStatus.CREATING,
            number_of_node=source.number_of_node,
            port=request.port,
            user_name=snapshot.db_user,
            created=now,
            updated=now,
            facts=inherited | request.facts,
        )
        clusters.insert_cluster(transaction, cluster)
        operations.begin(transaction, cluster_id, Task.RESTORING, snapshot.id, now)
        control.flows.enqueue(transaction, "restore_cluster", cluster_id)
    return cluster_id


def list_clusters(control: Control, project: str) -> list[Cluster]:
    with control.database.reading() as reading:
        return clusters.list_clusters(reading, project)


def get_cluster(control: Control, project: str, cluster_id: str) -> Cluster:
    with control.database.reading() as reading:
        return known_cluster(reading, project, cluster_id)


def restart_cluster(control: Control, project: str, cluster_id: str) -> None:
    with audited(control, project, "RestartCluster", f"cluster/{cluster_id}") as transaction:
        cluster = working_cluster(transaction, project, cluster_id)
        operations.begin(transaction, cluster.id, Task.REBOOTING, cluster.id, control.clock.now())
        control.flows.enqueue(transaction, "restart_cluster", cluster.id)


def delete_cluster(control: Control, project: str, cluster_id: str, keep_last_manual: int) -> None:
    """Accept a deletion; `keep_last_manual` waits for the flow in its operation's detail."""
    with audited(control, project, "DeleteCluster", f"cluster/{cluster_id}") as transaction:
        if keep_last_manual < 0:
            raise InvalidInput("keep_last_manual_snapshot must not be negative")
        cluster = idle_cluster(transaction, project, cluster_id, _DELETABLE)
        for snapshot in snapshots.given_up_with_cluster(transaction, cluster.id, keep_last_manual):
            if snapshot.use:
                raise ClusterBusy(f"snapshot {snapshot.id} of cluster {cluster.id} is {snapshot.use}")
        now = control.clock.now()
        detail = {"keep_last_manual": keep_last_manual}
        operations.begin(transaction, cluster.id, Task.DELETING, cluster.id, now, detail)
        clusters.set_status(transaction, cluster.id, ClusterStatus.DELETING, now)
        control.flows.enqueue(transaction, "delete_cluster", cluster.id)


def user_pwd_key(cluster_id: str) -> str:
    """Where a new cluster's administrator password waits for the flow that provisions it."""
    return f"user_pwd/{cluster_id}"
