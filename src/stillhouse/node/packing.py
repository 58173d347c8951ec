"""From file bytes to sealed frames: page checks, zero pages, frames, packs. One packer per worker thread."""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.ids import new_hex
from stillhouse.postgres import pages as page_rules
from stillhouse.postgres.reader import LocalReader
from stillhouse.repository import layout, sealed
from stillhouse.repository.container import MAX_FRAME, ContainerWriter, Kind, Type
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.maps import HOLE, Extent, FrameRef, PlacedPages
from stillhouse.storage.store import ObjectStore

PACK_BYTES = 32 << 20
PACK_FRAMES = (
    8192  # frames that compress to next to nothing would fill a pack's index, and our memory, instead
)
BATCH_BYTES = 4 << 20  # page checksums run four times faster over 4 MiB than over 256 KiB
_REREADS, _REREAD_AFTER = 5, 0.002


@dataclass(frozen=True)
class PageRun:
    """Consecutive pages of one file. `block` is the first page's number within the whole relation."""

    file: int
    path: str
    first_page: int
    pages: int
    block: int


@dataclass(frozen=True)
class WholeFile:
    """A file that is not made of pages, read to its end."""

    file: int
    path: str


@dataclass(frozen=True)
class Batch:
    """What one worker does at a time: runs of pages of up to BATCH_BYTES together, or some whole files."""

    runs: tuple[PageRun, ...] = ()
    files: tuple[WholeFile, ...] = ()


@dataclass(frozen=True)
class PackedRun:
    """`placed` has fewer pages when the file was shorter by now; it is None when the file had vanished."""

    run: PageRun
    placed: PlacedPages | None


@dataclass(frozen=True)
class PackedFile:
    """`extents` is None when the file had vanished."""

    file: WholeFile
    size: int
    extents: tuple[Extent, ...] | None


@dataclass
class Packed:
    """A batch's outcome. `rotten` names pages (path, page) that failed their checksum for good."""

    runs: list[PackedRun] = field(default_factory=list)
    files: list[PackedFile] = field(default_factory=list)
    rotten: list[tuple[str, int]] = field(default_factory=list)
    bytes_read: int = 0


@dataclass(frozen=True)
class StoredPack:
    """A durable pack as a manifest names it; `index` is the offset of its index."""

    id: str
    size: int
    index: int
    hash: str


class PackWriter:
    """Writes frames into one pack after another; a pack is durable, and told of, before the next one begins."""

    def __init__(self, store: ObjectStore, keys: ClusterKeys, on_pack: Callable[[StoredPack], None]) -> None:
        self._store, self._keys, self._on_pack = store, keys, on_pack
        self._open: tuple[str, ContainerWriter] | None = None

    def add(self, plain: bytes | memoryview, kind: Kind, page_size: int = 0) -> FrameRef:
        if self._open is None:
            pack_id = new_hex()
            self._open = pack_id, ContainerWriter(self._keys, Type.PACK, uuid.UUID(pack_id))
        pack_id, writer = self._open
        ref = FrameRef(pack_id, writer.add(plain, kind, page_size))
        if writer.size >= PACK_BYTES or writer.frames >= PACK_FRAMES:
            self.finish()
        return ref

    def finish(self) -> None:
        """Store the open pack, if any."""
        if self._open is not None:
            pack_id, writer = self._open
            self._open = None
            key = layout.pack(str(self._keys.cluster), pack_id)
            stored = sealed.create(self._store, key, pack_id, writer.finish())
            self._on_pack(StoredPack(pack_id, stored.size, writer.index, stored.hash))


