"""Frames out of packs, in the order of their use: fetched by ranges ahead of it, each decoded once."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container, Frame
from stillhouse.repository.format.maps import FrameRef
from stillhouse.storage.store import ObjectStore

_RANGE_BYTES = 4 << 20
_FLYING_BYTES = 4 << 20  # asked for at the same time, by each writing thread
# Fetched with their neighbours though nobody wants them: a request of its own takes a store longer.
_GAP_BYTES = 256 << 10
_RANGES_AHEAD = 4
_FRAMES_AHEAD = 3
_KEPT_FRAMES = 32
_OPEN_PACKS = 64


@dataclass
class _Range:
    """Bytes of a pack to fetch by one request, and the frames that are wanted of them."""

    pack: Container
    id: str
    start: int
    end: int
    frames: list[Frame]

    def takes(self, ref: FrameRef, frame: Frame) -> bool:
        """Add a frame that lies behind the others, if the range stays within its bounds."""
        end = frame.offset + frame.stored
        fits = ref.pack == self.id and 0 <= frame.offset - self.end <= _GAP_BYTES
        if not fits or end - self.start > _RANGE_BYTES:
            return False
        self.frames.append(frame)
        self.end = end
        return True

    def decode(self, frame: Frame, data: bytes) -> bytes:
        at = frame.offset - self.start
        return self.pack.frame(frame.ordinal, memoryview(data)[at : at + frame.stored])


class Packs:
    """The packs of one manifest. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, keys: ClusterKeys) -> None:
        self._store, self._keys = store, keys
        self._fetchers = ThreadPoolExecutor(_RANGES_AHEAD, "fetch")
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

    def frames(self, uses: Sequence[FrameRef]) -> Iterator[tuple[FrameRef, bytes]]:
        """Yield the plain bytes of a frame for each use, in this order.

        A frame that is used again is kept until its last use. Only if too many wait for that, the one that waits
        longest is fetched again.
        """
        last = {ref: number for number, ref in enumerate(uses)}
        coming = self._decoded([*dict.fromkeys(uses)])
        kept: dict[FrameRef, bytes] = {}
        seen: set[FrameRef] = set()
        for number, ref in enumerate(uses):
            plain = kept.pop(ref, None)
            if plain is None:
                plain = next(self._decoded([ref]) if ref in seen else coming)
            if last[ref] > number:
                seen.add(ref)
                kept[ref] = plain
                if len(kept) > _KEPT_FRAMES:
                    del kept[next(iter(kept))]
            yield ref, plain

    def close(self) -> None:
        for pool in (self._fetchers, *self._decoders):
            pool.shutdown(cancel_futures=True)

    def _decoded(self, refs: Sequence[FrameRef]) -> Iterator[bytes]:
        """Yield the frames. A second thread decodes some of them ahead of the thread that writes them."""
        ahead: deque[Future[bytes]] = deque()
        for one, data in self._fetched(refs):
            for frame in one.frames:
                ahead.append(self._decoder().submit(one.decode, frame, data))
                if len(ahead) > _FRAMES_AHEAD:
                    yield ahead.popleft().result()
        for decoded in ahead:
            yield decoded.result()

    def _decoder(self) -> ThreadPoolExecutor:
        """Return this thread's decoder. Each writing thread has one: more would compete for the interpreter's lock."""
        if not hasattr(self._mine, "decoder"):
            self._mine.decoder = ThreadPoolExecutor(1, "decode")
            self._decoders.append(self._mine.decoder)
        decoder: ThreadPoolExecutor = self._mine.decoder
        return decoder

    def _fetched(self, refs: Sequence[FrameRef]) -> Iterator[tuple[_Range, bytes]]:
        """Yield ranges with their bytes. Those that follow are asked for at the same time, as far as they are small."""
        flying: deque[tuple[_Range, Future[bytes]]] = deque()
        waiting = 0
        for one in self._ranges(refs):
            flying.append((one, self._fetchers.submit(self._stored, one.id, one.start, one.end - one.start)))
            waiting += one.end - one.start
            while len(flying) > _RANGES_AHEAD or waiting > _FLYING_BYTES:
                first, fetched = flying.popleft()
                waiting -= first.end - first.start
                yield first, fetched.result()
        for first, fetched in flying:
            yield first, fetched.result()

    def _ranges(self, refs: Sequence[FrameRef]) -> Iterator[_Range]:
        """Cut frames into ranges, without changing their order."""
        self._open_all(dict.fromkeys(ref.pack for ref in refs))
        current: _Range | None = None
        for ref in refs:
            pack = self._pack(ref.pack)
            frame = self._frame(pack, ref)
            if current is None or not current.takes(ref, frame):
                if current is not None:
                    yield current
                current = _Range(pack, ref.pack, frame.offset, frame.offset + frame.stored, [frame])
        if current is not None:
            yield current

    def _open_all(self, ids: Iterable[str]) -> None:
        """Open packs at the same time, as many as may be open."""
        for opening in [self._fetchers.submit(self._pack, one) for one in islice(ids, _OPEN_PACKS)]:
            opening.result()

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


def is_scattered(blocks: NDArray[np.integer[Any]]) -> bool:
    """Whether the pages that a file has in a frame, by ascending index, are fewer than half of those between the first
    and the last.
    """
    return 2 * len(blocks) <= int(blocks[-1]) - int(blocks[0])
