"""The cost of each fault: the snapshots, nodes, files, and blocks or bytes that cannot be read back."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.object_kinds import Type
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, Ranges, SnapshotTouched
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.check.structure import Checked, NodeFacts, path_of
from stillhouse.repository.check.survey import claims_at
from stillhouse.repository.format import layout, maps
from stillhouse.repository.format.lines import FileLine, WalLine
from stillhouse.repository.format.manifest import read
from stillhouse.repository.format.maps import HOLE, BytesEntry, Map, PagesEntry
from stillhouse.repository.objects import roots
from stillhouse.repository.objects.faults import Parts


@dataclass(frozen=True)
class Damage:
    """`touches` is empty when a restore needs nothing that is lost."""

    kind: str
    key: str
    detail: str
    touches: tuple[SnapshotTouched, ...]


@dataclass
class _Cost:
    """The cost of one fault. A node with None is lost as a whole."""

    snapshots: set[str] = field(default_factory=set)
    nodes: dict[tuple[str, str], list[FileTouched] | None] = field(default_factory=dict)

    def file(self, node: NodeFacts, touched: FileTouched) -> None:
        files = self.nodes.setdefault((node.snapshot, node.name), [])
        assert files is not None, "a node lost as a whole is not looked into"
        files.append(touched)


Losses = dict[str, list[tuple[str, Parts]]]
"""For each damaged object: the keys of the faults behind it, and the parts that each of them takes."""


def damages(checked: Checked) -> list[Damage]:
    """All faults with their cost. Faults in snapshots purged since the check began are left out."""
    place = checked.place
    if not place.faults.by_key:
        return []
    losses: Losses = {}
    for fault in place.faults.by_key.values():
        losses.setdefault(fault.key, []).append((fault.key, fault.parts))
        for key in place.behind.get(fault.key, ()):
            losses.setdefault(key, []).append((fault.key, None))
    gone = _given_up(checked, losses)
    costs: dict[str, _Cost] = {}
    for key in losses:
        if key.startswith(layout.roots_of(place.cluster)) and not _is_tombstone(checked, key):
            for fault_key, _ in losses[key]:
                costs.setdefault(fault_key, _Cost()).snapshots.add(key.rpartition("/")[2])
    for node in checked.nodes:
        if node.snapshot not in gone:
            _add_node(checked, node, losses, costs)
    reached_by_gone = {
        key for node in checked.nodes if node.snapshot in gone for key in checked.objects_of(node)
    }
    reached = {key for node in checked.nodes if node.snapshot not in gone for key in checked.objects_of(node)}
    return [
        Damage(fault.kind, fault.key, fault.detail, _touches(checked, costs.get(fault.key, _Cost())))
        for fault in sorted(place.faults.by_key.values(), key=lambda one: one.key)
        if fault.key in reached or fault.key not in reached_by_gone
    ]


def _given_up(checked: Checked, losses: Losses) -> set[str]:
    """Damaged snapshots that a purge has closed since the check began. A collection removes their objects."""
    place = checked.place
    suffering = {
        node.snapshot for node in checked.nodes if any(key in losses for key in checked.objects_of(node))
    }
    return {snapshot for snapshot in suffering if _is_closed(checked, snapshot)} if place.keys else set()


def _is_closed(checked: Checked, snapshot: str) -> bool:
    assert checked.place.keys is not None
    try:
        return roots.read(checked.place.store, checked.place.keys, snapshot) is None
    except RepositoryDamaged:
        return False


def _is_tombstone(checked: Checked, key: str) -> bool:
    """Whether a root's key that cannot be read is known to have held a tombstone."""
    snapshot = key.rpartition("/")[2]
    if checked.place.keys is not None:
        return snapshot in checked.place.tombstones
    try:
        found = claims_at(checked.place.store, key)
    except ObjectMissing:
        return False
    return bool(found) and all(claim.type == Type.TOMBSTONE and str(claim.id) == snapshot for claim in found)


def _add_node(checked: Checked, node: NodeFacts, losses: Losses, costs: dict[str, _Cost]) -> None:
    suffered = {key: losses[key] for key in checked.objects_of(node) if key in losses}
    manifest_key = checked.key_of_manifest(node)
    whole = [fault for fault, parts in suffered.get(manifest_key, ()) if parts is None]
    for fault in whole:
        costs.setdefault(fault, _Cost()).nodes[node.snapshot, node.name] = None
    if suffered and not whole:
        _Reading(checked, node, suffered, costs).run()