class Packer:
    """Does batches: reads, judges and packs. Not shared between threads."""

    def __init__(
        self, reader: LocalReader, writer: PackWriter, page_size: int, start_lsn: int, *, checksums: bool
    ) -> None:
        """Pages are judged by their checksum only when `checksums` is on at the source."""
        self.writer = writer
        self._reader, self._page_size, self._start_lsn, self._checksums = (
            reader,
            page_size,
            start_lsn,
            checksums,
        )
        self._buffer = bytearray(BATCH_BYTES)

    def pack(self, batch: Batch) -> Packed:
        packed = Packed()
        if batch.runs:
            self._pack_pages(batch.runs, packed)
        if batch.files:
            self._pack_files(batch.files, packed)
        return packed

    def _pack_pages(self, runs: Sequence[PageRun], packed: Packed) -> None:
        view = memoryview(self._buffer)
        counts: list[int] = []
        vanished: set[PageRun] = set()
        at = 0
        for run in runs:
            length = run.pages * self._page_size
            got = self._read(run.path, view[at : at + length], run.first_page * self._page_size)
            if got is None:
                vanished.add(run)
            counts.append((got or 0) // self._page_size)
            at += counts[-1] * self._page_size
        packed.bytes_read += at
        pages = np.frombuffer(self._buffer, np.uint8, at).reshape(-1, self._page_size)
        owners = [(run, i) for run, count in zip(runs, counts, strict=True) for i in range(count)]
        if self._checksums and len(pages):
            blocks = np.concatenate(
                [np.arange(r.block, r.block + n, dtype=np.uint32) for r, n in zip(runs, counts, strict=True)]
            )
            for index in page_rules.failing(pages, blocks, self._start_lsn):
                run, offset = owners[index]
                if not self._heal(pages[index : index + 1], run, offset):
                    packed.rotten.append((run.path, run.first_page + offset))
        frames, frame, slot = self._frames(pages)
        at = 0
        for run, count in zip(runs, counts, strict=True):
            placed = PlacedPages(frames, frame[at : at + count], slot[at : at + count])
            packed.runs.append(PackedRun(run, None if run in vanished else placed))
            at += count

    def _read(self, path: str, into: memoryview, offset: int) -> int | None:
        """Bytes read; fewer when the file is shorter by now, None when it is gone: replay of the WAL sees to that."""
        try:
            descriptor = self._reader.open(path)
        except FileNotFoundError:
            return None
        try:
            done = 0
            while done < len(into) and (got := os.preadv(descriptor, [into[done:]], offset + done)):
                done += got
            return done
        finally:
            os.close(descriptor)

    def _heal(self, page: NDArray[np.uint8], run: PageRun, offset: int) -> bool:
        """Read a failing page anew, in place. True when it was merely torn: it moved on, or passes now.

        A page that keeps the very same wrong bytes is rotten on the source's disk.
        """
        block = np.array([run.block + offset], np.uint32)
        moved = False
        for _ in range(_REREADS):
            before = page.copy()
            got = self._read(run.path, page.data.cast("B"), (run.first_page + offset) * self._page_size)
            if not got or got < self._page_size or not len(page_rules.failing(page, block, self._start_lsn)):
                return True
            moved = moved or not (before == page).all()
            time.sleep(_REREAD_AFTER)
        return moved

    def _frames(
        self, pages: NDArray[np.uint8]
    ) -> tuple[list[FrameRef], NDArray[np.uint32], NDArray[np.uint16]]:
        """Pack all pages but those of zeros, in order; where each page went."""
        frame = np.full(len(pages), HOLE, np.uint32)
        slot = np.zeros(len(pages), np.uint16)
        kept = np.flatnonzero(~page_rules.is_zero(pages)) if len(pages) else np.empty(0, np.intp)
        per_frame = MAX_FRAME // self._page_size
        frames: list[FrameRef] = []
        for at in range(0, len(kept), per_frame):
            chosen = kept[at : at + per_frame]
            first, last = int(chosen[0]), int(chosen[-1])
            adjoining = last - first + 1 == len(chosen)  # the usual case costs no copy
            plain = (pages[first : last + 1] if adjoining else pages[chosen]).data.cast("B")
            frame[chosen] = len(frames)
            slot[chosen] = np.arange(len(chosen), dtype=np.uint16)
            frames.append(self.writer.add(plain, Kind.PAGES, self._page_size))
        return frames, frame, slot

    def _pack_files(self, files: Sequence[WholeFile], packed: Packed) -> None:
        """Small files share frames; a frame is sealed when the next bytes would not fit."""
        staged = bytearray()
        waiting: list[tuple[int, int, int]] = []  # (index into pieces, offset in the frame, length)
        pieces: list[list[Extent]] = []

        def seal() -> None:
            if staged:
                ref = self.writer.add(bytes(staged), Kind.BYTES)
                for index, offset, length in waiting:
                    pieces[index].append(Extent(ref, offset, length))
                staged.clear()
                waiting.clear()

        for file in files:
            pieces.append([])
            size = 0
            try:
                descriptor = self._reader.open(file.path)
            except FileNotFoundError:
                packed.files.append(PackedFile(file, 0, None))
                continue
            try:
                while chunk := os.pread(descriptor, MAX_FRAME, size):
                    if len(staged) + len(chunk) > MAX_FRAME:
                        seal()
                    waiting.append((len(pieces) - 1, len(staged), len(chunk)))
                    staged += chunk
                    size += len(chunk)
            finally:
                os.close(descriptor)
            packed.files.append(PackedFile(file, size, ()))
        seal()
        for index, done in enumerate(packed.files):
            packed.bytes_read += done.size
            if done.extents is not None:
                packed.files[index] = PackedFile(done.file, done.size, tuple(pieces[index]))
