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


class Role(StrEnum):
    CN = "cn"
    DN = "dn"


@dataclass(frozen=True)
class Node:
    """One PostgreSQL server of a cluster, managed by this host.

    `directory` holds all files of the node (`pgdata`, `tablespaces`, `server.log`). `socket` is the directory of its
    private unix socket, through which the service logs in. `os_user` is the account of the operating system that the
    server runs as, "" for the service's own. The passwords of our roles on this server are derived from `secret`, which
    is "" until the node has one.
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

    @property
    def should_answer(self) -> bool:
        """Whether the cluster's servers are meant to be at work at this moment."""
        return self.status in _HAS_SERVERS and not self.stopped and self.task not in _SERVERS_CHANGE

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
