"""Maps: where in the packs each page and byte of some files lies (docs/format.md, section 4)."""

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type, most_of
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

HOLE = 0xFFFFFFFF
"""In place of a frame: the page is all zeros and stored nowhere."""

UNCHANGED = 0xFFFFFFFE
"""In place of a frame, in memory only: this layer leaves the page to the layers below it."""

_PAGES, _BYTES = 1, 2
_ENTRY = struct.Struct("<BBHI")
_COUNT = 4  # bytes of the number before each table
_LOG_PAGE_SIZES = range(10, 16)


@dataclass(frozen=True, order=True)
class FrameRef:
    """A frame: the pack that holds it and its ordinal there."""

    pack: str
    ordinal: int


@dataclass(frozen=True)
class PlacedPages:
    """Where pages of a file lie: the i-th is page `slot[i]` of `frames[frame[i]]`, or a HOLE."""

    frames: Sequence[FrameRef]
    frame: NDArray[np.uint32]
    slot: NDArray[np.uint16]


Layer = tuple[NDArray[np.uint32], PlacedPages]
"""Pages of a file, by their index, and where they lie."""


def compose(pages: int, layers: Sequence[Layer]) -> PlacedPages:
    """Compose a file from layers, later ones over earlier ones, with the frames it uses. Uncovered pages are zeros."""
    owner = np.full(pages, -1, np.intp)
    at = np.zeros(pages, np.intp)
    for number, (indexes, placed) in enumerate(layers):
        shown = np.flatnonzero((placed.frame != UNCHANGED) & (indexes < pages))
        owner[indexes[shown]] = number
        at[indexes[shown]] = shown
    frames: list[FrameRef] = []
    frame = np.full(pages, HOLE, np.uint32)
    slot = np.zeros(pages, np.uint16)
    for number, (_, placed) in enumerate(layers):
        mine = np.flatnonzero(owner == number)
        mine = mine[placed.frame[at[mine]] != HOLE]
        used, places = np.unique(placed.frame[at[mine]], return_inverse=True)
        frame[mine] = places + len(frames)
        slot[mine] = placed.slot[at[mine]]
        frames += [placed.frames[index] for index in used.tolist()]
    return PlacedPages(frames, frame, slot)


def is_touched(layers: Sequence[Layer]) -> bool:
    return any((placed.frame != UNCHANGED).any() for _, placed in layers)


def taken(layers: Sequence[Layer]) -> set[int]:
    """The pages that were read just now, not left to layers below."""
    return {int(page) for indexes, placed in layers for page in indexes[placed.frame != UNCHANGED]}


def dead(before: PlacedPages, after: PlacedPages) -> int:
    """The number of pages in frames that the file no longer uses at all.

    The file no longer keeps these frames alive.
    """
    alive = set(after.frames)
    gone = [number for number, ref in enumerate(before.frames) if ref not in alive]
    return int(np.isin(before.frame, gone).sum())


@dataclass(frozen=True)
class Extent:
    """Part of a file's bytes; no frame means zeros."""

    frame: FrameRef | None
    offset: int
    length: int


class MapBuilder:
    """Collects the entries of one map object."""

    def __init__(self) -> None:
        self._packs: dict[str, int] = {}
        self._frames: dict[FrameRef, int] = {}
        self._entries: list[bytes] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def packs(self) -> frozenset[str]:
        """Every pack that must be durable before this map is stored."""
        return frozenset(self._packs)

    @property
    def size(self) -> int:
        """The length of the map's body in bytes."""
        return 3 * _COUNT + 16 * len(self._packs) + 8 * len(self._frames) + self.bytes

    def add_pages(self, page_size: int, placed: PlacedPages) -> int:
        """One file of whole pages; returns the entry's ordinal."""
        holes = placed.frame == HOLE
        numbers = np.array([self._number(ref) for ref in placed.frames], np.uint32)
        frame = np.full(len(holes), HOLE, np.uint32)
        frame[~holes] = numbers[placed.frame[~holes]] if len(numbers) else HOLE
        head = _ENTRY.pack(_PAGES, page_size.bit_length() - 1, 0, len(frame))
        return self._append(head + frame.astype("<u4").tobytes() + placed.slot.astype("<u2").tobytes())

    def add_bytes(self, extents: Sequence[Extent]) -> int:
        """One file as extents joined in order; returns the entry's ordinal."""
        head = _ENTRY.pack(_BYTES, 0, 0, len(extents))
        numbers = [
            (HOLE if extent.frame is None else self._number(extent.frame), extent.offset, extent.length)
            for extent in extents
        ]
        return self._append(head + b"".join(struct.pack("<III", *row) for row in numbers))

    def _append(self, entry: bytes) -> int:
        self._entries.append(entry)
        self.bytes += len(entry)
        return len(self._entries) - 1

    def _number(self, ref: FrameRef) -> int:
        self._packs.setdefault(ref.pack, len(self._packs))
        return self._frames.setdefault(ref, len(self._frames))

    def check_size(self, of: str) -> None:
        """Raise ObjectTooLarge, naming the file `of` that was added last, if readers refuse the map."""
        sealed.check_size(Type.MAP, f"of {of}", self.size)

    def encode(self) -> bytes:
        frames = [struct.pack("<II", self._packs[ref.pack], ref.ordinal) for ref in self._frames]
        packs = [bytes.fromhex(pack) for pack in self._packs]
        return b"".join(
            part for rows in (packs, frames, self._entries) for part in (struct.pack("<I", len(rows)), *rows)
        )

    def store(self, store: ObjectStore, keys: ClusterKeys) -> Stored:
        """Seal and store the map under a fresh id, and read it back; durable on return.

        Every reader will go by this map, so it is opened once before anything names it. Raises ObjectTooLarge before
        anything is stored, and RepositoryDamaged when the store returns a map that cannot be read.
        """
        map_id = new_hex()
        chunks = sealed.seal(keys, Type.MAP, map_id, self.encode())
        stored = sealed.create(store, layout.map_(str(keys.cluster), map_id), map_id, chunks)
        load(store, keys, stored)
        return stored


