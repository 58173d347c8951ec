"""A capture of one node's data and WAL, from the replication slot to the manifest.

The steps are those of the session in docs/design/snapshot.md.
"""

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from stillhouse.domain import relation_files
from stillhouse.domain.cluster import Node
from stillhouse.domain.ids import new_hex
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.domain.throttle import Checkpoint
from stillhouse.errors import CaptureFailed, CaptureInterrupted, FileRefused
from stillhouse.node.capture.ancestry import Ground, Offered, Passed, find_ground, pass_cut
from stillhouse.node.capture.base import Base
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.fingerprints import Fingerprints
from stillhouse.node.capture.packing_process import PackingProcess
from stillhouse.node.capture.partial_base import Parts
from stillhouse.node.capture.task import Captured, CaptureTask, Conductor
from stillhouse.node.capture.wal_follower import WalFollower
from stillhouse.postgres.files import control_file, layout
from stillhouse.postgres.host.capture_checks import check_fit
from stillhouse.postgres.readers.node_files import NodeFiles, Skipped
from stillhouse.postgres.readers.way import open_way
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Error as SessionError
from stillhouse.postgres.sessions.session import may_pass
from stillhouse.postgres.sessions.watchdog import Watchdog
from stillhouse.postgres.wal import backup
from stillhouse.postgres.wal.backup import BackupSession, Facts, Stopped
from stillhouse.postgres.wal.feed import WalFeed
from stillhouse.postgres.wal.segments import FilesCopied, Finding, Prepared, StorageCreated, WalSource
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import HowFar, Line
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

Answer = TypeVar("Answer")

_INIT_FORK = 3
_WAIT_SECONDS = 0.1
_SAVE_AFTER_TURNS = 50  # turns of waiting for the cut


def capture(
    task: CaptureTask,
    store: ObjectStore,
    keys: ClusterKeys,
    conductor: Conductor,
    crew: Sequence[PackingProcess] = (),
) -> Captured:
    """Capture one node. However it ends, even by kill -9, the node is left without the slot and out of backup mode.

    The processes of `crew`, if any, pack a whole capture.

    Raises CaptureInterrupted if a new attempt may succeed, CaptureFailed if it cannot, and the errors of `conductor`.
    """
    try:
        return _capture(task, store, keys, conductor, crew)
    except SessionError as error:
        told, reason = (CaptureInterrupted, "broke") if may_pass(error) else (CaptureFailed, "was refused")
        raise told(f"the session with node {task.node.name} {reason}: {str(error).strip()}") from error
    except OSError as error:
        raise CaptureFailed(f"node {task.node.name} cannot be read: {error}") from error


def _capture(
    task: CaptureTask,
    store: ObjectStore,
    keys: ClusterKeys,
    conductor: Conductor,
    crew: Sequence[PackingProcess],
) -> Captured:
    check_fit(task.node)
    with ExitStack() as undo:
        way = open_way(task.node, task.slot, undo)
        held, feed = way.held, way.feed
        watchdog = Watchdog(held, feed, way.free, task.wal_retention_bytes)
        undo.callback(watchdog.stop)
        places = _asked(task.node, backup.places)
        start_lsn = held.start(fast=task.care.checkpoint is Checkpoint.FAST)
        # Only now, because after a promotion the first checkpoint sets the timeline.
        facts = _asked(task.node, backup.facts)
        reader = way.files(facts)
        manifest, ledger = ManifestWriter(), PackLedger()
        undo.callback(manifest.close)
        source = WalSource(facts.system_identifier, facts.timeline, facts.wal_segment_size)
        follower = WalFollower(feed, start_lsn, source, store, keys, ledger)
        undo.callback(follower.stop)

        offered = Offered(task.base, task.whole_because, task.parts)
        ground = find_ground(task.node, offered, facts, start_lsn, store, keys)
        base = Base(store, keys, facts.block_size, ground.sources, task.damaged, reads_all=task.reads_all)
        undo.callback(base.close)
        packers = () if ground.sources else crew
        copy = Copy(
            reader, facts, start_lsn, store, keys, manifest, ledger, task.workers, base, task.care, packers
        )
        token = new_hex()
        head = partial(_head, task, facts, start_lsn, ground, token, ledger)
        parts = Parts(task, ground.lineage, copy, manifest, head, store, keys, conductor)
        undo.push(parts.save_what_is_lost)
        attempt = _Attempt(task, conductor, held, feed, follower, copy, parts)
        copy.run(attempt.go_on)
        _copy_last(copy, reader, facts)
        stopped = held.stop()
        conductor.ready()
        point = _await_cut(conductor, attempt.look, parts.save_all)
        fingerprints = Fingerprints(task.node, point.witness, task.fingerprint_seconds)
        undo.callback(fingerprints.stop)
        attempt.end_at(point, watchdog)
        moved = _asked(task.node, backup.places).moved_since(places)
        check_still_true(facts, point, moved, follower.findings)
        passed = pass_cut(task.node, ground.lineage, point.lsn, token)
        _add_labels(copy, stopped)
        copy.finish()
        _add_wal(manifest, follower)
        _add_skipped(manifest, reader.skipped)
        attempt.add_fingerprints(manifest, fingerprints)
        drop = Dropped(follower.findings, point.lsn, facts.config_files)
        stored = manifest.store(
            store, keys, head(stopped, point, passed), drop, drop_carried=drop.names_relations
        )
        new_bytes = manifest.map_bytes + ledger.new_bytes
        told = _told(stored, start_lsn, ground, facts, copy, follower, reader.skipped, new_bytes)
        return _with_replaced(told, fingerprints.replaced)


