"""The copy of a data directory: worker threads pack batches, and the results become maps and manifest lines."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from stillhouse.domain import relation_files
from stillhouse.domain.page_choice import How
from stillhouse.domain.progress import expected_bytes
from stillhouse.domain.throttle import Care
from stillhouse.node.capture.base import Base, BaseFile, KeptMap
from stillhouse.node.capture.deferred_writes import MapShelf, PackLedger
from stillhouse.node.capture.manifest_lines import FileLines, Tally
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.node.capture.packing import (
    BATCH_BYTES,
    Batch,
    Packed,
    PackedFile,
    PackedRun,
    Packer,
    PageRun,
    WholeFile,
)
from stillhouse.node.capture.packing_process import SEATS, PackerPlan, PackingProcess
from stillhouse.postgres.files import layout
from stillhouse.postgres.readers.node_files import Entry, NodeFiles
from stillhouse.postgres.wal.backup import Facts
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Kind
from stillhouse.repository.format.lines import PlacedFileLine
from stillhouse.repository.format.manifest import CarriedFiles, ManifestWriter
from stillhouse.repository.format.maps import (
    Extent,
    Layer,
    PagesEntry,
    compose,
    dead,
    is_touched,
    taken,
)
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_FILES_PER_BATCH = 256
_IN_FLIGHT_PER_THREAD = 2
_LISTED_AT_ONCE = 1024


@dataclass
class _PageFile:
    """A file of pages with runs that are still being packed. `base` is given if pages may be taken from it."""

    entry: Entry
    pages: int
    how: How
    why: str
    base: BaseFile | None
    expected: int = 0
    runs: list[PackedRun] = field(default_factory=list)


@dataclass
class _ByteFile:
    entry: Entry
    base: BaseFile | None


class Copy:
    """Copies everything that `reader` lists. Memory is bounded by the batches in flight, not by the cluster."""

    def __init__(
        self,
        reader: NodeFiles,
        facts: Facts,
        start_lsn: int,
        store: ObjectStore,
        keys: ClusterKeys,
        manifest: ManifestWriter,
        ledger: PackLedger,
        workers: int,
        base: Base,
        care: Care,
        crew: Iterable[PackingProcess] = (),
    ) -> None:
        """The processes of `crew` pack. Without a crew as many threads as `workers` do."""
        self._reader, self._facts, self._manifest, self._ledger = reader, facts, manifest, ledger
        self._base, self._page_size, self._care = base, facts.block_size, care
        checksums = bool(facts.checksum_version)
        self._plan = PackerPlan(reader, store, keys, self._page_size, start_lsn, checksums)
        self._shelf = MapShelf(store, keys, manifest, ledger)
        self._bytes: dict[int, _ByteFile] = {}
        self._partial: dict[int, _PageFile] = {}
        self._packers: list[Packer | PackingProcess] = [
            packer.begin(self._plan, ledger.add) for packer in crew
        ]
        self._seats = [*self._packers] * SEATS
        self._threads = len(self._seats) or workers
        self._extra = PackWriter(store, keys, ledger.add)
        self._mine = threading.local()
        self.tally = Tally()
        self._lines = FileLines(manifest, self._shelf, base, self.tally)
        self._is_run = False
        ledger.offer(base.packs)

    def run(self, on_progress: Callable[[int], None]) -> None:
        """Copy all files. `on_progress(bytes read so far)` is called after each batch, and may raise to stop."""
        flying: deque[Future[Packed]] = deque()
        self._started = time.monotonic()
        with ThreadPoolExecutor(self._threads, "copy") as pool:
            try:
                for batch in self._batches(on_progress):
                    flying.append(pool.submit(self._pack, batch))
                    if len(flying) >= self._threads * _IN_FLIGHT_PER_THREAD:
                        self._join(flying.popleft().result(), on_progress)
                while flying:
                    self._join(flying.popleft().result(), on_progress)
                for finished in [pool.submit(packer.finish) for packer in self._packers]:
                    finished.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._let_packers_go()
        self._is_run = True

    def _let_packers_go(self) -> None:
        """End the packing processes: a node that is copied may wait long for the others, and needs no memory for it."""
        for packer in self._packers:
            if isinstance(packer, PackingProcess):
                packer.end()
        self._packers.clear()
        self._seats.clear()
        self._mine = threading.local()

    def expected_bytes(self, all_bytes: int) -> int:
        """Estimate how many bytes will be read in all, from a node that holds about `all_bytes`."""
        if self._is_run:
            return self.tally.bytes_read
        return expected_bytes(self.tally.planned, self.tally.looked_at, all_bytes)

    def settle_what_can_be(self) -> None:
        """Make the files copied so far durable, and add their lines to the manifest. Works after `run` was stopped."""
        for packer in self._packers:
            packer.finish()
        self._extra.finish()
        self._shelf.close_map()

    def add(self, path: str, mode: int, content: bytes) -> None:
        """Add one small file from its bytes. Call it after `run` and before `finish`."""
        entry = Entry(path, mode, len(content))
        if not content:
            self._lines.empty(entry)
            return
        pieces = [content[at : at + MAX_FRAME] for at in range(0, len(content), MAX_FRAME)]
        extents = tuple(Extent(self._extra.add(piece, Kind.BYTES), 0, len(piece)) for piece in pieces)
        self._lines.place(
            self._lines.line(entry, len(content), How.WHOLE), lambda builder: builder.add_bytes(extents)
        )

    def finish(self) -> None:
        """Make the last packs durable, name the base's maps that are kept, and store the last maps."""
        self._extra.finish()
        for kept in self._base.kept():
            if kept.stored is None or self._base.is_worth_naming(kept):
                self._name_again(kept)
            else:
                for line in self._base.separate_lines_of(kept):
                    self._move(kept.stored, line)
        self._shelf.finish()

    def _name_again(self, kept: KeptMap) -> None:
        if kept.stored is not None:
            packs = self._ledger.ordinals(kept.packs)
            assert packs is not None, "a base's packs are durable"
            self._manifest.add_map(kept.stored, packs, is_new=False)
        for part in self._base.lines_of(kept):
            if isinstance(part, CarriedFiles):
                self._manifest.add_carried(part)
            else:
                self._manifest.add({**part, "map": kept.files.map})

    def _move(self, stored: Stored, line: PlacedFileLine) -> None:
        """Give a kept file an entry in a new map, because most entries of its old map are dead."""
        loaded, entry = self._base.entry_of(stored, line)
        if isinstance(entry, PagesEntry):
            placed = loaded.placed(entry)
            self._shelf.place(line, lambda builder: builder.add_pages(self._page_size, placed))
        else:
            extents = loaded.extents(entry)
            self._shelf.place(line, lambda builder: builder.add_bytes(extents))

    def _pack(self, batch: Batch) -> Packed:
        if not hasattr(self._mine, "packer"):
            self._mine.packer = self._seats.pop() if self._seats else self._hire()
        packer: Packer | PackingProcess = self._mine.packer
        return packer.pack(batch)

    def _hire(self) -> Packer:
        packer = self._plan.packer(self._ledger.add)
        self._packers.append(packer)
        return packer

    def _listed(self, on_progress: Callable[[int], None]) -> Iterator[tuple[int, Entry]]:
        """Yield and number the entries that must be looked at. All others are carried over from the base."""
        listing, number = iter(self._reader.list()), itertools.count()
        while entries := list(itertools.islice(listing, _LISTED_AT_ONCE)):
            carried, rest = self._base.carry(entries)
            if carried:
                self._lines.count_carried(carried)
                on_progress(self.tally.bytes_read)
            yield from zip(number, rest, strict=False)

    def _batches(self, on_progress: Callable[[int], None]) -> Iterator[Batch]:
        """Cut the listing into batches. Directories and empty files become manifest lines at once."""
        per_batch = BATCH_BYTES // self._page_size
        runs: list[PageRun] = []
        room = per_batch
        files: list[WholeFile] = []
        for number, entry in self._listed(on_progress):
            if entry.target is not None:
                oid = int(entry.path.rpartition("/")[2])
                self._manifest.add({"t": "link", "oid": oid, "target": entry.target})
            elif entry.size is None:
                self._manifest.add({"t": "dir", "path": entry.path, "mode": entry.mode})
            elif not self._is_paged(entry):
                files.append(self._whole(number, entry))
                if len(files) == _FILES_PER_BATCH or entry.size > BATCH_BYTES:
                    yield Batch(files=tuple(files))
                    files = []
            elif entry.size == 0:
                self._lines.empty(entry)
            else:
                for run in self._runs(number, entry, room, per_batch):
                    if len(run.pages) > room:
                        yield Batch(runs=tuple(runs))
                        runs, room = [], per_batch
                    runs.append(run)
                    room -= len(run.pages)
        if runs:
            yield Batch(runs=tuple(runs))
        if files:
            yield Batch(files=tuple(files))

    def _is_paged(self, entry: Entry) -> bool:
        return (
            entry.size is not None
            and relation_files.relation_file(entry.path) is not None
            and entry.size % self._page_size == 0
            and entry.size <= self._facts.segment_blocks * self._page_size
        )

    def _whole(self, number: int, entry: Entry) -> WholeFile:
        self.tally.looked_at += entry.size or 0
        self.tally.planned += entry.size or 0
        if entry.path.endswith(f"/{layout.VERSION}"):
            self._base.look_at_version(entry)
        base = self._base.find(entry.path)
        self._bytes[number] = _ByteFile(entry, base)
        return WholeFile(number, entry.path, entry.size or 0, base.pieces if base else ())

    def _runs(self, number: int, entry: Entry, room: int, per_batch: int) -> list[PageRun]:
        """Return the pages to read of a file, as runs that fit into batches. The first batch has `room` pages left.

        A file that needs no reading is settled here.
        """
        relation = relation_files.relation_file(entry.path)
        assert relation is not None
        assert entry.size is not None
        self.tally.looked_at += entry.size
        pages = entry.size // self._page_size
        first_block = relation.segment * self._facts.segment_blocks
        base = self._base.find(entry.path)
        if relation.kind is relation_files.Kind.FORK:
            return self._fork(number, entry, base, pages, first_block, room, per_batch)
        chosen = self._base.choose(base, entry, relation, pages, first_block)
        if chosen.how is How.KEPT:
            assert base is not None
            self._lines.keep(entry, base, How.KEPT)
            return []
        taken = None if chosen.how is How.WHOLE else base
        partial = _PageFile(entry, pages, chosen.how, chosen.why, taken)
        if not len(chosen.read):
            self._settle(partial)
            return []
        unchanged = self._base.unchanged(taken, chosen.how) if taken else None
        ends = [*range(room or per_batch, len(chosen.read), per_batch)]
        parts = np.split(chosen.read, ends)
        partial.expected = len(parts)
        self.tally.planned += len(chosen.read) * self._page_size
        self._partial[number] = partial
        return [PageRun(number, entry.path, part, first_block, unchanged) for part in parts]

    def _fork(
        self,
        number: int,
        entry: Entry,
        base: BaseFile | None,
        pages: int,
        first_block: int,
        room: int,
        per_batch: int,
    ) -> list[PageRun]:
        """Return the runs of a fork other than the main one. It is read whole, as the WAL lacks some of its changes."""
        self.tally.planned += entry.size or 0
        paged = base if base is not None and base.is_paged and not len(base.lost) else None
        unchanged = self._base.unchanged(paged, How.SAME) if paged else None
        every = np.arange(pages, dtype=np.uint32)
        if pages <= per_batch:  # in one run, so that its pieces can be computed
            pieces = self._base.known_pieces(paged) if paged else ()
            runs = [PageRun(number, entry.path, every, first_block, unchanged, pieces)]
        else:
            parts = np.split(every, [*range(room or per_batch, pages, per_batch)])
            runs = [PageRun(number, entry.path, part, first_block, unchanged) for part in parts]
        how = How.SAME if paged else How.WHOLE
        self._partial[number] = _PageFile(entry, pages, how, "", paged, len(runs))
        return runs

    def _join(self, packed: Packed, on_progress: Callable[[int], None]) -> None:
        for path, reason in packed.skipped:
            self._reader.skipped.add(path, reason)
        for run in packed.runs:
            partial = self._partial[run.run.file]
            partial.runs.append(run)
            if len(partial.runs) == partial.expected:
                self._settle(self._partial.pop(run.run.file))
        for file in packed.files:
            self._settle_bytes(self._bytes.pop(file.file.file), file)
        self._shelf.store_ready()
        self.tally.bytes_read += packed.bytes_read
        self.tally.bytes_packed += packed.bytes_packed
        on_progress(self.tally.bytes_read)
        # Few batches are in flight, so a delay here slows down the threads that read.
        if rest := self._care.wait_seconds(self.tally.bytes_read, time.monotonic() - self._started):
            time.sleep(rest)

    def _settle(self, file: _PageFile) -> None:
        """Give a file an entry once all its runs are packed, or name its old entry again."""
        layers: list[Layer] = []
        pages, rotten, stored = file.pages, set[int](), 0
        for run in sorted(file.runs, key=lambda run: int(run.run.pages[0])):
            if run.placed is None and not layers:
                return  # vanished between listing and open
            got = 0 if run.placed is None else len(run.placed.frame)
            if run.placed is not None:
                layers.append((run.run.pages[:got], run.placed))
            rotten |= set(run.rotten)
            stored += run.stored
            if got < len(run.run.pages):
                pages = int(run.run.pages[got])  # the file was truncated here meanwhile
                break
        if not pages:
            self._lines.empty(file.entry)
            return
        self.tally.pages_stored += stored
        if file.base is not None or rotten:
            fresh = taken(layers)
            inherited = [] if file.base is None else self._base.rotten(file.base)
            rotten = (rotten & fresh) | (set(inherited) - fresh)
        for page in sorted(page for page in rotten if page < pages):
            self._lines.note_rotten(file.entry.path, page)
        if file.base is not None and pages == file.base.pages and not is_touched(layers):
            self._lines.keep(file.entry, file.base, file.how)
            return
        line = self._lines.line(file.entry, pages * self._page_size, file.how, file.why)
        if file.base is not None:
            under = self._base.pages_of(file.base)
            layers.insert(0, (np.arange(len(under.frame), dtype=np.uint32), under))
            placed = compose(pages, layers)
            line["held"] = file.base.held + stored - dead(under, placed)
        else:
            placed = compose(pages, layers)
        if len(file.runs) == 1 and file.runs[0].pieces:
            line["pieces"] = list(file.runs[0].pieces)
        self._lines.place(line, lambda builder: builder.add_pages(self._page_size, placed))

    def _settle_bytes(self, file: _ByteFile, packed: PackedFile) -> None:
        if packed.extents is None:
            return  # vanished between listing and open: replay of the WAL removes it, or it was temporary
        if not packed.size:
            self._lines.empty(file.entry)
            return
        if file.base is not None and packed.pieces == file.base.pieces:
            self._lines.keep(file.entry, file.base, How.SAME)
            return
        extents: list[Extent] = []
        for number, extent in enumerate(packed.extents):
            if extent is not None:
                extents.append(extent)
            else:
                assert file.base is not None, "only a base's pieces are left out"
                extents.append(self._base.extents_of(file.base)[number])
        line = self._lines.line(file.entry, packed.size, How.SAME if file.base else How.WHOLE)
        line["pieces"] = list(packed.pieces)
        if relation_files.relation_file(file.entry.path) is not None:
            line["bytes"] = True  # marked, because its size may by now be a whole number of pages
        self._lines.place(line, lambda builder: builder.add_bytes(extents))
