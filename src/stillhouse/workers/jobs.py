"""Jobs for worker processes: capture, restore, scrub and collection. Each job opens the repository itself."""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import accumulate

import psutil

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Collected, Rules
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.domain.throttle import IoPriority
from stillhouse.errors import (
    CaptureInterrupted,
    FormatUnknown,
    ObjectMissing,
    RepositoryDamaged,
    RestoreFailed,
    StillhouseError,
    StoreUnavailable,
    Unavailable,
)
from stillhouse.node.capture.packing_process import packing_crew
from stillhouse.node.capture.session import capture
from stillhouse.node.capture.task import Captured, CaptureTask
from stillhouse.node.restore.rebuild import Restored, RestoreTask, restore
from stillhouse.repository.check.damage import Damage, damages
from stillhouse.repository.check.orphans import look_for_lost_roots
from stillhouse.repository.check.recheck import note_all, note_met
from stillhouse.repository.check.record import conclude, suspected
from stillhouse.repository.check.structure import check
from stillhouse.repository.check.verify import Rate, due, verify
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open, open_keys
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import findings, identity, scrubs
from stillhouse.repository.objects.faults import NOTHING
from stillhouse.repository.upkeep.collect import Collector, is_empty, summary
from stillhouse.repository.upkeep.own_bytes import measure
from stillhouse.storage.open import RETRY_FOR, is_directory, open_store
from stillhouse.storage.store import ObjectStore
from stillhouse.workers.process import Line, Progress, Ready, Saved


@dataclass(frozen=True)
class Repository:
    """A repository to open: its location, the id that it must have, and its key; `retry_for` as for `open_store`."""

    location: str
    id: str
    kek: Kek = field(repr=False)
    retry_for: timedelta = RETRY_FOR

    @property
    def is_directory(self) -> bool:
        return is_directory(self.location)


@dataclass(frozen=True)
class CaptureJob:
    repository: Repository
    task: CaptureTask


@dataclass(frozen=True)
class RestoreJob:
    """Restore one node. `cluster` is the snapshot's cluster: the job reads its part of the repository."""

    repository: Repository
    cluster: str
    task: RestoreTask


@dataclass(frozen=True)
class ScrubJob:
    """Verify packs that were last read before `before`: `at_most` bytes in all, and `rate` bytes in a second.

    The roots of `snapshots` must be there. Suspected objects are read first, and with `only_suspected` nothing else.
    """

    repository: Repository
    cluster: str
    snapshots: tuple[str, ...]
    before: datetime
    rate: int
    at_most: int
    only_suspected: bool = False


@dataclass(frozen=True)
class Scrubbed:
    """The result of a scrub. `is_more` says that some packs are left for the next scrub."""

    packs: int
    bytes: int
    is_more: bool
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class CollectJob:
    """Collect garbage in a cluster's part of the repository. `Collector` explains `rules` and `known`. With `dry_run`
    nothing is changed.
    """

    repository: Repository
    cluster: str
    rules: Rules
    known: frozenset[str]
    dry_run: bool


@dataclass(frozen=True)
class MeasureJob:
    """Find out how many bytes each snapshot of a cluster reaches, and reaches alone."""

    repository: Repository
    cluster: str


class _ByLine:
    """A conductor that passes every report on to the parent, over the pipe."""

    def __init__(self, line: Line) -> None:
        self._line = line.listen()

    def progress(self, done: int, total: int = 0) -> None:
        self._line.check()
        self._line.tell(Progress(done, total))

    def ready(self) -> None:
        self._line.tell(Ready())

    def saved(self, part: Stored) -> None:
        self._line.tell(Saved(part))

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        point: RestorePoint | None = self._line.word(wait_seconds)
        return point


def take_io_priority(priority: IoPriority) -> None:
    """Set the I/O priority of this process, and of the threads and processes that it starts from here on."""
    if priority is IoPriority.LOW:
        psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, 7)
    elif priority is IoPriority.IDLE:
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def open_repository(repository: Repository) -> ObjectStore:
    """Open the store. Raises StoreUnavailable if the repository there is missing, or is not the one expected."""
    store = open_store(repository.location, retry_for=repository.retry_for)
    identity.check(store, repository.id)
    return store


def capture_job(job: CaptureJob, line: Line) -> Captured:
    take_io_priority(job.task.care.io_priority)
    with packing_crew(job.task.workers if job.task.is_large else 0, [line.pipe]) as crew:
        conductor = _ByLine(line)
        store = open_repository(job.repository)
        keys = create_or_open(store, job.repository.kek, job.task.cluster)
        task = _without_damaged_bases(job.task, findings.read(store, keys).keys)
        bases = [*([task.base] if task.base else []), *task.parts]
        try:
            return capture(task, store, keys, conductor, crew)
        except (RepositoryDamaged, ObjectMissing) as met:
            found = note_all(store, keys, bases, met.key, SystemClock().now())
            if isinstance(met, FormatUnknown) and not found:
                raise
            raise CaptureInterrupted(
                f"the base that the capture builds on cannot be read: {met}",
                hint="another attempt reads it anew from the node",
            ) from met


