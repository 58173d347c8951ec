"""A warehouse cluster as the control plane knows it: its nodes, its status, and the task that holds it."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ClusterStatus(StrEnum):
    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    CREATE_FAILED = "CREATE_FAILED"
    FAILED = "FAILED"
    DELETING = "DELETING"
    DELETE_FAILED = "DELETE_FAILED"
    DELETED = "DELETED"


class NodeState(StrEnum):
    """Our own words for the state of a node's server."""

    UP = "UP"
    DOWN = "DOWN"  # it should be at work, and does not answer
    STOPPED = "STOPPED"
    CHANGING = "CHANGING"  # it is made, started, stopped or removed at this moment
    GONE = "GONE"


class Task(StrEnum):
    """The one operation that holds a cluster. DWS shows it as `task_status` and `action_progress`."""

    CREATING = "CREATING"
    RESTORING = "RESTORING"
    FINE_GRAINED_RESTORING = "FINE_GRAINED_RESTORING"  # restoring tables into the cluster itself
    SNAPSHOTTING = "SNAPSHOTTING"
    REBOOTING = "REBOOTING"
    STARTING = "STARTING"
    STOPPING = "STOPPING"
    DELETING = "DELETING"
    CHANGING = "CHANGING"  # a change of the catalog's row alone: it has always ended, and it holds no cluster
    COLLECTING = "COLLECTING"  # never shown, because it gives way to every other task


_HAS_SERVERS = (ClusterStatus.AVAILABLE, ClusterStatus.FAILED, ClusterStatus.DELETE_FAILED)
# Tasks during which servers may be away, as they should.
_SERVERS_CHANGE = frozenset(
    {Task.CREATING, Task.RESTORING, Task.REBOOTING, Task.STARTING, Task.STOPPING, Task.DELETING}
)


class Engine(StrEnum):
    """How a cluster's servers form one database."""

    SINGLE = "single"
    FDW = "fdw"


class Provider(StrEnum):
    """Who has the servers of a cluster in hand."""

    EMBEDDED = "embedded"  # we: they are made, started, stopped and removed on this host
    REGISTERED = "registered"  # somebody: we only connect to them


class Role(StrEnum):
    CN = "cn"
    DN = "dn"


class Place(StrEnum):
    """Where a node's work is done."""

    HERE = "here"  # on this host, in the node's directory and by its private socket
    CONNECTION = "connection"  # by ordinary connections alone


@dataclass(frozen=True)
class Connection:
    """The way to a server over the network. `hosts` are addresses and ports; of several, the one that can be written to
    is meant.

    The password is the first line of `password_file`, or in `pgpass_file`, or else the node's secret. `tls` is libpq's
    `sslmode`, and `ca_file` its `sslrootcert`, unless there is the text of one, `ca_certificate`. `system_identifier`
    is that of the server that was registered, "" if it is unknown.
    """

    hosts: tuple[tuple[str, int], ...]
    role: str
    password_file: str = ""
    tls: str = "require"
    ca_file: str = ""
    pgpass_file: str = ""
    system_identifier: str = ""
    ca_certificate: str = ""


@dataclass(frozen=True)
class Node:
    """One PostgreSQL server of a cluster: managed by this host, or somebody's, reached by its `connection`.

    `directory` holds all files of the node (`pgdata`, `tablespaces`, `server.log`). `socket` is the directory of its
    private unix socket, through which the service logs in. `os_user` is the account of the operating system that the
    server runs as, "" for the service's own. The passwords of our roles on this server are derived from `secret`, which
    is "" until the node has one. With a `connection` the secret is our role's password, and there is no directory.
    `host` and `port` are the address by which the coordinator reaches a data node.
    """

    id: str
    name: str
    role: Role
    host: str
    port: int
    directory: str
    socket: str
    lineage: str = ""
    os_user: str = ""
    secret: str = field(default="", repr=False)
    connection: Connection | None = None

    @property
    def place(self) -> Place:
        return Place.HERE if self.connection is None else Place.CONNECTION

    @property
    def addresses(self) -> frozenset[tuple[str, int]]:
        """The addresses by which a coordinator may know this node."""
        own = {(self.host, self.port)}
        return frozenset(own if self.connection is None else own.union(self.connection.hosts))

    def password(self, role: str) -> str:
        """Return the password of one of our roles on this server, or "" before the node has a secret."""
        if not self.secret:
            return ""
        return hmac.new(self.secret.encode(), role.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Cluster:
    id: str
    project: str
    name: str
    engine: Engine
    status: ClusterStatus
    number_of_node: int
    port: int
    user_name: str
    created: datetime
    updated: datetime
    nodes: tuple[Node, ...] = ()
    task: Task | None = None
    progress: int = 0
    stopped: bool = False
    failed_code: str = ""
    failed_reason: str = ""
    # Why a node that should be at work does not answer, by the node's id; as it was seen last.
    silent: Mapping[str, str] = field(default_factory=dict)
    # Values of the request that are only echoed: node_type, vpc_id, subnet_id, security_group_id, availability_zone,
    # number_of_cn, enterprise_project_id, tags, public_ip, description, logical_cluster_enable.
    facts: dict[str, object] = field(default_factory=dict)
    provider: Provider = Provider.EMBEDDED

    @property
    def is_at_work(self) -> bool:
        """Whether the cluster is meant to work, apart from a task that changes its servers now."""
        return self.status in _HAS_SERVERS and not self.stopped

    @property
    def should_answer(self) -> bool:
        """Whether the cluster's servers are meant to be at work at this moment."""
        return self.is_at_work and self.task not in _SERVERS_CHANGE

    @property
    def state(self) -> str:
        """The state in our own words: that of DWS, or STOPPED, or DOWN without a coordinator, or DEGRADED."""
        if self.status is not ClusterStatus.AVAILABLE:
            return self.status.value
        if self.stopped:
            return "STOPPED"
        down = [node for node in self.nodes if self.node_state(node) is NodeState.DOWN]
        if not down:
            return self.status.value
        return "DOWN" if self.coordinator in down else "DEGRADED"

    def node_state(self, node: Node) -> NodeState:
        if self.status in (ClusterStatus.CREATE_FAILED, ClusterStatus.DELETED):
            return NodeState.GONE
        if self.stopped and self.status in _HAS_SERVERS:
            return NodeState.STOPPED
        if not self.should_answer:
            return NodeState.CHANGING
        return NodeState.DOWN if node.id in self.silent else NodeState.UP

    @property
    def coordinator(self) -> Node:
        return next(node for node in self.nodes if node.role is Role.CN)

    @property
    def data_nodes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role is Role.DN)
