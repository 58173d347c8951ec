"""Captures and restores of whole warehouses in this process, with moments at which a test may step in."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.snapshot import Cut, RestorePoint
from stillhouse.errors import Cancelled
from stillhouse.node.capture.packing_process import packing_crew
from stillhouse.node.capture.session import capture
from stillhouse.node.capture.task import Captured, CaptureTask
from stillhouse.node.restore.rebuild import Restored, RestoreTask, restore
from stillhouse.postgres.readers import way
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import Entry, FileRuns, Got
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.postgres.wal.backup import BackupSession, Stopped
from stillhouse.repository.format import cipher_keys as repository_keys
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.open import open_store
from stillhouse.storage.store import Chunk, ObjectStore, StoredObject
from stillhouse.warehouse.clone import foreign_servers, quarantine, rewire
from stillhouse.warehouse.clone import release as releasing
from stillhouse.warehouse.clone.rewire import Rewired
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cut.cut import take_cut
from stillhouse.warehouse.cut.witness import Witnesses
from support.databases.writers import until
from support.repositories.crafted_lines import Line

SLOTS = "SELECT slot_name FROM pg_replication_slots"
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'stillhouse stillhouse%'"
PLENTY = 10 << 30
WORKERS = 2


@dataclass(frozen=True)
class Vault:
    """One cluster's place in a repository."""

    store: ObjectStore
    keys: ClusterKeys


def open_vault(directory: Path, cluster: Cluster) -> Vault:
    store = open_store(str(directory / "repository"))
    kek, _ = repository_keys.load_or_create_kek(directory / "kek")
    return Vault(store, repository_keys.create_or_open(store, kek, cluster.id))


@dataclass(frozen=True)
class Shot:
    """A snapshot that was not published: the cut, and each node's capture by its name."""

    cut: Cut
    captured: Mapping[str, Captured]


class StoreAround:
    """The store, with something that happens before each object is created."""

    def __init__(self, store: ObjectStore, before_create: Callable[[str], None]) -> None:
        self._store, self._before_create = store, before_create

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._store.put(key, chunks)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._before_create(key)
        return self._store.create(key, chunks)

    def get(self, key: str) -> bytes:
        return self._store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._store.get_range(key, start, length)

    def size(self, key: str) -> int | None:
        return self._store.size(key)

    def stat(self, key: str) -> StoredObject | None:
        return self._store.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)


def nothing() -> None:
    """What happens at a moment nobody asked for."""


@dataclass
class Moments:
    """When a test may step in; the capture waits meanwhile. What it saw stands here afterwards."""

    parts: list[Stored] = field(default_factory=list)  # what was saved, of any node
    starting: Callable[[], None] = nothing  # just before pg_backup_start
    started: Callable[[], None] = nothing  # before the listing
    listed: Callable[[], None] = nothing  # all is listed, nothing is copied
    opening: Callable[[str], None] = lambda path: None  # each time a file is opened or read
    ready: Callable[[], None] = nothing  # the base is complete, the cut is not taken
    after_cut: Callable[[], None] = nothing
    start_lsn: int = 0
    stopped: Stopped | None = None


