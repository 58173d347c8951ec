"""The pages of relations that differ between two captures of a node.

They are told by their places in the packs and, where the places differ, by their fingerprints: no page is read. The
captures are compared as they were copied. Changes that only the WAL up to the cut holds do not count.
"""

import json
import re
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.relation_files import Kind, relation_file
from stillhouse.domain.reports.difference import ListedTables, RelationId, TableAtCut, TableId
from stillhouse.repository.format import layout, manifest, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.lines import Line, PackLine, TableLine, WitnessLine
from stillhouse.repository.format.maps import HOLE, Map, PagesEntry
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_OPEN_MAPS, _OPEN_PACKS = 16, 64
_HOW = re.compile(
    rb'"how":"[a-z]+",(?:"held":\d+,)?(?:"pieces":\[["0-9a-f,]*\],)?'
)  # how the same bytes were captured


@dataclass(frozen=True)
class _Segment:
    """A file of a relation's main fork: its entry in a map (None: it has no bytes), and its size in bytes."""

    map: str | None
    entry: int
    size: int


@dataclass
class Captured:
    """Tables of a manifest, and main forks of relations, segment by segment."""

    page_size: int = 0
    tables: ListedTables = field(default_factory=ListedTables)
    segments: dict[RelationId, dict[int, _Segment]] = field(default_factory=dict)
    maps: dict[str, Stored] = field(default_factory=dict)
    packs: dict[str, PackLine] = field(default_factory=dict)


def read(
    store: ObjectStore, keys: ClusterKeys, before: Stored, after: Stored
) -> tuple[Captured, Captured, int]:
    """Read two manifests of a node: of each what the other lacks, and the number of tables that are alike in both.

    Memory grows with the difference, and by some 8 bytes for each file and table. Raises RepositoryDamaged.
    """
    both = np.intersect1d(_signs(store, keys, before), _signs(store, keys, after))
    alike = array("q", both.tobytes())
    then, now = (_read(store, keys, one, alike) for one in (before, after))
    return then[0], now[0], now[1]


