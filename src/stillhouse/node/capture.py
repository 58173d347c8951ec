"""A capture: one node's data and WAL, from the slot to its manifest. Reads like the session of docs/ARCHITECTURE.md."""

import itertools
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from stillhouse.domain.care import Care, Checkpoint
from stillhouse.domain.cluster import Node
from stillhouse.domain.ids import new_hex
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import CaptureFailed, CaptureInterrupted, NodeUnreachable, StillhouseError
from stillhouse.node.ancestry import Ground, Offered, find_ground, pass_mark
from stillhouse.node.base import Base
from stillhouse.node.copying import Copy
from stillhouse.node.fingerprints import Fingerprints
from stillhouse.node.following import WalFollower
from stillhouse.node.shelf import PackLedger
from stillhouse.postgres import control_file, layout
from stillhouse.postgres.backup import BackupSession, Facts, Stopped
from stillhouse.postgres.reader import LocalReader
from stillhouse.postgres.session import Error as SessionError
from stillhouse.postgres.slot import Slot, Watchdog, drop_slots
from stillhouse.postgres.wal import FilesCopied, Finding, Prepared, StorageCreated, WalSource
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.manifest import Line, ManifestWriter
from stillhouse.repository.sealed import Stored
from stillhouse.storage.store import ObjectStore

_INIT_FORK = 3
_WAIT_SECONDS = 0.1
_SAVE_AFTER_TURNS = 50  # of waiting for the cut


@dataclass(frozen=True)
class CaptureTask:
    """`slot` names the slot, the backup label and thereby the attempt: it is used once in all time.

    `base` is the earlier manifest to build on; None makes the capture whole, and `whole_because` says why. `parts` are
    what earlier attempts at this snapshot saved, in order; a part is saved whenever `part_bytes` more were read.

    `expected_bytes` is about what the node holds: a whole capture of more than `processes_above` packs in processes of
    its own.
    For so many seconds after the cut the tables' fingerprints are read.
    """

    node: Node
    cluster: str
    snapshot: str
    attempt: int
    slot: str
    workers: int
    wal_retention_bytes: int
    base: Stored | None = None
    whole_because: str = ""
    parts: tuple[Stored, ...] = ()
    part_bytes: int = 4 << 30
    care: Care = field(default_factory=Care)
    expected_bytes: int = 0
    processes_above: int = 1 << 30
    fingerprint_seconds: float = 0.0


@dataclass(frozen=True)
class Captured:
    """`plain_bytes` counts the node's data, `wal_bytes` its WAL, `stored_bytes` what its capture stored of both.

    `base` is the manifest that unchanged pages were taken from; without one `whole_because` says why. `lineage` is the
    node's from now on. `read_bytes` were read from the data directory, `packed_bytes` of them went into packs, before
    compression, `pages_stored` relation pages among them; `files` counts the files by what was done with each.

    `rotten` is the number of pages that fail their checksum on the source; the manifest names them.

    `capacity` are the settings that recovery wants no smaller than they were.
    """

    manifest: Stored
    start_lsn: int
    plain_bytes: int
    wal_bytes: int
    stored_bytes: int
    rotten: int
    capacity: dict[str, str]
    base: str | None
    whole_because: str
    lineage: str
    read_bytes: int
    packed_bytes: int
    pages_stored: int
    files: dict[str, int]


class Conductor(Protocol):
    """Whoever directs the captures of all nodes: told of progress and readiness, asked for the cut."""

    def progress(self, done: int, total: int) -> None:
        """Bytes read so far, and to be read in all as it looks now; raises Cancelled when to be given up."""
        ...

    def saved(self, part: Stored) -> None:
        """Part of the capture is durable; the next attempt may build on it."""
        ...

    def ready(self) -> None:
        """The base is complete: the cut may be taken."""
        ...

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        """This node's restore point, once taken; raises Cancelled as above."""
        ...


