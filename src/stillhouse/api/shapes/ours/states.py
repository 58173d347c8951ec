"""Snapshots, clusters and operations in our own words: states that DWS has no words for, and why something failed."""

from stillhouse.api.shapes.values import Answer, Int32, Int64, Json, NullableText, cluster_time
from stillhouse.control.reports.operations import Condition, Told
from stillhouse.control.snapshots.fates import Fated
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.reports import failure as failures
from stillhouse.domain.reports.operations import DONE, Operation


class Failure(Answer):
    code: str
    reason: str
    hint: str


class SnapshotState(Answer):
    id: str
    name: str
    state: str
    type: str
    description: str
    cluster_id: str
    cluster_name: str
    started: str
    finished: NullableText
    progress: str
    failure: Failure | None
    use: str
    live_bytes: Int64
    stored_bytes: Int64 | None
    own_bytes: Int64 | None
    added_bytes: Int64
    expires: NullableText
    kept_because: str
    deleted: NullableText
    until: NullableText


class ShownSnapshot(Answer):
    snapshot: SnapshotState


class SnapshotStates(Answer):
    snapshots: list[SnapshotState]
    count: Int32


class NodeState(Answer):
    name: str
    role: str
    state: str
    address: str
    reason: str


class ClusterState(Answer):
    id: str
    name: str
    provider: str
    state: str
    task: NullableText
    progress: str
    created: str
    failure: Failure | None
    node_states: list[NodeState]


class ShownCluster(Answer):
    cluster: ClusterState


class ClusterStates(Answer):
    clusters: list[ClusterState]
    count: Int32


class OperationState(Answer):
    id: str
    kind: str
    state: str
    cluster_id: str
    cluster_name: str
    subject_id: str
    progress: str
    started: str
    ended: NullableText
    failure: Failure | None


class ShownOperation(Answer):
    operation: OperationState


class Operations(Answer):
    operations: list[OperationState]
    count: Int32


def failure(found: failures.Failure | None) -> Json | None:
    return None if found is None else {"code": found.code, "reason": found.reason, "hint": found.hint}


def snapshot_state(fated: Fated) -> Json:
    """A snapshot. `stored_bytes` are all that it needs of the repository, `own_bytes` those that no other snapshot
    needs, `added_bytes` those that were stored when it was taken.
    """
    snapshot, fate = fated.snapshot, fated.fate
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "state": snapshot.state.value,
        "type": snapshot.type.value,
        "description": snapshot.description,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "started": cluster_time(snapshot.started),
        "finished": cluster_time(snapshot.finished) if snapshot.finished else None,
        "progress": f"{snapshot.progress}%",
        "failure": failure(snapshot.failure),
        "use": snapshot.use,
        "live_bytes": snapshot.plain_bytes,
        "stored_bytes": snapshot.reached_bytes,
        "own_bytes": snapshot.own_bytes,
        "added_bytes": snapshot.stored_bytes,
        "expires": cluster_time(fate.expires) if fate.expires else None,
        "kept_because": fate.why,
        "deleted": cluster_time(snapshot.deleted) if snapshot.deleted else None,
        "until": cluster_time(fated.until) if fated.until else None,
    }


def cluster_state(found: Condition) -> Json:
    cluster = found.cluster
    return {
        "id": cluster.id,
        "name": cluster.name,
        "provider": cluster.provider.value,
        "state": cluster.state,
        "task": cluster.task.value if cluster.task else None,
        "progress": f"{cluster.progress}%" if cluster.task else "100%",
        "created": cluster_time(cluster.created),
        "failure": failure(found.failure),
        "node_states": [_node_state(cluster, node) for node in cluster.nodes],
    }


def _node_state(cluster: Cluster, node: Node) -> Json:
    return {
        "name": node.name,
        "role": node.role.value,
        "state": cluster.node_state(node).value,
        "address": f"{node.host}:{node.port}",
        "reason": cluster.silent.get(node.id, ""),
    }


def operation_state(told: Told) -> Json:
    operation = told.operation
    return {
        "id": operation.id,
        "kind": operation.kind.value,
        "state": _state_of(operation),
        "cluster_id": operation.cluster_id,
        "cluster_name": told.cluster_name,
        "subject_id": operation.subject_id,
        "progress": "100%" if operation.outcome == DONE else f"{operation.progress}%",
        "started": cluster_time(operation.started),
        "ended": cluster_time(operation.ended) if operation.ended else None,
        "failure": failure(operation.failure),
    }


def _state_of(operation: Operation) -> str:
    if operation.ended is None:
        return "RUNNING"
    if operation.failure:
        return "CANCELLED" if operation.failure.is_cancellation else "FAILED"
    return "DONE"
