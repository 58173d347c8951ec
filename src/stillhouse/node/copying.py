"""The copy of a data directory: batches handed to worker threads, their results joined into maps and manifest lines."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from stillhouse.node.packing import (
    BATCH_BYTES,
    Batch,
    Packed,
    PackedFile,
    PackedRun,
    Packer,
    PackWriter,
    PageRun,
    StoredPack,
)
from stillhouse.node.packing import WholeFile as Whole
from stillhouse.postgres import layout
from stillhouse.postgres.backup import Facts
from stillhouse.postgres.reader import Entry, LocalReader
from stillhouse.repository.container import MAX_FRAME, Kind
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.manifest import Line, ManifestWriter
from stillhouse.repository.maps import Extent, MapBuilder
from stillhouse.storage.store import ObjectStore

_MAP_BYTES = 1 << 20  # entries of small files share a map until it is this long
_FILES_PER_BATCH = 256
_IN_FLIGHT_PER_WORKER = 2


@dataclass
class PackLedger:
    """Packs that are durable, in the order of a manifest's pack lines. Written by worker threads."""

    packs: dict[str, StoredPack] = field(default_factory=dict)
    _ordinals: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, pack: StoredPack) -> None:
        with self._lock:
            self._ordinals[pack.id] = len(self.packs)
            self.packs[pack.id] = pack

    def ordinals(self, packs: frozenset[str]) -> list[int] | None:
        """Where these packs stand in the manifest; None while one of them is not durable."""
        with self._lock:
            if not packs <= self._ordinals.keys():
                return None
            return sorted(self._ordinals[pack] for pack in packs)


@dataclass
class _PageFile:
    """A file of pages whose runs are not all back yet."""

    entry: Entry
    expected: int
    runs: list[PackedRun] = field(default_factory=list)


class MapShelf:
    """Fills maps one after another and stores each as soon as every pack it names is durable, never before."""

    def __init__(
        self, store: ObjectStore, keys: ClusterKeys, manifest: ManifestWriter, ledger: PackLedger
    ) -> None:
        self._store, self._keys, self._manifest, self._ledger = store, keys, manifest, ledger
        self._open = MapBuilder()
        self._lines: list[Line] = []
        self._full: deque[tuple[MapBuilder, list[Line]]] = deque()

    def place(self, line: Line, add: Callable[[MapBuilder], int]) -> None:
        """Give a file's bytes an entry; `line` goes to the manifest together with the map that holds it."""
        line["entry"] = add(self._open)
        self._lines.append(line)
        if self._open.bytes >= _MAP_BYTES:
            self._shelve()
            self.store_ready()

    def _shelve(self) -> None:
        if len(self._open):
            self._full.append((self._open, self._lines))
            self._open, self._lines = MapBuilder(), []

    def store_ready(self) -> None:
        while self._full and (packs := self._ledger.ordinals(self._full[0][0].packs)) is not None:
            builder, lines = self._full.popleft()
            stored = builder.store(self._store, self._keys)
            self._manifest.add_map(stored, packs)
            for line in lines:
                self._manifest.add({**line, "map": stored.id})

    def finish(self) -> None:
        """Store what is left; all packs must be durable by now."""
        self._shelve()
        self.store_ready()
        assert not self._full, "a map was left whose packs were not finished"


