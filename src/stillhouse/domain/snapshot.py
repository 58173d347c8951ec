"""A snapshot as the control plane knows it, and the states it may pass through."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillhouse.domain.cluster import ClusterStatus, Task


class SnapshotStatus(StrEnum):
    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


class SnapshotType(StrEnum):
    MANUAL = "MANUAL"
    AUTO = "AUTO"


@dataclass(frozen=True)
class Snapshot:
    """`plain_bytes` is the size of the captured data, `stored_bytes` what it took in the repository.

    `restoring`, `cluster_status` and `cluster_task` are told by other rows, at the moment of reading; so is `damaged`:
    the repository is known to have lost some of it.

    Of an automated one: whether everything was to be read anew, when it was due, its policy's schedule, and for how
    many days it is kept. `copied_from` is the id of the one that it is a copy of; `copying`: it is being copied.
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
    db_user: str = ""
    backup_key: str = ""
    reason: str = ""
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
    def is_deleted(self) -> bool:
        return self.deleted is not None

    @property
    def use(self) -> str:
        """What reads it now, and so keeps it from being deleted; empty when nothing does."""
        if self.restoring:
            return "being restored"
        if self.proving:
            return "being proved"
        return "being copied" if self.copying else ""


def backup_key(started: datetime) -> str:
    return started.strftime("%Y%m%d_%H%M%S")


@dataclass(frozen=True)
class Witness:
    """What still sees a node exactly as it was at its restore point: (database, exported snapshot) of each database.

    Without any, `why` says what was in the way.
    """

    snapshots: tuple[tuple[str, str], ...] = ()
    why: str = ""


@dataclass(frozen=True)
class RestorePoint:
    """One node's share of a cut: the named point in its WAL at which recovery must stop."""

    node: str
    name: str
    lsn: int
    timeline: int
    witness: Witness = Witness()


@dataclass(frozen=True)
class Cut:
    """The moment of a snapshot. `pause_seconds` is how long distributed writes were held off."""

    points: tuple[RestorePoint, ...]
    pause_seconds: float
    tries: int