def capture(task: CaptureTask, store: ObjectStore, keys: ClusterKeys, conductor: Conductor) -> Captured:
    """Capture one node. Whatever happens, the node is left without slot and out of backup mode.

    Raises CaptureInterrupted where a new attempt may succeed, CaptureFailed where it cannot, and what `conductor`
    raises.
    """
    try:
        return _capture(task, store, keys, conductor)
    except SessionError as error:
        raise CaptureInterrupted(
            f"the session with node {task.node.name} broke: {str(error).strip()}"
        ) from error
    except OSError as error:
        raise CaptureFailed(f"node {task.node.name} cannot be read: {error}") from error


def _capture(task: CaptureTask, store: ObjectStore, keys: ClusterKeys, conductor: Conductor) -> Captured:
    with ExitStack() as undo:
        slot = Slot(task.node, task.slot)
        undo.callback(slot.close)
        undo.callback(_drop_whatever_broke, slot, task.node)
        session = BackupSession(task.node, task.slot)
        undo.callback(session.close)
        places = session.places()
        start_lsn = session.start(fast=task.care.checkpoint is Checkpoint.FAST)
        facts = session.facts()  # only now: after a promotion the timeline stands in the first checkpoint
        reader = LocalReader(Path(task.node.directory) / "pgdata", facts.tablespace_directory)
        manifest, ledger = ManifestWriter(), PackLedger()
        undo.callback(manifest.close)
        wal = reader.path("pg_wal")
        source = WalSource(facts.system_identifier, facts.timeline, facts.wal_segment_size)
        follower = WalFollower(slot, wal, start_lsn, source, store, keys, ledger)
        undo.callback(follower.stop)
        watchdog = Watchdog(slot, wal, task.wal_retention_bytes, follower.released)
        undo.callback(watchdog.stop)

        def go_on(done: int) -> None:
            watchdog.check()
            follower.check()
            conductor.progress(done, copy.expected_bytes(task.expected_bytes))
            parts.save_when_due(done)

        offered = Offered(task.base, task.whole_because, task.parts)
        ground = find_ground(task.node, offered, facts, start_lsn, store, keys)
        base = Base(store, keys, facts.block_size, ground.sources)
        undo.callback(base.close)
        is_large = not ground.sources and task.expected_bytes > task.processes_above
        copy = Copy(
            reader,
            facts,
            start_lsn,
            store,
            keys,
            manifest,
            ledger,
            task.workers,
            base,
            task.care,
            in_processes=is_large,
        )
        undo.callback(copy.close)
        token = new_hex()
        head = partial(_head, task, facts, start_lsn, ground, token, ledger)
        parts = _Parts(task, ground.lineage, copy, manifest, head, store, keys, conductor)
        undo.push(parts.save_what_is_lost)
        copy.run(go_on)
        _copy_last(copy, reader, facts)
        stopped = session.stop()
        slot.check()
        conductor.ready()
        point = _await_cut(conductor, lambda: go_on(copy.tally.bytes_read), parts.save_all)
        fingerprints = Fingerprints(task.node, point.witness, task.fingerprint_seconds)
        undo.callback(fingerprints.stop)
        follower.end_at(point.lsn)
        while not follower.done(_WAIT_SECONDS):
            go_on(copy.tally.bytes_read)
        check_still_true(facts, point, session.places().moved_since(places), follower.findings)
        slot.drop()
        pass_mark(task.node, ground.lineage, point.lsn, token)
        _add_labels(copy, stopped)
        copy.finish()
        _add_wal(manifest, follower, store, keys, ledger)
        while not fingerprints.done(_WAIT_SECONDS):
            conductor.progress(copy.tally.bytes_read, copy.tally.bytes_read)
        for line in fingerprints.lines():
            manifest.add(line)
        drop = Dropped(follower.findings, point.lsn, facts.config_files)
        stored = manifest.store(store, keys, head(stopped, point), drop)
        return Captured(
            manifest=stored,
            start_lsn=start_lsn,
            plain_bytes=copy.tally.live_bytes,
            wal_bytes=len(follower.segments) * follower.segment_size,
            stored_bytes=stored.size + manifest.map_bytes + ledger.new_bytes,
            rotten=copy.tally.rotten,
            capacity=facts.settings,
            base=ground.base,
            whole_because="" if ground.base else ground.why,
            lineage=ground.lineage,
            read_bytes=copy.tally.bytes_read,
            packed_bytes=copy.tally.bytes_packed,
            pages_stored=copy.tally.pages_stored,
            files=dict(copy.tally.files),
        )