class Copy:
    """Copies everything that `reader` lists. Memory is bounded by the batches in flight, not by the cluster."""

    def __init__(
        self,
        reader: LocalReader,
        facts: Facts,
        start_lsn: int,
        store: ObjectStore,
        keys: ClusterKeys,
        manifest: ManifestWriter,
        ledger: PackLedger,
        workers: int,
    ) -> None:
        self._reader, self._facts, self._manifest, self._ledger = reader, facts, manifest, ledger
        self._store, self._keys, self._start_lsn, self._workers = store, keys, start_lsn, workers
        self._shelf = MapShelf(store, keys, manifest, ledger)
        self._listed: dict[int, Entry] = {}
        self._partial: dict[int, _PageFile] = {}
        self._packers: list[Packer] = []
        self._extra = PackWriter(store, keys, ledger.add)
        self._mine = threading.local()
        self.bytes_read = self.rotten = 0

    def run(self, on_progress: Callable[[int], None]) -> None:
        """Copy it all; `on_progress(bytes read so far)` is called after each batch and may raise to stop the copy."""
        flying: deque[Future[Packed]] = deque()
        with ThreadPoolExecutor(self._workers, "copy") as pool:
            try:
                for batch in self._batches():
                    flying.append(pool.submit(self._pack, batch))
                    if len(flying) >= self._workers * _IN_FLIGHT_PER_WORKER:
                        self._join(flying.popleft().result(), on_progress)
                while flying:
                    self._join(flying.popleft().result(), on_progress)
                for finished in [pool.submit(packer.writer.finish) for packer in self._packers]:
                    finished.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def add(self, path: str, mode: int, content: bytes) -> None:
        """Add one small file whose bytes are at hand; after `run`, before `finish`."""
        if not content:
            self._empty(Entry(path, mode, 0))
            return
        pieces = [content[at : at + MAX_FRAME] for at in range(0, len(content), MAX_FRAME)]
        extents = tuple(Extent(self._extra.add(piece, Kind.BYTES), 0, len(piece)) for piece in pieces)
        self._place_bytes(Entry(path, mode, len(content)), len(content), extents)

    def finish(self) -> None:
        """Make the last packs durable, then the last maps."""
        self._extra.finish()
        self._shelf.finish()

    def _pack(self, batch: Batch) -> Packed:
        if not hasattr(self._mine, "packer"):
            writer = PackWriter(self._store, self._keys, self._ledger.add)
            page_size, checksums = self._facts.block_size, bool(self._facts.checksum_version)
            self._mine.packer = Packer(self._reader, writer, page_size, self._start_lsn, checksums=checksums)
            self._packers.append(self._mine.packer)
        packer: Packer = self._mine.packer
        return packer.pack(batch)

    def _batches(self) -> Iterator[Batch]:
        """The listing, cut into batches; directories and empty files become manifest lines at once."""
        runs: list[PageRun] = []
        room = BATCH_BYTES // self._facts.block_size
        files: list[Whole] = []
        for number, entry in enumerate(self._reader.list()):
            if entry.target is not None:
                oid = int(entry.path.rpartition("/")[2])
                self._manifest.add({"t": "link", "oid": oid, "target": entry.target})
            elif entry.size is None:
                self._manifest.add({"t": "dir", "path": entry.path, "mode": entry.mode})
            elif not self._is_paged(entry):
                self._listed[number] = entry
                files.append(Whole(number, entry.path))
                if len(files) == _FILES_PER_BATCH or entry.size > BATCH_BYTES:
                    yield Batch(files=tuple(files))
                    files = []
            elif entry.size == 0:
                self._empty(entry)
            else:
                for run in self._runs(number, entry, room):
                    runs.append(run)
                    room -= run.pages
                    if not room:
                        yield Batch(runs=tuple(runs))
                        runs, room = [], BATCH_BYTES // self._facts.block_size
        if runs:
            yield Batch(runs=tuple(runs))
        if files:
            yield Batch(files=tuple(files))

    def _is_paged(self, entry: Entry) -> bool:
        return (
            entry.size is not None
            and layout.relation_file(entry.path) is not None
            and entry.size % self._facts.block_size == 0
            and entry.size <= self._facts.segment_blocks * self._facts.block_size
        )

    def _runs(self, number: int, entry: Entry, room: int) -> list[PageRun]:
        """The file's pages as runs that fit into batches, the first of which has `room` pages left."""
        relation = layout.relation_file(entry.path)
        assert relation is not None
        assert entry.size is not None
        pages = entry.size // self._facts.block_size
        first_block = relation.segment * self._facts.segment_blocks
        runs: list[PageRun] = []
        at = 0
        while at < pages:
            count = min(room, pages - at)
            runs.append(PageRun(number, entry.path, at, count, first_block + at))
            at += count
            room = BATCH_BYTES // self._facts.block_size
        self._partial[number] = _PageFile(entry, len(runs))
        return runs

    def _join(self, packed: Packed, on_progress: Callable[[int], None]) -> None:
        for run in packed.runs:
            self._join_run(run)
        for file in packed.files:
            self._join_file(file)
        self.rotten += len(packed.rotten)
        for path, block in packed.rotten:
            self._manifest.add({"t": "rotten", "path": path, "block": block})
        self._shelf.store_ready()
        self.bytes_read += packed.bytes_read
        on_progress(self.bytes_read)

    def _join_run(self, run: PackedRun) -> None:
        partial = self._partial[run.run.file]
        partial.runs.append(run)
        if len(partial.runs) < partial.expected:
            return
        del self._partial[run.run.file]
        pieces = []
        for part in sorted(partial.runs, key=lambda part: part.run.first_page):
            if part.placed is None:
                break
            pieces.append(part.placed)
            if len(part.placed.frame) < part.run.pages:
                break  # the file was cut short meanwhile: what lay behind is no longer part of it
        if not pieces:
            return  # vanished between listing and open
        size = sum(len(piece.frame) for piece in pieces) * self._facts.block_size
        if not size:
            self._empty(partial.entry)
            return
        line = _line(partial.entry, size)
        self._shelf.place(line, lambda builder: builder.add_pages(self._facts.block_size, pieces))

    def _join_file(self, file: PackedFile) -> None:
        entry = self._listed.pop(file.file.file)
        if file.extents is None:
            return  # vanished between listing and open: replay knows of it, or it was temporary
        if not file.size:
            self._empty(entry)
            return
        self._place_bytes(entry, file.size, file.extents)

    def _place_bytes(self, entry: Entry, size: int, extents: tuple[Extent, ...]) -> None:
        self._shelf.place(_line(entry, size), lambda builder: builder.add_bytes(extents))

    def _empty(self, entry: Entry) -> None:
        self._manifest.add({**_line(entry, 0), "map": None, "entry": 0})


def _line(entry: Entry, size: int) -> Line:
    fields = {"path": entry.path, "mode": entry.mode, "mtime_ns": entry.mtime_ns, "size": size}
    return {"t": "file", **fields, "how": "whole"}
