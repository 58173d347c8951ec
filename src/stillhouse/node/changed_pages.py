"""The pages of relations that differ between two captures of a node.

They are told by their places in the packs and, where the places differ, by their fingerprints: no page is read. The
captures are compared as they were copied. Changes that only the WAL up to the cut holds do not count.
"""

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.relation_files import Kind, relation_file
from stillhouse.domain.reports.difference import ListedTables, RelationId, TableAtCut, TableId
from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.node.stored_pages import StoredPages
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import Line, TableLine, WitnessLine
from stillhouse.repository.format.maps import HOLE, Map, PagesEntry
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

# A row for each page: the number of its pack, the ordinal of its frame there, its slot in the frame.
_Places = NDArray[np.int64]
_NOWHERE = -1  # in all three: a page of zeros


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
    packs: dict[str, StoredPack] = field(default_factory=dict)


def read(
    store: ObjectStore, keys: ClusterKeys, before: Stored, after: Stored
) -> tuple[Captured, Captured, int]:
    """Read two manifests of a node: of each what the other lacks, and the number of tables that are alike in both.

    Memory grows with the difference, and by some 8 bytes for each file and table. Raises RepositoryDamaged.
    """
    both = np.intersect1d(_signs(store, keys, before), _signs(store, keys, after))
    alike = array("q", both.tobytes())
    then, _ = _read(store, keys, before, alike)
    now, tables_alike = _read(store, keys, after, alike)
    return then, now, tables_alike


def _signs(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> NDArray[np.int64]:
    lines = manifest.read_matched(store, keys, stored)
    return np.fromiter((sign for line in lines if (sign := _sign(line)) is not None), np.int64)


def _sign(line: Line | re.Match[bytes]) -> int | None:
    """Return a number by which a file or a table is known to be alike in two manifests. None for other lines, and for a
    table whose rows were not read.
    """
    if isinstance(line, re.Match):
        text = line[0]
        size, entry = text.index(b'"size":'), text.rindex(b'"entry":')  # the entry's number, and its map's id
        return hash((line[1], text[size : text.index(b",", size)], text[entry:]))
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
        captured.packs[line["id"]] = StoredPack(line["id"], line["size"], line["index"], line["hash"])
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
    # In the order of the manifests: files that share a map follow one another.
    relations = dict.fromkeys((*after.segments, *before.segments))
    try:
        return {relation: comparison.differing(relation) for relation in relations}
    except _TooManyBytes:
        return None


class _TooManyBytes(Exception):
    """The comparison would read more of the repository than it may."""


class _Comparison:
    def __init__(
        self, store: ObjectStore, keys: ClusterKeys, before: Captured, after: Captured, most_bytes: int
    ) -> None:
        self._before, self._after = before, after
        self._stored = StoredPages(store, keys, self._spend)
        self._left = most_bytes

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
        earlier = self._stored.map(self._before.maps[then.map])
        later = self._stored.map(self._after.maps[now.map])
        packs = list(dict.fromkeys((*earlier.packs, *later.packs)))
        numbers = {pack: number for number, pack in enumerate(packs)}
        old, new = _places(earlier, then.entry, numbers), _places(later, now.entry, numbers)
        if old is None or new is None:
            return max(sizes)  # stored as bytes
        both = min(len(old), len(new))
        moved = np.flatnonzero((old[:both] != new[:both]).any(axis=1))
        equal = self._marks(self._before, old[moved], packs) == self._marks(self._after, new[moved], packs)
        return max(sizes) - both + len(moved) - int(equal.sum())

    def _marks(self, captured: Captured, places: _Places, packs: Sequence[str]) -> NDArray[np.uint64]:
        """Return the fingerprints of the pages at these places, 0 for pages of zeros."""
        found = np.zeros(len(places), np.uint64)
        for number in np.unique(places[:, 0]).tolist():
            if number != _NOWHERE:
                mine = places[:, 0] == number
                marks, firsts = self._stored.marks(captured.packs[packs[number]])
                found[mine] = marks[firsts[places[mine, 1]] + places[mine, 2]]
        return found

    def _spend(self, size: int) -> None:
        if size > self._left:
            raise _TooManyBytes
        self._left -= size


def _places(loaded: Map, entry_number: int, packs: Mapping[str, int]) -> _Places | None:
    """Return the places of a file's pages. None for a file that is stored as bytes."""
    entry = loaded.entries[entry_number]
    if not isinstance(entry, PagesEntry):
        return None
    numbers = np.array([packs[one] for one in loaded.packs], np.int64)
    found = np.full((len(entry.frame), 3), _NOWHERE, np.int64)
    stored = entry.frame != HOLE
    frames = loaded.frames[entry.frame[stored]]
    found[stored, 0], found[stored, 1] = numbers[frames[:, 0]], frames[:, 1]
    found[stored, 2] = entry.slot[stored]
    return found
