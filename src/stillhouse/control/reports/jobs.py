"""Jobs, live tasks and events: the operations at work and those that have ended, as the catalog has them."""

import uuid
from dataclasses import dataclass

from stillhouse.catalog import captures, events, operations, snapshots
from stillhouse.catalog.captures import Capture
from stillhouse.catalog.events import Event
from stillhouse.catalog.operations import Operation
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster
from stillhouse.domain.cluster import Cluster, Task
from stillhouse.domain.snapshot import Snapshot
from stillhouse.errors import OperationUnknown


@dataclass(frozen=True)
class LiveTask:
    """A cluster's last operation of one kind, with the snapshot that it takes or restores, and each node's capture."""

    cluster: Cluster
    operation: Operation
    snapshot: Snapshot | None
    captures: tuple[Capture, ...]


def find_job(control: Control, project: str, job_id: str) -> Operation:
    """Find a job. A job is an operation, and its id (32 hex digits) is the operation's without dashes."""
    with control.database.reading() as reading:
        operation = operations.find(reading, project, str(uuid.UUID(hex=job_id)))
    if operation is None or operation.kind is Task.COLLECTING:  # collections are not shown as jobs
        raise OperationUnknown(f"job {job_id} does not exist")
    return operation


def job_of(control: Control, cluster_id: str, kind: Task) -> str | None:
    """Return the id of the cluster's last operation of this kind."""
    with control.database.reading() as reading:
        operation = operations.latest(reading, cluster_id, kind)
    return None if operation is None else operation.id


def live_task(control: Control, project: str, cluster_id: str, kind: Task, *, failed: bool) -> LiveTask:
    """Find the cluster's last operation of this kind, or the last that failed."""
    outcome = operations.FAILED if failed else None
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        operation = operations.latest(reading, cluster.id, kind, outcome=outcome)
        if operation is None:
            raise OperationUnknown("the cluster has had no such task")
        # A snapshot that was collected meanwhile leaves nothing but the operation.
        snapshot = snapshots.find_any(reading, operation.subject_id)
        # A restore has the snapshot as its subject too, but the captures belong to the operation that took it.
        is_capture = kind is Task.SNAPSHOTTING
        at_nodes = captures.latest_captures(reading, operation.subject_id) if is_capture else []
    return LiveTask(cluster, operation, snapshot, tuple(at_nodes))


def list_events(control: Control, project: str, *, limit: int, skip: int) -> tuple[list[Event], int]:
    with control.database.reading() as reading:
        return events.page_of_events(reading, project, limit=limit, skip=skip)
