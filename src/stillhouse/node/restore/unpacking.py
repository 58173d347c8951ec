"""Unpacking: fetches frames from packs, neighbouring frames by one request, and writes their pages into files."""

import errno
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Container, Frame
from stillhouse.repository.format.maps import HOLE, BytesEntry, FrameRef, Map, PagesEntry
from stillhouse.storage.store import ObjectStore

Owner = tuple[int, int]
"""An account's uid and gid."""

_FETCH_BYTES = 8 << 20
_OPEN_PACKS = 64
_KEPT_FRAMES = 16
_FRAMES_AHEAD = 3
_LARGE = 1 << 20
_PUSH_BYTES = 16 << 20


class Packs:
    """The packs of one manifest. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, keys: ClusterKeys) -> None:
        self._store, self._keys = store, keys
        self._decoders: list[ThreadPoolExecutor] = []
        self._expected: dict[str, tuple[int, int]] = {}
        self._open: OrderedDict[str, Container] = OrderedDict()
        self._lock = threading.Lock()
        self._mine = threading.local()

    def expect(self, pack: str, size: int, index: int) -> None:
        """Add a pack that the manifest names, with its stored size and the offset of its index."""
        self._expected[pack] = (size, index)

    def plain_size(self, ref: FrameRef) -> int:
        """Return how many plain bytes the frame holds."""
        return self._frame(self._pack(ref.pack), ref).plain

    def frames(self, refs: list[FrameRef]) -> Iterator[tuple[FrameRef, bytes]]:
        """Yield the plain bytes of the frames, in the given order. Neighbours in a pack are fetched by one request."""
        at = 0
        while at < len(refs):
            if (kept := self._kept().get(refs[at])) is not None:
                yield refs[at], kept
                at += 1
                continue
            group, data, start = self._fetch(refs, at)
            for ref, plain in self._decoded(self._pack(refs[at].pack), group, data, start):
                self._keep(ref, plain)
                yield ref, plain
            at += len(group)

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.shutdown(cancel_futures=True)

    def _decoded(
        self, pack: Container, group: list[FrameRef], data: bytes, start: int
    ) -> Iterator[tuple[FrameRef, bytes]]:
        """Yield the decoded frames. A second thread decodes some frames ahead of the thread that writes them."""

        def decode(ref: FrameRef) -> bytes:
            frame = pack.frames[ref.ordinal]
            offset = frame.offset - start
            return pack.frame(ref.ordinal, memoryview(data)[offset : offset + frame.stored])

        if len(group) == 1:
            yield group[0], decode(group[0])
            return
        decoder = self._decoder()
        ahead: deque[tuple[FrameRef, Future[bytes]]] = deque()
        for ref in group:
            ahead.append((ref, decoder.submit(decode, ref)))
            if len(ahead) > _FRAMES_AHEAD:
                first, decoded = ahead.popleft()
                yield first, decoded.result()
        for first, decoded in ahead:
            yield first, decoded.result()

    def _decoder(self) -> ThreadPoolExecutor:
        """Return this thread's decoder. Each writing thread has one: more would compete for the interpreter's lock."""
        if not hasattr(self._mine, "decoder"):
            self._mine.decoder = ThreadPoolExecutor(1, "decode")
            self._decoders.append(self._mine.decoder)
        decoder: ThreadPoolExecutor = self._mine.decoder
        return decoder

    def _fetch(self, refs: list[FrameRef], at: int) -> tuple[list[FrameRef], bytes, int]:
        """Fetch the stored bytes of adjoining frames from `at` on, up to a bound. Return them with their offset."""
        pack = self._pack(refs[at].pack)
        first = self._frame(pack, refs[at])
        end = first.offset + first.stored
        group = [refs[at]]
        for ref in refs[at + 1 :]:
            if ref.pack != refs[at].pack or ref.ordinal != group[-1].ordinal + 1:
                break
            frame = self._frame(pack, ref)
            if frame.offset + frame.stored - first.offset > _FETCH_BYTES:
                break
            group.append(ref)
            end = frame.offset + frame.stored
        return group, self._stored(refs[at].pack, first.offset, end - first.offset), first.offset

    def _frame(self, pack: Container, ref: FrameRef) -> Frame:
        if ref.ordinal >= len(pack.frames):
            raise RepositoryDamaged(f"pack {ref.pack} has no frame {ref.ordinal}")
        return pack.frames[ref.ordinal]

    def _pack(self, pack_id: str) -> Container:
        with self._lock:
            if pack_id in self._open:
                self._open.move_to_end(pack_id)
                return self._open[pack_id]
        if pack_id not in self._expected:
            raise RepositoryDamaged(f"a map names pack {pack_id}, which its manifest does not")
        size, index = self._expected[pack_id]
        key = layout.pack(str(self._keys.cluster), pack_id)
        tail = self._stored(pack_id, index, size - index)
        opened = Container(key, self._keys, tail, lambda at, length: self._stored(pack_id, at, length), size)
        with self._lock:
            self._open[pack_id] = opened
            if len(self._open) > _OPEN_PACKS:
                self._open.popitem(last=False)
        return opened

    def _stored(self, pack_id: str, start: int, length: int) -> bytes:
        key = layout.pack(str(self._keys.cluster), pack_id)
        try:
            return self._store.get_range(key, start, length)
        except ObjectMissing:
            raise RepositoryDamaged(f"{key} is gone, though it is needed", key=key) from None

    def _kept(self) -> OrderedDict[FrameRef, bytes]:
        """Return this thread's last few frames. They are kept because small files share frames."""
        if not hasattr(self._mine, "kept"):
            self._mine.kept = OrderedDict()
        kept: OrderedDict[FrameRef, bytes] = self._mine.kept
        return kept

    def _keep(self, ref: FrameRef, plain: bytes) -> None:
        kept = self._kept()
        kept[ref] = plain
        if len(kept) > _KEPT_FRAMES:
            kept.popitem(last=False)