@dataclass(frozen=True)
class _Attempt:
    """The parts of one attempt that run at the same time: the backup session, the copy and the stream of WAL."""

    task: CaptureTask
    conductor: Conductor
    held: BackupSession
    feed: WalFeed
    follower: WalFollower
    copy: Copy
    parts: Parts

    def go_on(self, done: int) -> None:
        """Report progress, and raise if the backup or the WAL has failed or the conductor wants an end."""
        self.held.check()
        self.feed.check()
        self.follower.check()
        self.conductor.progress(done, self.copy.expected_bytes(self.task.expected_bytes))
        self.parts.save_when_due(done)

    def look(self) -> None:
        """Call `go_on` with the bytes read so far."""
        self.go_on(self.copy.tally.bytes_read)

    def end_at(self, point: RestorePoint, watchdog: Watchdog) -> None:
        """Wait until all WAL up to the cut is durable in the store, then let go of the server."""
        self.follower.end_at(point.lsn)
        while not self.follower.done(_WAIT_SECONDS):
            self.look()
        watchdog.stop()
        self.feed.close()
        self.held.close()

    def add_fingerprints(self, manifest: ManifestWriter, fingerprints: Fingerprints) -> None:
        """Wait for the fingerprints of the cut, and add their lines."""
        done = self.copy.tally.bytes_read
        while not fingerprints.done(_WAIT_SECONDS):
            self.conductor.progress(done, done)
        for line in fingerprints.lines():
            manifest.add(line)


def _add_skipped(manifest: ManifestWriter, skipped: Skipped) -> None:
    for path, reason in skipped.reasons.items():
        manifest.add({"t": "skipped", "what": path, "why": reason})


def _told(
    stored: Stored,
    start_lsn: int,
    ground: Ground,
    facts: Facts,
    copy: Copy,
    follower: WalFollower,
    skipped: Skipped,
    new_bytes: int,
) -> Captured:
    return Captured(
        manifest=stored,
        start_lsn=start_lsn,
        plain_bytes=copy.tally.live_bytes,
        wal_bytes=sum(len(one.segments) for one in follower.maps) * follower.segment_size,
        stored_bytes=stored.size + new_bytes,
        rotten=copy.tally.rotten,
        capacity=facts.settings,
        base=ground.base,
        whole_because="" if ground.base else ground.why,
        lineage=ground.lineage,
        read_bytes=copy.tally.bytes_read,
        packed_bytes=copy.tally.bytes_packed,
        pages_stored=copy.tally.pages_stored,
        files=dict(copy.tally.files),
        skipped=skipped.count,
        skipped_first=skipped.reasons,
    )


def _with_replaced(told: Captured, replaced: Sequence[str]) -> Captured:
    return replace(told, replaced=len(replaced), replaced_first=next(iter(replaced), ""))