def _drop_whatever_broke(slot: Slot, node: Node) -> None:
    """By a new session when the slot's own is gone; if the server is, the reaper drops the slot later."""
    with suppress(SessionError, NodeUnreachable):
        try:
            slot.drop()
        except SessionError:
            drop_slots(node, slot.name)


def _copy_last(copy: Copy, reader: LocalReader, facts: Facts) -> None:
    """pg_control goes last, so that it names no checkpoint younger than the files; then what lies outside."""
    image = control_file.read_whole(lambda: reader.read(layout.CONTROL))
    if control_file.system_identifier(image) != facts.system_identifier:
        raise CaptureInterrupted("the data directory is not that of the server that answers")
    copy.add(layout.CONTROL, 0o600, image)
    for name, path in facts.config_files.items():
        copy.add(f"@config/{name}", 0o600, path.read_bytes())


def _await_cut(conductor: Conductor, go_on: Callable[[], None], save: Callable[[], None]) -> RestorePoint:
    """When the cut is long in coming it may fail: what was copied for it is saved."""
    for turn in itertools.count(1):
        go_on()
        if (point := conductor.cut(_WAIT_SECONDS)) is not None:
            return point
        if turn == _SAVE_AFTER_TURNS:
            save()
    raise AssertionError("counting never ends")


class _Parts:
    """Saves an attempt's work now and then, for the attempt that follows if this one comes to nothing."""

    def __init__(
        self,
        task: CaptureTask,
        lineage: str,
        copy: Copy,
        manifest: ManifestWriter,
        head: Callable[..., Iterator[Line]],
        store: ObjectStore,
        keys: ClusterKeys,
        conductor: Conductor,
    ) -> None:
        self._task, self._lineage = task, lineage
        self._copy, self._manifest, self._head = copy, manifest, head
        self._store, self._keys, self._conductor = store, keys, conductor
        self._last = 0

    def save_when_due(self, done: int) -> None:
        """Only what is durable by itself: nothing is hurried."""
        if done - self._last >= self._task.part_bytes:
            self._last = done
            self._save()

    def save_all(self) -> None:
        self._copy.settle_what_can_be()
        self._save()

    def save_what_is_lost(self, kind: object, error: BaseException | None, trace: object) -> None:
        """At the end of an attempt that failed of what may pass. That it cannot be saved changes nothing."""
        if isinstance(error, CaptureInterrupted | SessionError):
            with suppress(StillhouseError, SessionError):
                self.save_all()

    def _save(self) -> None:
        """The mark first: a part is of use only to a node that is known to have come as far as its pages."""
        reached = pass_mark(self._task.node, self._lineage)
        head = self._head(reached=reached)
        if (part := self._manifest.store_part(self._store, self._keys, head)) is not None:
            self._conductor.saved(part)


def check_still_true(
    facts: Facts, point: RestorePoint, moved: str, findings: list[tuple[int, Finding]]
) -> None:
    """Raises CaptureInterrupted for what would make recovery miss files, or touch places outside the clone."""
    if point.timeline != facts.timeline:
        raise CaptureInterrupted(f"the server went to timeline {point.timeline} meanwhile")
    copied = [
        finding.what for lsn, finding in findings if isinstance(finding, FilesCopied) and lsn < point.lsn
    ]
    if moved or copied:
        raise CaptureInterrupted(
            f"while the node was copied, {moved or copied[0]}", hint="another attempt follows"
        )


