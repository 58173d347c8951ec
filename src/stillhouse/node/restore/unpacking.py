"""Unpacking: plans which frames a file needs, and writes their pages and bytes into it."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import RepositoryDamaged
from stillhouse.node.frames import is_scattered
from stillhouse.repository.format.container import MAX_FRAME
from stillhouse.repository.format.maps import HOLE, BytesEntry, FrameRef, Map, PagesEntry

Owner = tuple[int, int]
"""An account's uid and gid."""

_LARGE = 1 << 20
_PUSH_BYTES = 16 << 20


Plains = Iterator[tuple[FrameRef, bytes]]
"""Frames as they come, in the order of their use."""


class Planned(Protocol):
    """A file to write: its size, how many bytes of it are stored, and the frames that it needs, in this order."""

    @property
    def size(self) -> int: ...
    @property
    def stored(self) -> int: ...
    @property
    def uses(self) -> list[FrameRef]: ...

    def write(self, plains: Plains, written: "Written") -> None:
        """Write the file. Takes one frame for each of `uses`."""
        ...


def plan(loaded: Map, entry: PagesEntry | BytesEntry) -> Planned:
    return PlannedPages.of(loaded, entry) if isinstance(entry, PagesEntry) else PlannedBytes.of(loaded, entry)


def write_file(planned: Planned, plains: Plains, target: Path, mode: int, owner: Owner | None) -> None:
    """Write one file of `owner`. Pages of zeros are left as holes.

    A large file is durable on return. The caller syncs small files with the whole tree at the end.
    """
    descriptor = _create(target, mode, owner)
    try:
        written = Written(descriptor)
        if planned.stored > _LARGE and 2 * planned.stored > planned.size:
            written.reserve(planned.size)
        planned.write(plains, written)
        # There may be zeros at the end. To set the size before writing would slow every write down.
        if planned.stored < planned.size:
            os.ftruncate(descriptor, planned.size)
        if planned.stored > _LARGE:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Written:
    """A file being written. Its bytes go to the disk while more are decoded, and not only at its fsync."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before = 0, 1

    def reserve(self, size: int) -> None:
        """Allocate all space at once, instead of with every write. A disk that is too small fails here."""
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise

    def write(self, content: memoryview, offset: int) -> None:
        _write_at(self._descriptor, content, offset)

    def push(self, start: int, length: int) -> None:
        """Send a part of the file to the disk, now that it is complete, and drop the part before from the page cache.

        So a restore neither fills the memory nor pushes out pages that other programs on this host use.
        """
        # It starts to write dirty pages, and drops those that are written.
        for at, size in self._before, (start, length):
            os.posix_fadvise(self._descriptor, at, size, os.POSIX_FADV_DONTNEED)
        self._before = start, length


def write_small(content: bytes, target: Path, mode: int, owner: Owner | None) -> None:
    """Write a new file from its bytes. The caller syncs it with the whole tree."""
    descriptor = _create(target, mode, owner)
    try:
        _write_at(descriptor, memoryview(content), 0)
    finally:
        os.close(descriptor)


def have_directory(directory: Path, mode: int, owner: Owner | None) -> None:
    """Make the directory unless it is there, and set its mode and owner. Raises OSError, also if it is a link."""
    directory.mkdir(exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _settle(descriptor, mode, owner)
    finally:
        os.close(descriptor)


def _create(target: Path, mode: int, owner: Owner | None) -> int:
    """Create a new file with this mode and owner. Raises RepositoryDamaged if it exists or its directory is missing."""
    try:
        descriptor = os.open(
            target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except FileExistsError:
        raise RepositoryDamaged(f"a manifest names {target.name} twice: {target}") from None
    except FileNotFoundError:
        raise RepositoryDamaged(f"a manifest names no directory for {target}") from None
    _settle(descriptor, mode, owner)
    return descriptor


def _settle(descriptor: int, mode: int, owner: Owner | None) -> None:
    """Set mode and owner by a descriptor: a path could lead to another account's file by now.

    Special mode bits are dropped: a set-user-id bit would give root's rights as long as root owns the file.
    """
    if owner is not None:
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode & 0o777)  # independent of our umask


def _write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes. One pwrite(2) may write fewer, for example on a disk that runs full."""
    while content:
        written = os.pwrite(descriptor, content, offset)
        content, offset = content[written:], offset + written