def _without_damaged_bases(task: CaptureTask, damaged: frozenset[str]) -> CaptureTask:
    """Leave out bases with damaged manifests. The capture leaves out other damage page by page."""

    def is_sound(stored: Stored) -> bool:
        return layout.manifest(task.cluster, stored.id) not in damaged

    task = replace(task, damaged=damaged, parts=tuple(filter(is_sound, task.parts)))
    if task.base is None or is_sound(task.base):
        return task
    return replace(task, base=None, whole_because="the base's manifest is damaged")


def restore_job(job: RestoreJob, line: Line) -> Restored:
    conductor = _ByLine(line)
    store = open_repository(job.repository)
    keys = open_keys(store, job.repository.kek, job.cluster)
    try:
        return restore(job.task, store, keys, conductor.progress)
    except (RepositoryDamaged, ObjectMissing) as met:
        raise _seen_twice(store, keys, job.task.manifest, met) from met


def _seen_twice(
    store: ObjectStore, keys: ClusterKeys, stored: Stored, met: RepositoryDamaged | ObjectMissing
) -> StillhouseError:
    """Return the error that ends the restore: damage, which is recorded, or that a second look found no damage."""
    if not met.key:
        return met
    try:
        fault = note_met(store, keys, [stored], met, SystemClock().now())
    except Unavailable as error:
        return RepositoryDamaged(met.message, hint=f"it could not be written down: {error}", key=met.key)
    if fault is not None and fault.parts != NOTHING:
        return RepositoryDamaged(
            f"{fault.key} {fault.detail}",
            hint="`stillhouse repo check` shows which data are lost",
            key=fault.key,
        )
    if isinstance(met, FormatUnknown):
        return met
    return RestoreFailed(
        f"{met.message}, but a second read found no fault",
        hint="memory, a cable or a proxy may be faulty; try again",
    )


def scrub_job(job: ScrubJob, line: Line) -> Scrubbed:
    """Verify one pack at a time, so that the job can stop between two packs and burdens nothing else."""
    line.listen()
    store, clock = open_repository(job.repository), SystemClock()
    checked = check(store, job.repository.kek, job.cluster, workers=1)
    if checked.place.keys is None:
        return Scrubbed(0, 0, False, tuple(damages(checked)))
    first = suspected(checked)
    named = {pack.id for pack in first}
    later = [] if job.only_suspected else due(checked, scrubs.read(store, checked.place.keys), job.before)
    waiting = [*first, *(pack for pack in later if pack.id not in named)]
    chosen = waiting[: bisect_right(list(accumulate(pack.size for pack in waiting)), job.at_most)]
    chosen = first if job.only_suspected else chosen or waiting[:1]

    def on_read(count: int) -> None:
        line.check()
        line.tell(Progress(count))

    count = verify(checked, chosen, rate=Rate(job.rate, clock), clock=clock, on_read=on_read)
    look_for_lost_roots(checked, job.snapshots)
    found = tuple(conclude(checked, clock.now(), job.snapshots))
    if checked.unrecorded:
        raise StoreUnavailable(
            f"the damage that a scrub found could not be written down: {checked.unrecorded}"
        )
    return Scrubbed(len(chosen), count, len(chosen) < len(waiting), found)


def collect_job(job: CollectJob, line: Line) -> Collected:
    """Return the work that was done, or would be done. A cluster without objects has no keys any more."""
    line.listen()
    store = open_repository(job.repository)
    if is_empty(store, job.cluster):
        return Collected(keys_gone=True)

    def go_on(done: int, total: int) -> None:
        line.check()
        line.tell(Progress(done * 100 // max(total, 1)))

    keys = open_keys(store, job.repository.kek, job.cluster)
    collector = Collector(store, keys, SystemClock(), job.rules, job.known, go_on)
    return summary(collector.draft()[1]) if job.dry_run else collector.collect()


def measure_job(job: MeasureJob, line: Line) -> dict[str, tuple[int, int]]:
    """Return what `repository.upkeep.own_bytes` measures; nothing for a cluster without objects."""
    line.listen()
    store = open_repository(job.repository)
    if is_empty(store, job.cluster):
        return {}
    keys = open_keys(store, job.repository.kek, job.cluster)
    return measure(store, keys, SystemClock().now())