def _signs(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> NDArray[np.int64]:
    lines = manifest.read_matched(store, keys, stored)
    return np.fromiter((sign for line in lines if (sign := _sign(line)) is not None), np.int64)


def _sign(line: Line | re.Match[bytes]) -> int | None:
    """Return a number by which a file or a table is known to be alike in two manifests. None for other lines, and for a
    table whose rows were not read.
    """
    if isinstance(line, re.Match):
        return hash((line[1], _HOW.sub(b"", line[0][line[0].index(b'"size":') :])))
    if line["t"] == "table" and "rows" in line:
        return hash((line["database"], line["schema"], line["name"], line["rows"], line["digest"]))
    return None


def _has(ascending: Sequence[int], sign: int) -> bool:
    at = bisect_left(ascending, sign)
    return at < len(ascending) and ascending[at] == sign


def _read(
    store: ObjectStore, keys: ClusterKeys, stored: Stored, alike: Sequence[int]
) -> tuple[Captured, int]:
    captured, witness, tables_alike = Captured(), None, 0
    tables: dict[TableId, TableAtCut] = {}
    for line in manifest.read_matched(store, keys, stored):
        if (sign := _sign(line)) is not None and _has(alike, sign):
            tables_alike += not isinstance(line, re.Match)
        elif isinstance(line, re.Match):
            _note_file(captured, json.loads(line[0]))
        elif line["t"] == "witness":
            witness = line
        elif line["t"] == "table":
            tables[TableId(line["database"], line["schema"], line["name"])] = _table(line)
        else:
            _note(captured, line)
    captured.tables = _listed(witness, tables)
    return captured, tables_alike


def _note(captured: Captured, line: Line) -> None:
    if line["t"] == "node":
        captured.page_size = line["block_size"]
    elif line["t"] == "map":
        captured.maps[line["id"]] = Stored(line["id"], line["size"], line["hash"])
    elif line["t"] == "pack":
        captured.packs[line["id"]] = line
    elif line["t"] == "file":
        _note_file(captured, line)


def _note_file(captured: Captured, line: Any) -> None:
    file = relation_file(line["path"])
    if file is not None and file.kind is Kind.MAIN:
        relation = RelationId(file.tablespace, file.database, file.relation)
        segments = captured.segments.setdefault(relation, {})
        segments[file.segment] = _Segment(line["map"], line["entry"], line["size"])


def _table(line: TableLine) -> TableAtCut:
    relations = tuple(RelationId(*one) for one in line.get("relations", ()))
    return TableAtCut(line.get("rows"), line.get("digest", ""), line.get("left_out", ""), relations)


def _listed(witness: WitnessLine | None, tables: dict[TableId, TableAtCut]) -> ListedTables:
    if witness is None:
        return ListedTables()
    return ListedTables(
        frozenset(witness["databases"]), witness.get("why", ""), witness.get("left_out", {}), tables
    )


def count(
    store: ObjectStore, keys: ClusterKeys, before: Captured, after: Captured, most_bytes: int
) -> dict[RelationId, int] | None:
    """Count by relation the pages that differ. Those that only one of the captures has count too.

    None if more than `most_bytes` of maps and of packs' indexes would be read. Raises RepositoryDamaged.
    """
    comparison = _Comparison(store, keys, before, after, most_bytes)
    try:
        return {relation: comparison.differing(relation) for relation in {*before.segments, *after.segments}}
    except _TooManyBytes:
        return None


class _TooManyBytes(Exception):
    """The comparison would read more of the repository than it may."""


class _Comparison:
    def __init__(
        self, store: ObjectStore, keys: ClusterKeys, before: Captured, after: Captured, most_bytes: int
    ) -> None:
        self._store, self._keys = store, keys
        self._before, self._after = before, after
        self._left = most_bytes
        self._maps: OrderedDict[str, Map] = OrderedDict()
        self._packs: OrderedDict[str, tuple[NDArray[np.uint64], NDArray[np.intp]]] = OrderedDict()
        self._numbers: dict[str, int] = {}

    def differing(self, relation: RelationId) -> int:
        before, after = (one.segments.get(relation, {}) for one in (self._before, self._after))
        return sum(
            self._in_segment(before.get(number), after.get(number)) for number in before.keys() | after.keys()
        )

    def _in_segment(self, then: _Segment | None, now: _Segment | None) -> int:
        if then == now:
            return 0
        sizes = [one.size // self._after.page_size if one else 0 for one in (then, now)]
        if then is None or now is None or not (then.map and now.map):
            return max(sizes)
        earlier, later = self._pages(self._before, then), self._pages(self._after, now)
        if earlier is None or later is None:
            return max(sizes)  # stored as bytes
        both = min(len(earlier.frame), len(later.frame))
        moved = np.flatnonzero(
            (earlier.frame[:both] != later.frame[:both]) | (earlier.slot[:both] != later.slot[:both])
        )
        equal = self._marks(self._before, earlier, moved) == self._marks(self._after, later, moved)
        return max(sizes) - both + len(moved) - int(equal.sum())

    def _pages(self, captured: Captured, segment: _Segment) -> "_Places | None":
        loaded = self._map(captured, segment.map or "")
        entry = loaded.entries[segment.entry]
        if not isinstance(entry, PagesEntry):
            return None
        packs = np.array(
            [self._numbers.setdefault(one, len(self._numbers)) for one in loaded.packs], np.uint64
        )
        places = (packs[loaded.frames[:, 0]] << np.uint64(32)) | loaded.frames[:, 1].astype(np.uint64)
        frame = np.full(len(entry.frame), _NOWHERE, np.uint64)
        stored = entry.frame != HOLE
        frame[stored] = places[entry.frame[stored]]
        return _Places(frame, entry.slot)

    def _map(self, captured: Captured, map_id: str) -> Map:
        if map_id not in self._maps:
            self._spend(captured.maps[map_id].size)
            self._maps[map_id] = maps.load(self._store, self._keys, captured.maps[map_id])
            if len(self._maps) > _OPEN_MAPS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(map_id)
        return self._maps[map_id]

    def _marks(self, captured: Captured, places: "_Places", pages: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Return the fingerprints of these pages, 0 for pages of zeros."""
        frame, slot = places.frame[pages], places.slot[pages]
        found = np.zeros(len(pages), np.uint64)
        names = list(self._numbers)
        packs = np.where(frame == _NOWHERE, _NOWHERE, frame >> np.uint64(32))
        for number in np.unique(packs[packs != _NOWHERE]).tolist():
            mine = packs == number
            marks, firsts = self._fingerprints(captured.packs[names[number]])
            ordinals = (frame[mine] & np.uint64(0xFFFFFFFF)).astype(np.intp)
            found[mine] = marks[firsts[ordinals] + slot[mine]]
        return found

    def _fingerprints(self, pack: PackLine) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        """Return a pack's fingerprints, and the position of each frame's first one."""
        if pack["id"] not in self._packs:
            key = layout.pack(str(self._keys.cluster), pack["id"])

            def fetch(at: int, length: int) -> bytes:
                self._spend(length)
                return self._store.get_range(key, at, length)

            tail = fetch(pack["index"], pack["size"] - pack["index"])
            opened = Container(key, self._keys, tail, fetch, pack["size"])
            firsts = np.cumsum([0, *(frame.pages for frame in opened.frames)])
            self._packs[pack["id"]] = np.frombuffer(opened.fingerprints(), "<u8"), firsts
            if len(self._packs) > _OPEN_PACKS:
                self._packs.popitem(last=False)
        self._packs.move_to_end(pack["id"])
        return self._packs[pack["id"]]

    def _spend(self, size: int) -> None:
        if size > self._left:
            raise _TooManyBytes
        self._left -= size


_NOWHERE = np.uint64(0xFFFFFFFFFFFFFFFF)  # the place of a page of zeros


@dataclass(frozen=True)
class _Places:
    """The place of each page of a file: pack and frame in one number, and the slot in the frame."""

    frame: NDArray[np.uint64]
    slot: NDArray[np.uint16]
