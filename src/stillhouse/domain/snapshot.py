"""A snapshot as the control plane knows it: its states, its cut and the restore points of its nodes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure

MOST_IDS = 500
"""So many snapshots can be named in one question about them."""


class SnapshotStatus(StrEnum):
    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


class SnapshotState(StrEnum):
    """Our own words for a snapshot's state. DWS has one word, UNAVAILABLE, for the last three."""

    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    DAMAGED = "DAMAGED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class SnapshotType(StrEnum):
    MANUAL = "MANUAL"
    AUTO = "AUTO"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot. `plain_bytes` is the size of the captured data, `stored_bytes` what was stored when it was taken.

    `reached_bytes` is all that it needs of the repository, `own_bytes` what it alone needs, which its deletion would
    free; they are `None` until they are measured.

    `restoring`, `cluster_status`, `cluster_task` and `damaged` come from other rows, at the moment of reading.
    `damaged` says that the repository is known to have lost a part of the snapshot.

    An automated snapshot has `is_full` (all data were to be read), `due`, the `schedule` of its policy, and `keep_day`,
    the days that it is kept. `copied_from` is the id of the snapshot that it is a copy of. `copying` says that it is
    being copied.
    """

    id: str
    project: str
    cluster_id: str
    cluster_name: str
    name: str
    description: str
    status: SnapshotStatus
    type: SnapshotType
    started: datetime
    updated: datetime
    finished: datetime | None = None
    progress: int = 0
    plain_bytes: int = 0
    stored_bytes: int = 0
    reached_bytes: int | None = None
    own_bytes: int | None = None
    db_user: str = ""
    backup_key: str = ""
    failed_code: str = ""
    reason: str = ""
    hint: str = ""
    cancel_requested: bool = False
    restoring: bool = False
    cluster_status: ClusterStatus | None = None
    cluster_task: Task | None = None
    proving: bool = False
    damaged: bool = False
    deleted: datetime | None = None
    is_full: bool = False
    due: datetime | None = None
    schedule: str = ""
    keep_day: int | None = None
    copied_from: str = ""
    copying: bool = False

    @property
    def failure(self) -> Failure | None:
        if self.status is not SnapshotStatus.UNAVAILABLE:
            return None
        return Failure(self.failed_code, self.reason, self.hint)

    @property
    def state(self) -> SnapshotState:
        if self.failure:
            return SnapshotState.CANCELLED if self.failure.is_cancellation else SnapshotState.FAILED
        if self.damaged and self.status is SnapshotStatus.AVAILABLE:
            return SnapshotState.DAMAGED
        return SnapshotState(self.status)

    @property
    def use(self) -> str:
        """The present use that keeps the snapshot from being deleted. Empty if it is not in use."""
        if self.restoring:
            return "being restored"
        if self.proving:
            return "being proved"
        return "being copied" if self.copying else ""


def backup_key(started: datetime) -> str:
    return started.strftime("%Y%m%d_%H%M%S")


@dataclass(frozen=True)
class Witness:
    """Exported PostgreSQL snapshots that see a node exactly as it was at its restore point: (database, snapshot) pairs.

    If it is empty, `why` gives the reason.
    """

    snapshots: tuple[tuple[str, str], ...] = ()
    why: str = ""


@dataclass(frozen=True)
class RestorePoint:
    """The restore point of one node in a cut: the named point in its WAL at which recovery must stop."""

    node: str
    name: str
    lsn: int
    timeline: int
    witness: Witness = Witness()


@dataclass(frozen=True)
class Cut:
    """The cut of a snapshot: one restore point for each node. `pause_seconds` is how long distributed writes waited."""

    points: tuple[RestorePoint, ...]
    pause_seconds: float
    tries: int
