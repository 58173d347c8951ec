"""A snapshot as the control plane knows it, and the states it may pass through."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SnapshotStatus(StrEnum):
    CREATING = "CREATING"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


class SnapshotType(StrEnum):
    MANUAL = "MANUAL"
    AUTO = "AUTO"


@dataclass(frozen=True)
class Snapshot:
    """`plain_bytes` is the size of the captured data, `stored_bytes` what it took in the repository."""

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
    deleted: datetime | None = None

    @property
    def is_deleted(self) -> bool:
        return self.deleted is not None


@dataclass(frozen=True)
class RestorePoint:
    """One node's share of a cut: the named point in its WAL at which recovery must stop."""

    node: str
    name: str
    lsn: int
    timeline: int


@dataclass(frozen=True)
class Cut:
    """The moment of a snapshot. `pause_seconds` is how long distributed writes were held off."""

    points: tuple[RestorePoint, ...]
    pause_seconds: float
    tries: int
