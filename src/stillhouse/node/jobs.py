"""Node work as whole jobs for a process of its own: each opens the repository for itself."""

from dataclasses import dataclass, field

import psutil

from stillhouse.domain.care import IoPriority
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.node.capture import Captured, CaptureTask, capture
from stillhouse.node.process import Line, Progress, Ready, Saved
from stillhouse.node.restore import Restored, RestoreTask, restore
from stillhouse.repository import identity
from stillhouse.repository.keys import Kek, create_or_open, open_keys
from stillhouse.repository.sealed import Stored
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore


@dataclass(frozen=True)
class Repository:
    """Where the bytes rest, which repository it must be, and the key to it."""

    location: str
    id: str
    kek: Kek = field(repr=False)


@dataclass(frozen=True)
class CaptureJob:
    repository: Repository
    task: CaptureTask


@dataclass(frozen=True)
class RestoreJob:
    """`cluster` is the snapshot's: its part of the repository is read."""

    repository: Repository
    cluster: str
    task: RestoreTask


class _ByLine:
    """The parent conducts, over the pipe."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def progress(self, done: int) -> None:
        self._line.check()
        self._line.tell(Progress(done))

    def ready(self) -> None:
        self._line.tell(Ready())

    def saved(self, part: Stored) -> None:
        self._line.tell(Saved(part))

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        point: RestorePoint | None = self._line.word(wait_seconds)
        return point


def take_io_priority(priority: IoPriority) -> None:
    """For this process, and for the threads and processes that it starts from here on."""
    if priority is IoPriority.LOW:
        psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, 7)
    elif priority is IoPriority.IDLE:
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def open_repository(repository: Repository) -> ObjectStore:
    """Raises StoreUnavailable when another, or none, lies there now."""
    store = open_store(repository.location)
    identity.check(store, repository.id)
    return store


def capture_job(job: CaptureJob, line: Line) -> Captured:
    take_io_priority(job.task.care.io_priority)
    store = open_repository(job.repository)
    keys = create_or_open(store, job.repository.kek, job.task.cluster)
    return capture(job.task, store, keys, _ByLine(line))


def restore_job(job: RestoreJob, line: Line) -> Restored:
    store = open_repository(job.repository)
    keys = open_keys(store, job.repository.kek, job.cluster)
    return restore(job.task, store, keys, _ByLine(line).progress)
