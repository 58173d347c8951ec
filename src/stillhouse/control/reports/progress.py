"""Progress of a snapshot or a restore at work: bytes, rate, time left."""

from dataclasses import dataclass

from stillhouse.catalog import captures, operations, restores
from stillhouse.catalog.captures import CaptureState
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster, known_snapshot
from stillhouse.domain.cluster import Task
from stillhouse.domain.progress import Progress, together
from stillhouse.domain.snapshot import SnapshotStatus

DONE = "done"
FAILED = "failed"
WAITING = "waiting"
COPYING = "copying"
CUTTING = "cutting"
FINISHING = "finishing"


@dataclass(frozen=True)
class Shown:
    """Progress as it is shown. `percent` is that of the whole work and only grows; `progress` is that of the phase.

    `expected_pause_seconds`: how long the snapshot's cut is expected to hold writers up; `None` while unknown.
    """

    progress: Progress
    percent: int
    expected_pause_seconds: float | None = None


def of_snapshot(control: Control, project: str, snapshot_id: str) -> Shown:
    with control.database.reading() as reading:
        snapshot = known_snapshot(reading, project, snapshot_id)
        rows = captures.latest_captures(reading, snapshot.id)
        attempt = captures.latest_attempt(reading, snapshot.id)
        is_cut = captures.read_cut(reading, snapshot.id, attempt) is not None
        pause = captures.expected_pause(reading, snapshot.id)
    parts = [Progress(COPYING, row.bytes_done, row.bytes_total, row.bytes_per_second) for row in rows]
    if snapshot.status is not SnapshotStatus.CREATING:
        phase = DONE if snapshot.status is SnapshotStatus.AVAILABLE else FAILED
    elif not rows:
        phase = WAITING
    elif any(row.state is CaptureState.COPYING for row in rows):
        phase = COPYING
    else:
        phase = FINISHING if is_cut else CUTTING
    return Shown(together(phase, parts), snapshot.progress, pause)


def of_cluster(control: Control, project: str, cluster_id: str) -> Shown:
    """Return the progress of the operation that holds the cluster; of its restore also in bytes."""
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        operation = operations.active(reading, cluster.id)
        if operation is None:
            return Shown(Progress(DONE), 100)
        if operation.kind is Task.SNAPSHOTTING:
            snapshot = operation.subject_id
        elif operation.kind in (Task.RESTORING, Task.FINE_GRAINED_RESTORING):
            return Shown(_restore(reading, operation.id), operation.progress)
        else:
            return Shown(Progress(WAITING), operation.progress)
    return of_snapshot(control, project, snapshot)


def _restore(reading: Transaction, operation_id: str) -> Progress:
    nodes = restores.of_operation(reading, operation_id)
    if not nodes:
        return Progress(WAITING)
    phase = restores.phase_of(nodes)
    whole = together(phase, [node for node in nodes if node.phase == phase])
    is_open = phase == restores.REPLAYING and whole.bytes_done == whole.bytes_total
    return together(FINISHING, [whole]) if is_open else whole
