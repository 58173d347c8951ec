"""Pages that a capture which reads everything takes from its base: their frame opens, and holds the same bytes."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.page_choice import Blocks
from stillhouse.errors import RepositoryDamaged
from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.node.frames import Packs, is_scattered
from stillhouse.postgres.files import pages as page_rules
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.maps import HOLE, FrameRef, PlacedPages
from stillhouse.storage.store import ObjectStore

_KEPT_FRAMES = 8  # of each thread: small files that follow one another share frames


class SoundFrames:
    """Frames of the base as this capture reads them out of the store. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, keys: ClusterKeys, packs: Iterable[StoredPack]) -> None:
        self._packs = Packs(store, keys)
        for pack in packs:
            self._packs.expect(pack.id, pack.size, pack.index)
        self._mine = threading.local()

    def read(self, refs: Sequence[FrameRef]) -> Iterator[bytes | None]:
        """Yield the plain bytes of each frame. `None` if it is damaged."""
        if not hasattr(self._mine, "kept"):
            self._mine.kept = OrderedDict()
        kept: OrderedDict[FrameRef, bytes | None] = self._mine.kept
        missing = [ref for ref in refs if ref not in kept]
        coming = zip(missing, self._decoded(missing), strict=True)
        for ref in refs:
            plain = kept[ref] if ref in kept else next(coming)[1]
            kept[ref] = plain
            yield plain
        while len(kept) > _KEPT_FRAMES:
            kept.popitem(last=False)

    def close(self) -> None:
        self._packs.close()

    def _decoded(self, refs: Sequence[FrameRef]) -> Iterator[bytes | None]:
        done = 0
        try:
            for _, plain in self._packs.frames(refs):
                yield plain
                done += 1
        except RepositoryDamaged:
            for ref in refs[done:]:
                yield self._alone(ref)

    def _alone(self, ref: FrameRef) -> bytes | None:
        try:
            ((_, plain),) = self._packs.frames([ref])
        except RepositoryDamaged:
            return None
        return plain


@dataclass(frozen=True)
class UnchangedInFrames:
    """A page is unchanged if the base's frame, read just now, holds the same bytes for it.

    Pages of a frame that lie scattered over more than this batch are stored anew all the same, with those that
    other captures have scattered there: so a restore needs one frame for them, and for this part of the file alone.
    """

    frames: SoundFrames
    placed: PlacedPages
    lost: Blocks
    held: NDArray[np.intp]

    @classmethod
    def of(cls, frames: SoundFrames, placed: PlacedPages, lost: Blocks) -> "UnchangedInFrames":
        held = np.bincount(placed.frame[placed.frame != HOLE], minlength=len(placed.frames))
        return cls(frames, placed, lost, held)

    def __call__(self, pages: page_rules.Pages, indexes: Blocks) -> NDArray[np.bool_]:
        same = np.zeros(len(pages), np.bool_)
        known = np.flatnonzero((indexes < len(self.placed.frame)) & ~np.isin(indexes, self.lost))
        frame = self.placed.frame[indexes[known]]
        holes = known[frame == HOLE]
        same[holes] = page_rules.is_zero(pages[holes]) if len(holes) else False
        wanted: list[tuple[FrameRef, NDArray[np.intp]]] = []
        for number in np.unique(frame[frame != HOLE]).tolist():
            mine = known[frame == number]
            if len(mine) == self.held[number] or not is_scattered(indexes[mine]):
                wanted.append((self.placed.frames[number], mine))
        wanted.sort(key=lambda one: one[0])
        plains = self.frames.read([ref for ref, _ in wanted])
        for plain, (_, mine) in zip(plains, wanted, strict=True):
            slots = self.placed.slot[indexes[mine]]
            if plain is not None and int(slots.max()) < len(plain) // pages.shape[1]:
                stored = np.frombuffer(plain, np.uint8).reshape(-1, pages.shape[1])[slots]
                same[mine] = (stored == pages[mine]).all(axis=1)
        return same
