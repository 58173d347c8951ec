"""Requests about clusters. Each is accepted or refused in one transaction; flows do the work."""

from dataclasses import dataclass, field

from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.access.access_keys import keep_secret
from stillhouse.control import quotas
from stillhouse.control.audit import audited
from stillhouse.control.clusters.accounts import check_account
from stillhouse.control.clusters.addresses import check_port_is_free
from stillhouse.control.context import Control
from stillhouse.control.lookup import (
    idle_cluster,
    known_cluster,
    known_snapshot,
    usable_snapshot,
    working_cluster,
)
from stillhouse.control.reports.disk_use import disk_use
from stillhouse.control.schedule.snapshot_policies import add_default_policies
from stillhouse.control.snapshots.queue import AFTER, call_off
from stillhouse.domain import chosen_settings, names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Task
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import ClusterBusy, InvalidInput, NameTaken, NotOffered, StateForbids
from stillhouse.warehouse.cluster.abilities import Ability, check_able

# A restored cluster takes these facts from the snapshot's cluster unless the request says otherwise.
_INHERITED_FACTS = (
    "node_type",
    "number_of_cn",
    "vpc_id",
    "subnet_id",
    "security_group_id",
    "availability_zone",
)
# An ordinary host does not have these. A request for one is refused, not ignored.
_NOT_OFFERED = {
    "dss_pool_id": "there are no dedicated storage pools",
    "master_key_id": "there is no key service to encrypt the cluster's disks with",
    "ipv6_enable": "clusters listen on IPv4 addresses of the host only",
}
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
    """A cluster to be made. `facts` are only stored and echoed: see `Cluster.facts`."""

    name: str
    number_of_node: int
    user_pwd: str = field(repr=False)
    user_name: str = names.DEFAULT_USER
    port: int = names.DEFAULT_PORT
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoreRequest:
    """A cluster to be restored. `facts` are those of the request; the rest comes from the snapshot's cluster.
    `server_settings` override the snapshot's.
    """

    name: str
    port: int = names.DEFAULT_PORT
    facts: dict[str, object] = field(default_factory=dict)
    server_settings: dict[str, str] = field(default_factory=dict)


def request_cluster(control: Control, project: str, request: ClusterRequest) -> str:
    """Accept a new cluster; the flow `provision_cluster` builds it. Returns its id."""
    cluster_id, disk_bytes = new_uuid(), disk_use(control, project)
    with audited(control, project, "CreateCluster", f"cluster/{cluster_id}") as transaction:
        names.check_cluster_name(request.name)
        names.check_number_of_node(request.number_of_node)
        names.check_port(request.port)
        names.check_user_name(request.user_name)
        names.check_password(request.user_pwd, request.user_name)
        _check_offered(request.facts)
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
        check_account(transaction, control.settings, project)
        check_port_is_free(transaction, control.settings, request.port)
        wanted = quotas.Wanted(request.number_of_node)
        quotas.check(transaction, control.settings, project, wanted, disk_bytes)
        clusters.insert_cluster(transaction, cluster)
        if control.settings.default_policies:
            add_default_policies(transaction, cluster_id, now)
        operations.begin(transaction, cluster_id, Task.CREATING, cluster_id, now)
        keep_secret(transaction, control.sealer, user_pwd_key(cluster_id), request.user_pwd, now)
        control.flows.enqueue(transaction, "provision_cluster", cluster_id)
    return cluster_id


def request_restore(control: Control, project: str, snapshot_id: str, request: RestoreRequest) -> str:
    """Accept a new cluster from a snapshot; the flow `restore_cluster` builds it. Returns its id.

    The flow finds the snapshot as the subject of the new cluster's operation.
    """
    cluster_id, disk_bytes = new_uuid(), disk_use(control, project)
    with audited(control, project, "RestoreCluster", f"snapshot/{snapshot_id}") as transaction:
        names.check_cluster_name(request.name)
        names.check_port(request.port)
        _check_offered(request.facts)
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
        check_account(transaction, control.settings, project)
        check_port_is_free(transaction, control.settings, request.port)
        wanted = quotas.Wanted(source.number_of_node, snapshot.plain_bytes)
        quotas.check(transaction, control.settings, project, wanted, disk_bytes)
        clusters.insert_cluster(transaction, cluster)
        if control.settings.default_policies:
            add_default_policies(transaction, cluster_id, now)
        detail = {"server_settings": chosen_settings.check(request.server_settings, chosen_settings.CALLERS)}
        operations.begin(transaction, cluster_id, Task.RESTORING, snapshot.id, now, detail)
        control.flows.enqueue(transaction, "restore_cluster", cluster_id)
    return cluster_id


def check_cluster(control: Control, project: str, request: ClusterRequest, snapshot_id: str | None) -> None:
    """Raise the error that making or restoring this cluster would raise now; nothing is changed.

    Only the given fields are checked: `request.name` and `request.user_pwd` may be empty.
    """
    if request.name:
        names.check_cluster_name(request.name)
    if request.user_pwd:
        names.check_password(request.user_pwd, request.user_name)
    names.check_number_of_node(request.number_of_node)
    names.check_port(request.port)
    names.check_user_name(request.user_name)
    _check_offered(request.facts)
    disk_bytes = disk_use(control, project)
    with control.database.reading() as reading:
        check_account(reading, control.settings, project)
        data_bytes = known_snapshot(reading, project, snapshot_id).plain_bytes if snapshot_id else 0
        wanted = quotas.Wanted(request.number_of_node, data_bytes)
        quotas.check(reading, control.settings, project, wanted, disk_bytes)
        if request.name and clusters.is_name_taken(reading, project, request.name):
            raise NameTaken(f"the project already has a cluster named {request.name}")
        if snapshot_id is None:
            return
        snapshot = known_snapshot(reading, project, snapshot_id)
        if snapshot.status is not SnapshotStatus.AVAILABLE:
            raise StateForbids(f"snapshot {snapshot.id} is in state {snapshot.status}")
        number = clusters.read_cluster(reading, snapshot.cluster_id).number_of_node
    if request.number_of_node != number:
        raise InvalidInput(f"the snapshot is of {number} nodes, and a restore makes as many")