def _asked(node: Node, question: Callable[[session.Connection], Answer]) -> Answer:
    """Ask a question in a session of its own: if it breaks, the backup's session goes on."""
    with closing(session.connect(node, "postgres", application_name="stillhouse facts")) as connection:
        return question(connection)


def _copy_last(copy: Copy, reader: NodeFiles, facts: Facts) -> None:
    """Copy pg_control last, so that it names no checkpoint younger than the files. Then copy the configuration files
    that lie outside the data directory.
    """
    image = control_file.read_whole(lambda: reader.content(layout.CONTROL))
    if control_file.system_identifier(image) != facts.system_identifier:
        raise CaptureInterrupted("the data directory is not that of the server that answers")
    copy.add(layout.CONTROL, 0o600, image)
    for name, path in facts.config_files.items():
        try:
            copy.add(f"@config/{name}", 0o600, reader.outside(str(path)))
        except FileNotFoundError:
            reader.skipped.add(str(path), "missing")
        except FileRefused as refusal:
            reader.skipped.add(str(path), refusal.reason)


def _await_cut(conductor: Conductor, go_on: Callable[[], None], save: Callable[[], None]) -> RestorePoint:
    """Wait for the cut. If it takes long it may fail, so the copy is saved for the next attempt."""
    for turn in itertools.count(1):
        go_on()
        if (point := conductor.cut(_WAIT_SECONDS)) is not None:
            return point
        if turn == _SAVE_AFTER_TURNS:
            save()
    raise AssertionError("counting never ends")


def check_still_true(
    facts: Facts, point: RestorePoint, moved: str, findings: list[tuple[int, Finding]]
) -> None:
    """Raise CaptureInterrupted for a change that makes recovery miss files, or touch places outside the clone."""
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
        copy.add("@backup/tablespace_map", 0o600, stopped.tablespace_map)


def _add_wal(manifest: ManifestWriter, follower: WalFollower) -> None:
    for one in follower.maps:
        manifest.add_map(one.stored, one.packs, is_new=True)
        for entry, name in enumerate(one.segments):
            manifest.add(
                {
                    "t": "wal",
                    "path": name,
                    "size": follower.segment_size,
                    "map": one.stored.id,
                    "entry": entry,
                }
            )


class Dropped:
    """Decides, line by line of the manifest, which files to drop because they would disturb recovery.

    - The main fork of an unlogged relation made during the copy: its init fork comes by WAL, and recovery would end
      with "File exists".
    - The file of a transaction prepared during the copy: recovery would take it for a future one and skip its redo.
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

    @property
    def names_relations(self) -> bool:
        return bool(self._unlogged)

    def __call__(self, line: Line) -> bool:
        if line["t"] != "file":
            return False
        if line["path"] in self._outside:
            return True
        directory, _, name = line["path"].rpartition("/")
        if directory == "pg_twophase":
            return int(name, 16) & 0xFFFFFFFF in self._prepared
        match = relation_files.RELATION.fullmatch(name)
        if match is None or match["fork"] == "init" or not relation_files.is_database_directory(directory):
            return False
        return (*relation_files.owner(directory), int(match["relation"])) in self._unlogged


def _head(
    task: CaptureTask,
    facts: Facts,
    start_lsn: int,
    ground: Ground,
    token: str,
    ledger: PackLedger,
    stopped: Stopped | None = None,
    point: RestorePoint | None = None,
    passed: Passed | None = None,
    reached: int | None = None,
) -> Iterator[Line]:
    """Yield the first lines of a manifest. A part has no stop and no cut. Instead it has the LSN that it `reached`."""
    far: HowFar = {} if reached is None else {"reached": reached}
    if passed and passed.unmarked:
        far |= {"unmarked": passed.unmarked, "passed": passed.checkpoint}
    if facts.superuser != session.SUPERUSER:
        far["superuser"] = facts.superuser
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
        **far,
        "settings": facts.settings,
    }
    for database, name, version in facts.extensions:
        yield {"t": "extension", "database": database, "name": name, "version": version}
    for database, provider, name, version in facts.collations:
        yield {"t": "collation", "database": database, "provider": provider, "name": name, "version": version}
    for pack in ledger.packs.values():
        yield {"t": "pack", "id": pack.id, "size": pack.size, "index": pack.index, "hash": pack.hash}