def write_file(
    packs: Packs,
    loaded: Map,
    entry: PagesEntry | BytesEntry,
    target: Path,
    mode: int,
    owner: Owner | None,
) -> int:
    """Write one file of `owner` from its map entry, and return its size. Pages of zeros are left as holes.

    A large file is durable on return. The caller syncs small files with the whole tree at the end.
    """
    descriptor = _create(target, mode, owner)
    try:
        if isinstance(entry, PagesEntry):
            size = len(entry.frame) * entry.page_size
            stored = int(np.count_nonzero(entry.frame != HOLE)) * entry.page_size
        else:
            size = int(entry.extents[:, 2].sum())
            stored = int(entry.extents[entry.extents[:, 0] != HOLE, 2].sum())
        written = _Written(descriptor)
        if stored > _LARGE and 2 * stored > size:
            written.reserve(size)
        if isinstance(entry, PagesEntry):
            _write_pages(packs, loaded, entry, written)
        else:
            _write_extents(packs, loaded, entry, written)
        if (
            stored < size
        ):  # there may be zeros at the end; to set the size before writing would slow every write down
            os.ftruncate(descriptor, size)
        if stored > _LARGE:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return size


class _Written:
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


def _write_pages(packs: Packs, loaded: Map, entry: PagesEntry, written: _Written) -> None:
    """Write the pages frame by frame, each frame decoded once.

    Frames whose pages lie far apart come first. Their pages wait in the page cache for those between them, so that
    the disk gets whole parts of the file instead of single pages.
    """
    order = np.argsort(entry.frame, kind="stable")
    frames, starts = np.unique(entry.frame[order], return_index=True)
    groups = np.split(order, starts[1:])
    wanted = {int(frame): group for frame, group in zip(frames, groups, strict=True) if frame != HOLE}
    # Sort by pack, so that adjoining frames come by one request.
    turns = sorted((not _is_scattered(group), loaded.ref(frame), frame) for frame, group in wanted.items())
    parts = np.arange(len(entry.frame)) * entry.page_size // _PUSH_BYTES
    missing = np.bincount(parts[entry.frame != HOLE])
    plains = packs.frames([ref for _, ref, _ in turns])
    for (_, plain), (_, _, frame) in zip(plains, turns, strict=True):
        blocks = wanted[frame]
        _write_runs(written, plain, blocks, entry.slot[blocks], entry.page_size)
        touched, pages = np.unique(parts[blocks], return_counts=True)
        missing[touched] -= pages
        for part in touched[missing[touched] == 0].tolist() if len(missing) > 1 else ():
            written.push(part * _PUSH_BYTES, _PUSH_BYTES)


def _is_scattered(blocks: NDArray[np.intp]) -> bool:
    """Whether pages, by ascending index, are fewer than half of those between the first and the last."""
    return 2 * len(blocks) <= int(blocks[-1] - blocks[0])


def _write_runs(
    written: _Written, plain: bytes, blocks: NDArray[np.intp], slots: NDArray[np.uint16], page_size: int
) -> None:
    """Write pages of one frame. Pages that adjoin in both the file and the frame go by a single write."""
    if int(slots.max()) >= len(plain) // page_size:
        raise RepositoryDamaged("a map names a slot beyond its frame")
    breaks = np.flatnonzero((np.diff(blocks) != 1) | (np.diff(slots.astype(np.int32)) != 1)) + 1
    view = memoryview(plain)
    for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(blocks)], strict=True):
        start = int(slots[first]) * page_size
        written.write(view[start : start + (last - first) * page_size], int(blocks[first]) * page_size)


def _write_extents(packs: Packs, loaded: Map, entry: BytesEntry, written: _Written) -> None:
    at = 0
    spans = []
    for frame, offset, length in entry.extents.tolist():
        if frame != HOLE:
            spans.append((loaded.ref(frame), offset, length, at))
        at += length
    plains = packs.frames([ref for ref, *_ in spans])
    for (_, plain), (ref, offset, length, position) in zip(plains, spans, strict=True):
        if offset + length > min(len(plain), MAX_FRAME):
            raise RepositoryDamaged(f"a map names bytes beyond frame {ref.ordinal} of pack {ref.pack}")
        written.write(memoryview(plain)[offset : offset + length], position)
        if (position + length) // _PUSH_BYTES > position // _PUSH_BYTES:
            written.push(position // _PUSH_BYTES * _PUSH_BYTES, _PUSH_BYTES)