def list_clusters(control: Control, project: str) -> list[Cluster]:
    with control.database.reading() as reading:
        found = clusters.list_clusters(reading, project)
    return [control.node_watch.seen(cluster) for cluster in found]


def get_cluster(control: Control, project: str, cluster_id: str) -> Cluster:
    with control.database.reading() as reading:
        found = known_cluster(reading, project, cluster_id)
    return control.node_watch.seen(found)


def restart_cluster(control: Control, project: str, cluster_id: str) -> None:
    with audited(control, project, "RestartCluster", f"cluster/{cluster_id}") as transaction:
        cluster = working_cluster(transaction, project, cluster_id)
        check_able(cluster, Ability.RESTART)
        operations.begin(transaction, cluster.id, Task.REBOOTING, cluster.id, control.clock.now())
        control.flows.enqueue(transaction, "restart_cluster", cluster.id)


def stop_cluster(control: Control, project: str, cluster_id: str) -> str:
    """Accept a stop of the cluster's servers, which then stay stopped. Returns the id of its operation."""
    with audited(control, project, "StopCluster", f"cluster/{cluster_id}") as transaction:
        cluster = working_cluster(transaction, project, cluster_id)
        check_able(cluster, Ability.STOP)
        now = control.clock.now()
        operation_id = operations.begin(transaction, cluster.id, Task.STOPPING, cluster.id, now)
        control.flows.enqueue(transaction, "stop_cluster", cluster.id)
    return operation_id


def start_cluster(control: Control, project: str, cluster_id: str) -> str:
    """Accept a start of the servers of a stopped cluster. Returns the id of its operation."""
    with audited(control, project, "StartCluster", f"cluster/{cluster_id}") as transaction:
        cluster = idle_cluster(transaction, project, cluster_id, {ClusterStatus.AVAILABLE})
        check_able(cluster, Ability.START)
        if not cluster.stopped:
            raise StateForbids(
                f"cluster {cluster.name} was not stopped", hint="a restart starts servers that do not answer"
            )
        now = control.clock.now()
        operation_id = operations.begin(transaction, cluster.id, Task.STARTING, cluster.id, now)
        control.flows.enqueue(transaction, "start_cluster", cluster.id)
    return operation_id


def delete_cluster(control: Control, project: str, cluster_id: str, keep_last_manual: int) -> str:
    """Accept a deletion, and return its operation's id. Snapshots of the cluster that are not complete fail.

    The flow begins at once, or when the snapshot at work has let go of the cluster. The operation's detail keeps
    `keep_last_manual` for the flow; it counts snapshots that can be restored then.
    """
    with audited(control, project, "DeleteCluster", f"cluster/{cluster_id}") as transaction:
        if keep_last_manual < 0:
            raise InvalidInput("keep_last_manual_snapshot must not be negative")
        cluster = idle_cluster(transaction, project, cluster_id, _DELETABLE, beside={Task.SNAPSHOTTING})
        taken = call_off(control, transaction, cluster.id)
        for snapshot in snapshots.given_up_with_cluster(transaction, cluster.id, keep_last_manual):
            if snapshot.use:
                raise ClusterBusy(f"snapshot {snapshot.id} of cluster {cluster.id} is {snapshot.use}")
            if snapshot.copied_from and snapshot.status is SnapshotStatus.CREATING:
                raise ClusterBusy(f"snapshot {snapshot.id} of cluster {cluster.id} is being copied")
        now = control.clock.now()
        detail = {"keep_last_manual": keep_last_manual} | ({AFTER: taken} if taken else {})
        operation_id = operations.begin(transaction, cluster.id, Task.DELETING, cluster.id, now, detail)
        clusters.set_status(transaction, cluster.id, ClusterStatus.DELETING, now)
        if not taken:
            control.flows.enqueue(transaction, "delete_cluster", cluster.id)
    return operation_id


def _check_offered(facts: dict[str, object]) -> None:
    for key, why in _NOT_OFFERED.items():
        if facts.get(key):
            raise NotOffered(f"{key} is not offered: {why}")
    public_ip = facts.get("public_ip")
    if isinstance(public_ip, dict) and _is_address_wanted(public_ip):
        raise NotOffered("public_ip is not offered: there are no elastic IPs; give not_use")


def _is_address_wanted(public_ip: dict[str, object]) -> bool:
    """Tell whether a public address is wanted: a named one is, unless the request says not to use it."""
    kind = public_ip.get("public_bind_type") or ("bind_existing" if public_ip.get("eip_id") else "not_use")
    return kind != "not_use"


def user_pwd_key(cluster_id: str) -> str:
    """Return the name under which a new cluster's administrator password waits for the flow that provisions it."""
    return f"user_pwd/{cluster_id}"