class _Reading:
    """A second reading of a manifest, to find the files that its faults damage."""

    def __init__(self, checked: Checked, node: NodeFacts, suffered: Losses, costs: dict[str, _Cost]) -> None:
        place = checked.place
        assert place.keys is not None
        self._store, self._keys, self._node = place.store, place.keys, node
        self._costs = costs
        self._manifest = suffered.get(checked.key_of_manifest(node), [])
        self._maps = {
            map_id: suffered[key]
            for map_id in node.maps
            if (key := layout.map_(place.cluster, map_id)) in suffered
        }
        self._packs = {
            pack: suffered[key]
            for pack in node.packs
            if (key := layout.pack(place.cluster, pack)) in suffered
        }
        self._loaded: tuple[str, Map] | None = None

    def run(self) -> None:
        packs: list[str] = []
        touched: dict[str, bool] = {}  # by map: whether it names a damaged pack
        for line in read(self._store, self._keys, self._node.manifest):
            if line["t"] == "pack":
                packs.append(line["id"])
            elif line["t"] == "map":
                touched[line["id"]] = any(packs[ordinal] in self._packs for ordinal in line["packs"])
            elif line["t"] in ("file", "wal"):
                self._file(line, touched)

    def _file(self, line: FileLine | WalLine, touched: dict[str, bool]) -> None:
        path, map_id, entry = path_of(line), line["map"], line.get("entry", -1)
        for fault, parts in self._manifest:
            if parts is not None and path in parts:
                self._cost(fault).file(self._node, FileTouched(path))
        if map_id is None:
            return
        lost = False
        for fault, parts in self._maps.get(map_id, ()):
            if parts is None or entry in parts:
                self._cost(fault).file(self._node, FileTouched(path))
            lost = lost or parts is None
        if touched.get(map_id) and not lost:
            self._frames(path, self._map(map_id), entry)

    def _map(self, map_id: str) -> Map:
        if self._loaded is None or self._loaded[0] != map_id:
            self._loaded = map_id, maps.load(self._store, self._keys, self._node.maps[map_id])
        return self._loaded[1]

    def _frames(self, path: str, loaded: Map, ordinal: int) -> None:
        if not 0 <= ordinal < len(loaded.entries):
            return  # then the manifest is at fault
        for number, pack in enumerate(loaded.packs):
            for fault, parts in self._packs.get(pack, ()):
                mine = loaded.frames[:, 0] == number
                if parts is not None:
                    mine &= np.isin(loaded.frames[:, 1], np.array(sorted(parts), np.uint32))
                if (touched := _touched(path, loaded.entries[ordinal], mine)) is not None:
                    self._cost(fault).file(self._node, touched)

    def _cost(self, fault: str) -> _Cost:
        return self._costs.setdefault(fault, _Cost())


def _touched(path: str, entry: PagesEntry | BytesEntry, bad: NDArray[np.bool_]) -> FileTouched | None:
    """The parts of a file that lie in bad frames. `bad` is by the frame's index in the map."""
    if isinstance(entry, PagesEntry):
        stored = np.flatnonzero(entry.frame != HOLE)
        blocks = ranges(stored[bad[entry.frame[stored]]].tolist())
        return FileTouched(path, blocks=blocks) if blocks else None
    found: list[tuple[int, int]] = []
    at = 0
    for frame, _, length in entry.extents.tolist():
        if length and frame != HOLE and bad[frame]:
            if found and found[-1][1] == at - 1:
                found[-1] = found[-1][0], at + length - 1
            else:
                found.append((at, at + length - 1))
        at += length
    return FileTouched(path, bytes=tuple(found)) if found else None


def ranges(numbers: Iterable[int]) -> Ranges:
    """Join ascending numbers into ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return tuple(found)


def _touches(checked: Checked, cost: _Cost) -> tuple[SnapshotTouched, ...]:
    found = [SnapshotTouched(snapshot, "", None) for snapshot in cost.snapshots]
    for snapshot in {snapshot for snapshot, _ in cost.nodes}:
        nodes = tuple(
            NodeTouched(name, None if files is None else tuple(files))
            for (of, name), files in cost.nodes.items()
            if of == snapshot
        )
        found.append(SnapshotTouched(snapshot, checked.place.roots[snapshot].name, nodes))
    return tuple(sorted(found, key=lambda touched: touched.snapshot))
