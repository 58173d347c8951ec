"""Packing: reads batches of file bytes, checks the pages, and seals them as frames in packs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain import page_choice
from stillhouse.domain.page_choice import Blocks
from stillhouse.errors import FileRefused
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.postgres.files import pages as page_rules
from stillhouse.postgres.readers.node_files import FileRuns, NodeFiles
from stillhouse.repository.format.container import MAX_FRAME, Kind
from stillhouse.repository.format.maps import HOLE, UNCHANGED, Extent, FrameRef, PlacedPages

BATCH_BYTES = 4 << 20  # page checksums run four times faster over 4 MiB than over 256 KiB
_REREADS, _REREAD_AFTER = 5, 0.002


class Unchanged(Protocol):
    """Tells which of the pages just read are the same in the base, at the same place of the same file."""

    def __call__(self, pages: page_rules.Pages, indexes: Blocks) -> NDArray[np.bool_]: ...


@dataclass(frozen=True)
class UnchangedByLsn:
    """Used in a scan: a page is unchanged if its LSN has not moved on since the base began."""

    base_pages: int
    base_start: int
    lost: Blocks

    def __call__(self, pages: page_rules.Pages, indexes: Blocks) -> NDArray[np.bool_]:
        return page_choice.is_unmoved(
            page_rules.lsns(pages), indexes, self.base_pages, self.base_start, self.lost
        )


@dataclass(frozen=True, eq=False)
class PageRun:
    """Some pages of one file, by ascending index. `first_block` is the number of the file's first page within the
    whole relation.

    `unchanged` compares the pages read with the base. If it is `None`, every page is stored. `pieces` is given if the
    run is a whole file and its pieces must be reported. It holds the pieces in the base, or is empty.
    """

    file: int
    path: str
    pages: Blocks
    first_block: int
    unchanged: Unchanged | None = None
    pieces: tuple[str, ...] | None = None


@dataclass(frozen=True)
class WholeFile:
    """A file that is not made of pages, read to its end. `size` is as listed. `pieces` are its pieces in the base."""

    file: int
    path: str
    size: int
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """The unit of work of one worker: runs of pages of up to BATCH_BYTES together, or some whole files."""

    runs: tuple[PageRun, ...] = ()
    files: tuple[WholeFile, ...] = ()


@dataclass(frozen=True, eq=False)
class PackedRun:
    """The outcome of one run. `placed` has fewer pages if the file had become shorter, and is `None` if it was gone.

    `rotten` lists pages that fail their checksum for good. `stored` counts pages that went into frames.
    """

    run: PageRun
    placed: PlacedPages | None
    rotten: tuple[int, ...] = ()
    stored: int = 0
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackedFile:
    """The outcome of one whole file. `extents` is `None` if the file was gone. An extent that is `None` stands for a
    piece that the base already has.
    """

    file: WholeFile
    size: int
    extents: tuple[Extent | None, ...] | None
    pieces: tuple[str, ...] = ()


@dataclass
class Packed:
    """The outcome of a batch. `skipped` holds path and reason of each file that was replaced after it was listed, by
    one that the account does not own.
    """

    runs: list[PackedRun] = field(default_factory=list)
    files: list[PackedFile] = field(default_factory=list)
    bytes_read: int = 0
    bytes_packed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Packer:
    """Reads, checks and packs batches. Each worker thread has its own packer."""

    def __init__(
        self, reader: NodeFiles, writer: PackWriter, page_size: int, start_lsn: int, *, checksums: bool
    ) -> None:
        """`checksums` says whether the source has page checksums. Without them no page is checked."""
        self.writer = writer
        self._reader, self._page_size, self._start_lsn, self._checksums = (
            reader,
            page_size,
            start_lsn,
            checksums,
        )
        self._buffer = bytearray(BATCH_BYTES)
        self._skipped: list[tuple[str, str]] = []  # in the current batch

    def finish(self) -> None:
        """Make all frames so far durable."""
        self.writer.finish()

    def foresee(self, batch: Batch) -> None:
        """Let the reader prepare for a batch that is packed later."""
        self._reader.foresee([self._wanted(run) for run in batch.runs])

    def pack(self, batch: Batch) -> Packed:
        packed = Packed()
        self._skipped = packed.skipped
        if batch.runs:
            self._pack_pages(batch.runs, packed)
        if batch.files:
            self._pack_files(batch.files, packed)
        return packed

    def _pack_pages(self, runs: Sequence[PageRun], packed: Packed) -> None:
        counts = self._read_runs(runs)
        starts = np.cumsum([0, *(count or 0 for count in counts)])
        pages = np.frombuffer(self._buffer, np.uint8, int(starts[-1]) * self._page_size)
        pages = pages.reshape(-1, self._page_size)
        packed.bytes_read += pages.nbytes
        parts = [slice(*ends) for ends in pairwise(starts)]
        unchanged = np.zeros(len(pages), np.bool_)
        for run, mine in zip(runs, parts, strict=True):
            if run.pieces is None and run.unchanged is not None:
                unchanged[mine] = run.unchanged(pages[mine], run.pages[: mine.stop - mine.start])
        rotten = self._judge(runs, starts, pages, np.flatnonzero(~unchanged))
        pieces: list[tuple[str, ...]] = []
        for run, mine in zip(runs, parts, strict=True):
            pieces.append(() if run.pieces is None else self._pieces(pages[mine]))
            if run.pieces and pieces[-1] == run.pieces:
                unchanged[mine] = True
            elif run.pieces is not None and run.unchanged is not None:
                unchanged[mine] = run.unchanged(pages[mine], run.pages[: mine.stop - mine.start])
        frames, frame, slot = self._frames(pages, unchanged)
        for number, (run, mine) in enumerate(zip(runs, parts, strict=True)):
            placed = None if counts[number] is None else PlacedPages(frames, frame[mine], slot[mine])
            stored = int((frame[mine] < UNCHANGED).sum())
            packed.bytes_packed += stored * self._page_size
            packed.runs.append(PackedRun(run, placed, tuple(rotten[number]), stored, pieces[number]))

    def _read_runs(self, runs: Sequence[PageRun]) -> list[int | None]:
        """Fill the buffer. Return how many pages each run got: fewer at a file's end, `None` if the file is gone."""
        view = memoryview(self._buffer)
        counts = self._read(runs, view)
        at = to = 0
        for run, count in zip(runs, counts, strict=True):
            length = (count or 0) * self._page_size
            if to < at:  # an earlier run got less than was wanted
                view[to : to + length] = bytes(view[at : at + length])
            at += len(run.pages) * self._page_size
            to += length
        return counts

    def _read(self, runs: Sequence[PageRun], into: memoryview) -> list[int | None]:
        """Read runs, each to its place: behind the pages wanted of those before it."""
        counts: list[int | None] = []
        for run, got in zip(runs, self._reader.read([self._wanted(run) for run in runs], into), strict=True):
            if isinstance(got, FileRefused):
                self._skipped.append((run.path, got.reason))
                counts.append(None)
            else:  # gone since the listing: replay of the WAL deals with it
                counts.append(None if got is None else got // self._page_size)
        return counts

    def _wanted(self, run: PageRun) -> FileRuns:
        """Return the run as runs of adjoining pages."""
        size, breaks = self._page_size, (np.flatnonzero(np.diff(run.pages) != 1) + 1).tolist()
        return FileRuns(
            run.path,
            [
                (int(run.pages[first]) * size, (last - first) * size)
                for first, last in pairwise([0, *breaks, len(run.pages)])
            ],
        )

    def _judge(
        self,
        runs: Sequence[PageRun],
        starts: NDArray[np.intp],
        pages: page_rules.Pages,
        wanted: NDArray[np.intp],
    ) -> list[list[int]]:
        """Return each run's rotten pages, by their index in the file. Torn pages are read again, in place.

        Only the pages `wanted` are checked. Pages already in the base are skipped, because they are not stored.
        """
        rotten: list[list[int]] = [[] for _ in runs]
        if not self._checksums or not len(wanted):
            return rotten
        lengths = np.diff(starts)
        blocks = np.concatenate(
            [run.pages[:n] + np.uint32(run.first_block) for run, n in zip(runs, lengths, strict=True)]
        )
        judged = pages if len(wanted) == len(pages) else pages[wanted]
        for index in wanted[page_rules.failing(judged, blocks[wanted], self._start_lsn)]:
            number = int(np.searchsorted(starts, index, side="right")) - 1
            page = int(runs[number].pages[index - starts[number]])
            if not self._heal(pages[index : index + 1], runs[number], page):
                rotten[number].append(page)
        return rotten

    def _pieces(self, pages: page_rules.Pages) -> tuple[str, ...]:
        plain = pages.reshape(-1).data  # works for zero pages as well: the file may have vanished
        return tuple(self.writer.digest(plain[at : at + MAX_FRAME]) for at in range(0, len(plain), MAX_FRAME))

    def _heal(self, page: NDArray[np.uint8], run: PageRun, index: int) -> bool:
        """Read a failing page again, in place. Return True if it was only torn: its bytes change, or it passes now.

        A page that keeps the same wrong bytes is rotten on the source's disk.
        """
        block = np.array([run.first_block + index], np.uint32)
        again = replace(run, pages=np.array([index], np.uint32))
        moved = False
        for _ in range(_REREADS):
            before = page.copy()
            (got,) = self._read([again], page.data.cast("B"))
            if not got or not len(page_rules.failing(page, block, self._start_lsn)):
                return True
            moved = moved or not (before == page).all()
            time.sleep(_REREAD_AFTER)
        return moved

    def _frames(
        self, pages: NDArray[np.uint8], unchanged: NDArray[np.bool_]
    ) -> tuple[list[FrameRef], NDArray[np.uint32], NDArray[np.uint16]]:
        """Pack all pages in order, except unchanged ones and pages of zeros. Return the place of each page."""
        frame = np.where(unchanged, np.uint32(UNCHANGED), np.uint32(HOLE))
        slot = np.zeros(len(pages), np.uint16)
        kept = np.flatnonzero(~unchanged & ~page_rules.is_zero(pages)) if len(pages) else np.empty(0, np.intp)
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
        """Pack small files into shared frames. A frame is sealed when the next bytes would not fit."""
        staged = bytearray()
        waiting: list[tuple[list[Extent | None], int, int, int]] = []  # extents, index there, offset, length

        def seal() -> None:
            if staged:
                ref = self.writer.add(bytes(staged), Kind.BYTES)
                for extents, index, offset, length in waiting:
                    extents[index] = Extent(ref, offset, length)
                packed.bytes_packed += len(staged)
                staged.clear()
                waiting.clear()

        read: list[tuple[WholeFile, int, list[Extent | None] | None, list[str]]] = []
        listed = [(file.path, file.size) for file in files]
        for file, content in zip(files, self._reader.read_to_end(listed, MAX_FRAME), strict=True):
            if content is None or isinstance(content, FileRefused):
                if content is not None:
                    self._skipped.append((file.path, content.reason))
                read.append((file, 0, None, []))
                continue
            extents: list[Extent | None] = []
            pieces: list[str] = []
            size = 0
            for chunk in content:
                pieces.append(self.writer.digest(chunk))
                extents.append(None)
                size += len(chunk)
                if pieces[-1:] == list(file.pieces[len(pieces) - 1 : len(pieces)]):
                    continue
                if len(staged) + len(chunk) > MAX_FRAME:
                    seal()
                waiting.append((extents, len(extents) - 1, len(staged), len(chunk)))
                staged += chunk
            read.append((file, size, extents, pieces))
        seal()
        for file, size, found, told in read:
            packed.bytes_read += size
            packed.files.append(PackedFile(file, size, None if found is None else tuple(found), tuple(told)))