def _add_labels(copy: Copy, stopped: Stopped) -> None:
    copy.add("@backup/backup_label", 0o600, stopped.backup_label.encode())
    if stopped.tablespace_map:
        copy.add("@backup/tablespace_map", 0o600, stopped.tablespace_map.encode())


def _add_wal(
    manifest: ManifestWriter, follower: WalFollower, store: ObjectStore, keys: ClusterKeys, ledger: PackLedger
) -> None:
    packs = ledger.ordinals(follower.map.packs)
    assert packs is not None, "the follower finishes its packs"
    stored = follower.map.store(store, keys)
    manifest.add_map(stored, packs, is_new=True)
    for entry, name in enumerate(follower.segments):
        manifest.add(
            {"t": "wal", "path": name, "size": follower.segment_size, "map": stored.id, "entry": entry}
        )


class Dropped:
    """Which files are in recovery's way, decided line by line of the manifest.

    - An unlogged relation made during the copy: its main fork was copied, its init fork comes by WAL, and recovery
      would end with "File exists".
    - A transaction prepared during the copy: its file would be taken for one of the future, and its redo be skipped.
    - Configuration in the data directory that the server does not read, because it reads a file elsewhere.
    """

    def __init__(
        self, findings: list[tuple[int, Finding]], cut_lsn: int, outside: Container[str] = ()
    ) -> None:
        self._outside = outside
        before = [finding for lsn, finding in findings if lsn < cut_lsn]
        self._unlogged = {
            (f.tablespace, f.database, f.relation)
            for f in before
            if isinstance(f, StorageCreated) and f.fork == _INIT_FORK
        }
        self._prepared = {finding.xid for finding in before if isinstance(finding, Prepared)}

    def __call__(self, line: Line) -> bool:
        if line["t"] != "file":
            return False
        if line["path"] in self._outside:
            return True
        directory, _, name = line["path"].rpartition("/")
        if directory == "pg_twophase":
            return int(name, 16) & 0xFFFFFFFF in self._prepared
        match = layout.RELATION.fullmatch(name)
        if match is None or match["fork"] == "init" or not layout.is_database_directory(directory):
            return False
        return (*layout.owner(directory), int(match["relation"])) in self._unlogged


def _head(
    task: CaptureTask,
    facts: Facts,
    start_lsn: int,
    ground: Ground,
    token: str,
    ledger: PackLedger,
    stopped: Stopped | None = None,
    point: RestorePoint | None = None,
    reached: int | None = None,
) -> Iterator[Line]:
    """A part has neither stop nor cut, but a place in the WAL that it had `reached`."""
    yield {
        "t": "node",
        "cluster": task.cluster,
        "snapshot": task.snapshot,
        "node": task.node.name,
        "node_id": task.node.id,
        "role": task.node.role,
        "attempt": task.attempt,
        "lineage": ground.lineage,
        "token": token,
        "base": ground.base,
        "whole_because": "" if ground.base else ground.why,
        "system_identifier": facts.system_identifier,
        "timeline": facts.timeline,
        "pg_version_num": facts.version_num,
        "control_version": facts.control_version,
        "catalog_version": facts.catalog_version,
        "block_size": facts.block_size,
        "segment_blocks": facts.segment_blocks,
        "wal_segment_size": facts.wal_segment_size,
        "checksum_version": facts.checksum_version,
        "hints_logged": bool(facts.checksum_version) or facts.wal_log_hints,
        "postmaster_started": facts.postmaster_started,
        "start_lsn": start_lsn,
        "stop_lsn": stopped.stop_lsn if stopped else None,
        "cut": {"name": point.name, "lsn": point.lsn, "timeline": point.timeline} if point else None,
        **({"reached": reached} if reached is not None else {}),
        "settings": facts.settings,
    }
    for database, name, version in facts.extensions:
        yield {"t": "extension", "database": database, "name": name, "version": version}
    for database, provider, name, version in facts.collations:
        yield {"t": "collation", "database": database, "provider": provider, "name": name, "version": version}
    for pack in ledger.packs.values():
        yield {"t": "pack", **asdict(pack)}
