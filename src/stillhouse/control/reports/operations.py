"""Operations on clusters, at work and ended, each with its own failure: our answer to the question why."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stillhouse import metrics
from stillhouse.catalog import clusters, operations
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster, may_ask
from stillhouse.domain.cluster import Cluster, Task
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.reports.failure import CANCELLED, Failure
from stillhouse.domain.reports.operations import FAILED, Operation
from stillhouse.errors import OperationUnknown

_PATIENCE_SECONDS = 3.0
MOST = 1000


@dataclass(frozen=True)
class Told:
    """An operation, and the name of its cluster, which may be deleted."""

    operation: Operation
    cluster_name: str


@dataclass(frozen=True)
class Condition:
    """A cluster whose nodes were just asked, and why its last operation or snapshot failed, if it did."""

    cluster: Cluster
    failure: Failure | None


def list_operations(
    control: Control, project: str, *, cluster_id: str | None, only_failed: bool, limit: int
) -> list[Told]:
    """List the operations of the project's clusters, deleted ones as well, the newest first."""
    with control.database.reading() as reading:
        found = operations.newest(
            reading, project, cluster_id=cluster_id, outcome=FAILED if only_failed else None, limit=limit
        )
    return [Told(operation, name) for operation, name in found]


def get_operation(control: Control, project: str, operation_id: str) -> Told:
    """Find an operation by its id, or by its id as a job's, of 32 digits. Raises OperationUnknown."""
    found = None
    with control.database.reading() as reading:
        if is_uuid(text := _dashed(operation_id)):
            found = operations.find(reading, project, text)
        if found is None or found.kind is Task.COLLECTING:
            raise OperationUnknown(f"operation {operation_id[:64]} does not exist")
        return Told(found, clusters.read_cluster(reading, found.cluster_id).name)


def look_at_clusters(control: Control, project: str, *, is_asking: bool = True) -> list[Condition]:
    """List the project's clusters, the newest first, and ask their nodes, or tell how they were seen last."""
    with control.database.reading() as reading:
        found = clusters.list_clusters(reading, project)
        failures = {cluster.id: _failure(reading, cluster) for cluster in found}
    return [
        Condition(cluster, failures[cluster.id]) for cluster in _seen(control, found, is_asking=is_asking)
    ]


def look_at_cluster(control: Control, project: str, cluster_id: str, *, is_asking: bool = True) -> Condition:
    with control.database.reading() as reading:
        found = known_cluster(reading, project, cluster_id)
        failure = _failure(reading, found)
    (seen,) = _seen(control, [found], is_asking=is_asking)
    return Condition(seen, failure)


def _seen(control: Control, found: Sequence[Cluster], *, is_asking: bool) -> list[Cluster]:
    """Ask the nodes that can be asked from here; the last look of the host that leads tells of the others."""
    if is_asking:
        control.node_watch.look([one for one in found if may_ask(control, one)], _PATIENCE_SECONDS)
    return [control.node_watch.seen(one) for one in found]


def _failure(reading: Transaction, cluster: Cluster) -> Failure | None:
    """The cluster's row has only a line of it; the operation that failed has it whole."""
    if not cluster.failed_reason or cluster.failed_code == CANCELLED:
        return None
    last = operations.last_failed(reading, cluster.id)
    if last is not None and last.failure and last.failure.line == cluster.failed_reason:
        return last.failure
    return Failure(cluster.failed_code, cluster.failed_reason)


def _dashed(text: str) -> str:
    try:
        return str(uuid.UUID(hex=text))
    except ValueError:
        return ""


def count_operation(operation: Operation, now: datetime, failure: Failure | None) -> None:
    """Count an operation that has just ended, for the metrics."""
    code = failure.code if failure else None
    seconds = (now - operation.started).total_seconds()
    metrics.count_ended(operation.cluster_id, operation.kind.lower(), seconds, code)