@dataclass(frozen=True)
class PagesEntry:
    page_size: int
    frame: NDArray[np.uint32]
    slot: NDArray[np.uint16]


@dataclass(frozen=True)
class BytesEntry:
    extents: NDArray[np.uint32]
    """Shape (n, 3): frame, offset, length."""


@dataclass(frozen=True)
class Map:
    """`frames` has shape (m, 2): index into `packs`, ordinal."""

    packs: tuple[str, ...]
    frames: NDArray[np.uint32]
    entries: tuple[PagesEntry | BytesEntry, ...]

    def ref(self, frame: int) -> FrameRef:
        pack, ordinal = self.frames[frame]
        return FrameRef(self.packs[pack], int(ordinal))

    def in_packs(self, packs: Collection[str]) -> NDArray[np.bool_]:
        """For each frame, whether one of these packs holds it."""
        named = [number for number, pack in enumerate(self.packs) if pack in packs]
        found: NDArray[np.bool_] = np.isin(self.frames[:, 0], named)
        return found

    def placed(self, entry: PagesEntry) -> PlacedPages:
        """An entry's pages with the frames they use, as a layer for another map."""
        stored = entry.frame != HOLE
        used, places = np.unique(entry.frame[stored], return_inverse=True)
        frame = np.full(len(entry.frame), HOLE, np.uint32)
        frame[stored] = places
        return PlacedPages([self.ref(index) for index in used.tolist()], frame, entry.slot)

    def extents(self, entry: BytesEntry) -> tuple[Extent, ...]:
        return tuple(
            Extent(None if frame == HOLE else self.ref(frame), offset, length)
            for frame, offset, length in entry.extents.tolist()
        )


def load(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Map:
    """Load a map. Raises RepositoryDamaged when the object is not the one that the manifest names."""
    key = layout.map_(str(keys.cluster), stored.id)
    return decode(key, b"".join(sealed.open_stored(store, keys, key, stored).plain()))


def decode(name: str, body: bytes) -> Map:
    """Decode a map. Raises RepositoryDamaged for a body that is cut short or points outside itself."""
    if len(body) > most_of(Type.MAP):
        raise RepositoryDamaged(f"{name} is larger than a map can be")
    try:
        return _decode(body)
    except (struct.error, ValueError, IndexError):
        raise RepositoryDamaged(f"{name} is not a map") from None


def _decode(body: bytes) -> Map:
    (count,) = struct.unpack_from("<I", body, 0)
    at = 4
    if 16 * count > len(body):
        raise ValueError("more packs than bytes")
    packs = tuple(body[at + 16 * i : at + 16 * i + 16].hex() for i in range(count))
    at += 16 * count
    (count,) = struct.unpack_from("<I", body, at)
    frames = np.frombuffer(body, "<u4", 2 * count, at + 4).reshape(count, 2)
    at += 4 + 8 * count
    if count and int(frames[:, 0].max()) >= len(packs):
        raise ValueError("a frame names no pack")
    (entries,) = struct.unpack_from("<I", body, at)
    at += 4
    found: list[PagesEntry | BytesEntry] = []
    for _ in range(entries):
        kind, log_size, _, n = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        if kind == _PAGES and log_size in _LOG_PAGE_SIZES:
            frame = np.frombuffer(body, "<u4", n, at)
            slot = np.frombuffer(body, "<u2", n, at + 4 * n)
            at += 6 * n
            used = frame[frame != HOLE]
            found.append(PagesEntry(1 << log_size, frame, slot))
        elif kind == _BYTES and not log_size:
            extents = np.frombuffer(body, "<u4", 3 * n, at).reshape(n, 3)
            at += 12 * n
            used = extents[:, 0][extents[:, 0] != HOLE]
            found.append(BytesEntry(extents))
        else:
            raise ValueError("unknown kind of entry")
        if len(used) and int(used.max()) >= count:
            raise ValueError("an entry names no frame")
    if at != len(body):
        raise ValueError("bytes left over")
    return Map(packs, frames, tuple(found))
