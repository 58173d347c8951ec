"""The check of one map: against its seal, its own tables, and the frames of the packs that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.check.survey import Place
from stillhouse.repository.format import layout, maps
from stillhouse.repository.format.maps import HOLE, BytesEntry, Map, PagesEntry
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects.faults import INCONSISTENT, Fault

_ANY = 1 << 32  # for packs with unknown frames: no slot and no byte lies beyond this


class Frames(Protocol):
    """The facts about a pack that a check of maps needs."""

    @property
    def pages(self) -> NDArray[np.uint16]: ...
    @property
    def plain(self) -> NDArray[np.uint32]: ...
    @property
    def is_open(self) -> bool: ...


@dataclass(frozen=True)
class MapFacts:
    """The facts kept about a map: the size of each entry's file, and the packs it names.

    `stored` is from the manifest.
    """

    stored: Stored
    sizes: NDArray[np.int64]
    packs: frozenset[str]


def read_map(
    place: Place, stored: Stored, packs: Mapping[str, Frames]
) -> tuple[MapFacts | None, list[Fault]]:
    """The map's facts (None when it is lost) and its faults."""
    key = layout.map_(place.cluster, stored.id)
    opened = place.opened(key, stored)
    if isinstance(opened, Fault):
        return None, [opened]
    try:
        loaded = maps.decode(key, b"".join(opened.plain()))
    except RepositoryDamaged as error:
        return None, [Fault(key, INCONSISTENT, error.message.removeprefix(f"{key} "))]
    sizes = np.array([_size(entry) for entry in loaded.entries], np.int64)
    wrong = frozenset(_beyond(loaded, packs))
    faults = (
        [
            Fault(
                key,
                INCONSISTENT,
                f"has {len(wrong)} entries that name bytes which its packs do not hold",
                wrong,
            )
        ]
        if wrong
        else []
    )
    return MapFacts(stored, sizes, frozenset(loaded.packs)), faults


def _size(entry: PagesEntry | BytesEntry) -> int:
    if isinstance(entry, PagesEntry):
        return len(entry.frame) * entry.page_size
    return int(entry.extents[:, 2].sum(dtype=np.int64))


def _beyond(loaded: Map, packs: Mapping[str, Frames]) -> list[int]:
    """Ordinals of entries that name frames, slots or bytes that do not exist."""
    pages = np.zeros(len(loaded.frames), np.int64)
    plain = np.zeros(len(loaded.frames), np.int64)
    for number, pack in enumerate(loaded.packs):
        mine = np.flatnonzero(loaded.frames[:, 0] == number)
        known = packs.get(pack)
        if known is None or not known.is_open:
            pages[mine] = plain[mine] = (
                _ANY  # the fault is in the pack, or in a manifest that does not list it
            )
            continue
        there = mine[loaded.frames[mine, 1] < len(known.pages)]
        pages[there] = known.pages[loaded.frames[there, 1]]
        plain[there] = known.plain[loaded.frames[there, 1]]
    return [ordinal for ordinal, entry in enumerate(loaded.entries) if _points_beyond(entry, pages, plain)]


def _points_beyond(
    entry: PagesEntry | BytesEntry, pages: NDArray[np.int64], plain: NDArray[np.int64]
) -> bool:
    if isinstance(entry, BytesEntry):
        used = entry.extents[entry.extents[:, 0] != HOLE].astype(np.int64)
        return bool((used[:, 1] + used[:, 2] > plain[used[:, 0]]).any())
    stored = entry.frame != HOLE
    frame, slot = entry.frame[stored], entry.slot[stored]
    if bool((slot >= pages[frame]).any()):
        return True
    known = pages[frame] != _ANY
    return bool((plain[frame[known]] != pages[frame[known]] * entry.page_size).any())