@dataclass(frozen=True)
class PlannedPages:
    """A file of pages. `blocks` are the pages that each frame holds of it."""

    entry: PagesEntry
    stored: int
    uses: list[FrameRef]
    blocks: list[NDArray[np.intp]]

    @classmethod
    def of(cls, loaded: Map, entry: PagesEntry) -> "PlannedPages":
        """Plan a file frame by frame.

        Frames whose pages lie far apart come first. Their pages wait in the page cache for those between them, so that
        the disk gets whole parts of the file instead of single pages.
        """
        order = np.argsort(entry.frame, kind="stable")
        frames, starts = np.unique(entry.frame[order], return_index=True)
        groups = zip(frames.tolist(), np.split(order, starts[1:]), strict=True)
        # Sort by pack, so that adjoining frames come by one request.
        turns = sorted(
            (
                (not is_scattered(blocks), loaded.ref(frame), frame, blocks)
                for frame, blocks in groups
                if frame != HOLE
            ),
            key=lambda turn: turn[:3],
        )
        stored = sum(len(blocks) for *_, blocks in turns) * entry.page_size
        return cls(entry, stored, [ref for _, ref, _, _ in turns], [blocks for *_, blocks in turns])

    @property
    def size(self) -> int:
        return len(self.entry.frame) * self.entry.page_size

    def write(self, plains: Plains, written: Written) -> None:
        page_size = self.entry.page_size
        parts = np.arange(len(self.entry.frame)) * page_size // _PUSH_BYTES
        missing = np.bincount(parts[self.entry.frame != HOLE])
        for blocks in self.blocks:
            _, plain = next(plains)
            _write_runs(written, plain, blocks, self.entry.slot[blocks], page_size)
            if len(missing) > 1:
                touched, pages = np.unique(parts[blocks], return_counts=True)
                missing[touched] -= pages
                for part in touched[missing[touched] == 0].tolist():
                    written.push(part * _PUSH_BYTES, _PUSH_BYTES)


@dataclass(frozen=True)
class PlannedBytes:
    """A file of bytes. `spans` are the offset in each frame, the length, and the place in the file."""

    size: int
    stored: int
    uses: list[FrameRef]
    spans: list[tuple[int, int, int]]

    @classmethod
    def of(cls, loaded: Map, entry: BytesEntry) -> "PlannedBytes":
        size = 0
        uses, spans = list[FrameRef](), list[tuple[int, int, int]]()
        for frame, offset, length in entry.extents.tolist():
            if frame != HOLE:
                uses.append(loaded.ref(frame))
                spans.append((offset, length, size))
            size += length
        return cls(size, sum(length for _, length, _ in spans), uses, spans)

    def write(self, plains: Plains, written: Written) -> None:
        for offset, length, position in self.spans:
            ref, plain = next(plains)
            if offset + length > min(len(plain), MAX_FRAME):
                raise RepositoryDamaged(f"a map names bytes beyond frame {ref.ordinal} of pack {ref.pack}")
            written.write(memoryview(plain)[offset : offset + length], position)
            if (position + length) // _PUSH_BYTES > position // _PUSH_BYTES:
                written.push(position // _PUSH_BYTES * _PUSH_BYTES, _PUSH_BYTES)


def _write_runs(
    written: Written, plain: bytes, blocks: NDArray[np.intp], slots: NDArray[np.uint16], page_size: int
) -> None:
    """Write pages of one frame. Pages that adjoin in both the file and the frame go by a single write."""
    if int(slots.max()) >= len(plain) // page_size:
        raise RepositoryDamaged("a map names a slot beyond its frame")
    breaks = np.flatnonzero((np.diff(blocks) != 1) | (np.diff(slots.astype(np.int32)) != 1)) + 1
    view = memoryview(plain)
    for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(blocks)], strict=True):
        start = int(slots[first]) * page_size
        written.write(view[start : start + (last - first) * page_size], int(blocks[first]) * page_size)