class _Conductor:
    """Tells of readiness, waits for the cut."""

    def __init__(self) -> None:
        self._point: RestorePoint | None = None
        self.parts: list[Stored] = []
        self.is_ready, self._decided, self._cancelled = (threading.Event() for _ in range(3))

    def progress(self, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise Cancelled("another node's capture failed")

    def saved(self, part: Stored) -> None:
        self.parts.append(part)

    def ready(self) -> None:
        self.is_ready.set()

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        self._decided.wait(wait_seconds)
        self.progress(0, 0)
        return self._point

    def decide(self, point: RestorePoint) -> None:
        self._point = point
        self._decided.set()

    def cancel(self) -> None:
        self._cancelled.set()


def capture_cluster(
    cluster: Cluster,
    vault: Vault,
    moments: Moments | None = None,
    *,
    wal_retention_bytes: int = PLENTY,
    take: Callable[..., Cut] | None = None,
    base: Shot | None = None,
    parts: Sequence[Stored] = (),
    part_bytes: int = PLENTY,
    in_processes: bool = False,
    fingerprint_seconds: float = 0,
    reads_all: bool = False,
) -> Shot:
    """Capture all nodes in parallel and cut; raises what the first node failed of, after all have ended."""
    moments = moments or Moments()
    conductors = {node.id: _Conductor() for node in cluster.nodes}
    snapshot = new_uuid()
    # What packs in processes of its own cannot be watched from here.
    watched = nullcontext() if in_processes else _watched(moments)
    with (
        ExitStack() as crews,
        watched,
        Witnesses() as witnesses,
        ThreadPoolExecutor(len(cluster.nodes)) as pool,
    ):
        number = WORKERS if in_processes else 0
        crew = {node.id: crews.enter_context(packing_crew(number)) for node in cluster.nodes}
        try:
            running: dict[str, Future[Captured]] = {
                node.id: pool.submit(
                    capture,
                    CaptureTask(
                        node,
                        cluster.id,
                        snapshot,
                        1,
                        f"stillhouse_test_{new_hex()}_1",
                        WORKERS,
                        wal_retention_bytes,
                        base=base.captured[node.name].manifest if base else None,
                        parts=tuple(parts),
                        part_bytes=part_bytes,
                        expected_bytes=2,
                        fingerprint_seconds=fingerprint_seconds,
                        reads_all=reads_all,
                    ),
                    vault.store,
                    vault.keys,
                    conductors[node.id],
                    crew[node.id],
                )
                for node in cluster.nodes
            }
            until(lambda: _all_ready(conductors, running), 120)
            moments.ready()
            options = {"witnesses": witnesses} if fingerprint_seconds else {}
            cut = (take or take_one)(cluster, **options)
            moments.after_cut()
            for point in cut.points:
                conductors[point.node].decide(point)
            return Shot(cut, {node.name: running[node.id].result() for node in cluster.nodes})
        except BaseException:
            for conductor in conductors.values():
                conductor.cancel()
            raise
        finally:
            moments.parts += [part for conductor in conductors.values() for part in conductor.parts]


def _all_ready(conductors: Mapping[str, _Conductor], running: Mapping[str, Future[Captured]]) -> bool:
    for future in running.values():
        if future.done():
            future.result()
    return all(conductor.is_ready.is_set() for conductor in conductors.values())


def take_one(cluster: Cluster, **options: Any) -> Cut:
    return take_cut(
        cluster,
        "stillhouse_test",
        deadline_seconds=30,
        clock=SystemClock(),
        should_stop=lambda: False,
        **options,
    )


@contextmanager
def _watched(moments: Moments) -> Iterator[None]:
    """The real reader and the real session, telling of what they do."""

    class Session(BackupSession):
        def start(self, *, fast: bool = True) -> int:
            moments.starting()
            moments.start_lsn = super().start(fast=fast)
            return moments.start_lsn

        def stop(self) -> Stopped:
            moments.stopped = super().stop()
            return moments.stopped

    class Reader(LocalReader):
        def list(self) -> Iterator[Entry]:
            return _watched_list(moments, super().list())

        def open(self, path: str) -> int:
            moments.opening(path)
            return super().open(path)

        def content(self, path: str) -> bytes:
            moments.opening(path)
            return super().content(path)

    class Remote(RemoteReader):
        def list(self) -> Iterator[Entry]:
            return _watched_list(moments, super().list())

        def read(self, wanted: Sequence[FileRuns], into: memoryview) -> Sequence[Got]:
            for one in wanted:
                moments.opening(one.path)
            return super().read(wanted, into)

        def content(self, path: str) -> bytes:
            moments.opening(path)
            return super().content(path)

    with mock.patch.multiple(way, BackupSession=Session, LocalReader=Reader, RemoteReader=Remote):
        yield


def _watched_list(moments: Moments, listing: Iterator[Entry]) -> Iterator[Entry]:
    moments.started()
    entries = [*listing]
    moments.listed()
    yield from entries


@dataclass
class Clone:
    """A restored cluster, and what its restore reported. `restored` is by the node's name."""

    cluster: Cluster
    restored: dict[str, Restored] = field(default_factory=dict)
    rewired: Rewired = field(default_factory=Rewired)


# For tests that restore many clones: what a power cut would lose, no test looks at.
HASTY = {"fsync": "off", "full_page_writes": "off"}


@contextmanager
def restored_cluster(
    site: Site,
    source: Cluster,
    shot: Shot,
    vault: Vault,
    *,
    settings: Mapping[str, str] | None = None,
    in_quarantine: Callable[[Clone], None] = lambda clone: None,
) -> Iterator[Clone]:
    """A clone beside its source, open for use; destroyed at the end. `settings` are of the quarantine only."""
    with planned_clone(site, source) as clone:
        restore_files(site, clone, shot, vault)
        with quarantine.own_network(site, clone.cluster.nodes) as inside:
            recover(inside, source, clone, shot, settings or {})
            in_quarantine(clone)
            clone.rewired = rewire.rewire(clone.cluster.nodes, source.user_name, source.nodes)
            _each(clone, foreign_servers.unpark)
        release(site, clone)
        yield clone


@contextmanager
def planned_clone(site: Site, source: Cluster) -> Iterator[Clone]:
    """A clone of which nothing is there but its plan; whatever becomes of it is destroyed at the end."""
    cluster_id = new_uuid()
    try:
        nodes = embedded.plan_nodes(site, cluster_id, source.number_of_node, source.port)
        yield Clone(replace(source, id=cluster_id, name="clone", nodes=nodes))
    finally:
        embedded.destroy(site, cluster_id)


def restore_files(site: Site, clone: Clone, shot: Shot, vault: Vault) -> None:
    """What `stillhouse.node.restore` does, of all nodes: their directories are ready for recovery."""

    def one(node: Node) -> None:
        task = restore_task(site, node, shot.captured[node.name])
        clone.restored[node.name] = restore(task, vault.store, vault.keys, lambda done: None)

    _each(clone, one)


@contextmanager
def restored_files(site: Site, source: Cluster, shot: Shot, vault: Vault) -> Iterator[dict[str, Path]]:
    """Each node's data directory as it is before recovery, by the node's name."""
    with planned_clone(site, source) as clone:
        restore_files(site, clone, shot, vault)
        yield {node.name: Path(node.directory, "pgdata") for node in clone.cluster.nodes}


def restore_task(site: Site, node: Node, captured: Captured) -> RestoreTask:
    account = site.binaries.account
    owner = (account.uid, account.gid) if account else None
    expected = captured.plain_bytes + captured.wal_bytes
    return RestoreTask(node, captured.manifest, expected, owner, WORKERS)


def restore_and_hang(task: RestoreTask, vault: Vault) -> None:
    """For a process that is to be killed: stops within the restore, and tells by a file that it has."""

    def hang(done: int) -> None:
        Path(task.node.directory, "pgdata.restoring", "hanging").touch()
        threading.Event().wait()

    restore(task, vault.store, vault.keys, hang)


def recover(
    site: Site,
    source: Cluster,
    clone: Clone,
    shot: Shot,
    settings: Mapping[str, str],
    chosen: Mapping[str, str] | None = None,
) -> None:
    points = {point.node: point for point in shot.cut.points}
    homes = {node.name: node.id for node in source.nodes}

    def one(node: Node) -> None:
        capacity = clone.restored[node.name].head["settings"]
        quarantine.recover(
            site.binaries, node, points[homes[node.name]], capacity, settings=settings, chosen=chosen
        )

    _each(clone, one)


def release(site: Site, clone: Clone, chosen: Mapping[str, str] | None = None) -> list[str]:
    """Out of quarantine; what each node has otherwise than its source."""
    told: list[str] = []

    def one(node: Node) -> None:
        told.extend(
            releasing.release(site.binaries, node, clone.restored[node.name].head["settings"], chosen)
        )

    _each(clone, one)
    return told


def _each(clone: Clone, work: Callable[[Node], None]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, clone.cluster.nodes))


def lines(vault: Vault, captured: Captured) -> list[Line]:
    """A node's manifest."""
    return list(manifest.read(vault.store, vault.keys, captured.manifest))


def files(vault: Vault, captured: Captured) -> dict[str, Line]:
    return {line["path"]: line for line in lines(vault, captured) if line["t"] == "file"}
