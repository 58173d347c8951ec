"""The structural check of a cluster: each object below a root is compared with its parent; frames are not read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.check.maps import MapFacts, read_map
from stillhouse.repository.check.survey import Place, survey
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.format.container import HEADER_BYTES, TAIL_BYTES, Container
from stillhouse.repository.format.lines import FileLine, Line, WalLine
from stillhouse.repository.format.manifest import lines_of
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects.faults import ALTERED, INCONSISTENT, MISSING, NOTHING, SIZE, Fault
from stillhouse.storage.store import ObjectStore


@dataclass(frozen=True)
class PackFacts:
    """A pack as manifests name it.

    `written` is by the store's clock. `pages` and `plain` (bytes) are by frame ordinal.
    """

    id: str
    size: int
    index: int
    hash: str
    written: datetime | None
    pages: NDArray[np.uint16]
    plain: NDArray[np.uint32]
    is_open: bool
    """Whether its index could be read. If not, nothing is known about its frames."""


@dataclass
class NodeFacts:
    """One node of one snapshot, from its manifest.

    `live` is the bytes of its files; `held` is the most bytes that their frames can hold.
    """

    snapshot: str
    name: str
    manifest: Stored
    packs: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    maps: dict[str, Stored] = field(default_factory=dict)
    live: int = 0
    held: int = 0


@dataclass
class Checked:
    """The result of a check: the place with its faults, and the objects that its snapshots reach."""

    place: Place
    nodes: list[NodeFacts] = field(default_factory=list)
    packs: dict[str, PackFacts] = field(default_factory=dict)
    maps: dict[str, MapFacts | None] = field(default_factory=dict)
    """A lost map is None."""
    notices: list[str] = field(default_factory=list)
    sound: set[str] = field(default_factory=set)
    """Packs that were read whole and found as they were stored."""
    unrecorded: str = ""
    """Why the damage that was found could not be recorded; empty when it was recorded."""

    def key_of_manifest(self, node: NodeFacts) -> str:
        return layout.manifest(self.place.cluster, node.manifest.id)

    def of(self, snapshot: str) -> list[NodeFacts]:
        return [node for node in self.nodes if node.snapshot == snapshot]

    def packs_of(self, snapshot: str) -> set[str]:
        return {pack for node in self.of(snapshot) for pack in node.packs}

    def objects_of(self, node: NodeFacts) -> Iterator[str]:
        """Keys of the manifest and of all maps and packs that it names."""
        cluster = self.place.cluster
        yield self.key_of_manifest(node)
        yield from (layout.map_(cluster, map_id) for map_id in node.maps)
        yield from (layout.pack(cluster, pack) for pack in node.packs)

    def reached(self) -> set[str]:
        """Keys of all manifests, maps and packs below roots."""
        return {key for node in self.nodes for key in self.objects_of(node)}


def check(
    store: ObjectStore, kek: Kek, cluster: str, *, workers: int = 4, only_manifests: bool = False
) -> Checked:
    """Check everything in one cluster except the frames of its packs. Faults are collected, not raised.

    With `only_manifests`, maps and packs are not opened: figures need only manifests. Raises StoreUnavailable.
    """
    checked = Checked(Place(store, kek, cluster, workers))
    survey(checked.place)
    if checked.place.keys is None:
        return checked
    for snapshot, root in sorted(checked.place.roots.items()):
        for named in root.nodes:
            checked.nodes.append(NodeFacts(snapshot, named.name, named.stored))
    for node, opened in zip(checked.nodes, checked.place.each(_opening(checked), checked.nodes), strict=True):
        if isinstance(opened, Fault):
            checked.place.charge(opened)
        else:
            _check_manifest(checked, node, opened, only_manifests)
    return checked


def _opening(checked: Checked) -> Any:
    return lambda node: checked.place.opened(checked.key_of_manifest(node), node.manifest)


def _check_manifest(checked: Checked, node: NodeFacts, opened: Container, only_manifests: bool) -> None:
    key = checked.key_of_manifest(node)
    try:
        _gather(node, lines_of(key, opened))
        if not only_manifests:
            _open_packs(checked, node)
            _open_maps(checked, node)
            wrong = frozenset(_misplaced(checked, node, lines_of(key, opened)))
            if wrong:
                checked.place.charge(
                    Fault(
                        key,
                        INCONSISTENT,
                        f"names {len(wrong)} files that do not agree with their maps",
                        wrong,
                    )
                )
    except RepositoryDamaged as error:
        checked.place.charge(Fault(key, INCONSISTENT, error.message.removeprefix(f"{key} ")))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        checked.place.charge(Fault(key, INCONSISTENT, f"holds a line that cannot be read: {error!r}"))


def _gather(node: NodeFacts, lines: Iterable[Line]) -> None:
    """Collect packs, maps and figures of a manifest. Raises RepositoryDamaged when its end contradicts its lines."""
    files = size = segments = block_size = 0
    for line in lines:
        match line["t"]:
            case "node":
                block_size = line.get("block_size", 0)
            case "pack":
                node.packs[line["id"]] = (line["size"], line["index"], line["hash"])
            case "map":
                node.maps[line["id"]] = Stored(line["id"], line["size"], line["hash"])
            case "file":
                files += 1
                size += line["size"]
                node.live += line["size"]
                node.held += line["held"] * block_size if "held" in line and block_size else line["size"]
            case "wal":
                segments += 1
                node.live += line["size"]
                node.held += line["size"]
            case "end" if line["files"] != files or line["bytes"] != size or line["wal"] != segments:
                raise RepositoryDamaged("has another number of files than its end says")


def _open_packs(checked: Checked, node: NodeFacts) -> None:
    """Open the index of each pack that no earlier manifest named."""
    key = checked.key_of_manifest(node)
    for pack, named in node.packs.items():
        known = checked.packs.get(pack)
        if known is not None and (known.size, known.index, known.hash) != named:
            raise RepositoryDamaged(f"{key} names pack {pack} with other facts than another manifest")
    fresh = [pack for pack in node.packs if pack not in checked.packs]

    def open_one(pack: str) -> tuple[PackFacts, list[Fault]]:
        return _open_pack(checked.place, pack, *node.packs[pack])

    for facts, faults in checked.place.each(open_one, fresh):
        checked.packs[facts.id] = facts
        for fault in faults:
            checked.place.charge(fault)


def _open_pack(place: Place, pack: str, size: int, index: int, digest: str) -> tuple[PackFacts, list[Fault]]:
    key = layout.pack(place.cluster, pack)
    listed = place.listed.get(key)
    there = place.size(key)
    faults: list[Fault] = []
    opened: Container | None = None
    if there is None:
        faults.append(Fault(key, MISSING, "is gone"))
    elif there < size:
        faults.append(Fault(key, SIZE, f"has {there} bytes, {size} were stored"))
    elif not HEADER_BYTES <= index <= size - TAIL_BYTES:
        raise RepositoryDamaged(f"names an index of pack {pack} that lies outside of it")
    else:
        if there > size:  # the stored bytes may all still be there, and readers ask for no more
            faults.append(Fault(key, SIZE, f"has {there} bytes, {size} were stored", NOTHING))
        opened_or_fault = open_pack(place, key, size, index)
        if isinstance(opened_or_fault, Fault):
            faults.append(opened_or_fault)
        else:
            opened = opened_or_fault
    frames = opened.frames if opened else ()
    facts = PackFacts(
        pack,
        size,
        index,
        digest,
        listed.modified if listed else None,
        np.array([frame.pages for frame in frames], np.uint16),
        np.array([frame.plain for frame in frames], np.uint32),
        opened is not None,
    )
    return facts, faults


def open_pack(place: Place, key: str, size: int, index: int) -> Container | Fault:
    """Open a pack by its index alone."""
    assert place.keys is not None
    tail = b""
    try:
        tail = place.store.get_range(key, index, size - index)
        return Container(
            key, place.keys, tail, lambda at, length: place.store.get_range(key, at, length), size
        )
    except ObjectMissing:
        return Fault(key, MISSING, "is gone")
    except RepositoryDamaged as error:
        return Fault(key, ALTERED, error.message.removeprefix(f"{key} "), needs=_lacking(place, key, tail))


def _lacking(place: Place, key: str, tail: bytes) -> int | None:
    """The missing generation of keys. The first header is read too, because the one in the tail may be altered."""
    try:
        return place.lacking(place.store.get_range(key, 0, HEADER_BYTES) + tail)
    except (ObjectMissing, RepositoryDamaged):
        return None


def _open_maps(checked: Checked, node: NodeFacts) -> None:
    fresh = [stored for stored in node.maps.values() if stored.id not in checked.maps]

    def open_one(stored: Stored) -> tuple[MapFacts | None, list[Fault]]:
        return read_map(checked.place, stored, checked.packs)

    for stored, (facts, faults) in zip(fresh, checked.place.each(open_one, fresh), strict=True):
        checked.maps[stored.id] = facts
        for fault in faults:
            checked.place.charge(fault)
    for map_id, stored in node.maps.items():
        known = checked.maps[map_id]
        if known is not None and known.stored != stored:
            raise RepositoryDamaged(f"names map {map_id} with other facts than another manifest")
        if known is not None and not known.packs <= node.packs.keys():
            raise RepositoryDamaged(f"does not list every pack that map {map_id} names")


def _misplaced(checked: Checked, node: NodeFacts, lines: Iterable[Line]) -> Iterator[str]:
    """Paths of files that do not agree with their map. Lost maps are separate faults."""
    packs: list[str] = []
    misnamed: set[str] = set()
    for line in lines:
        if line["t"] == "pack":
            packs.append(line["id"])
        elif line["t"] == "map":
            facts = checked.maps[line["id"]]
            if facts is not None and facts.packs != {packs[ordinal] for ordinal in line["packs"]}:
                misnamed.add(line["id"])
        elif line["t"] in ("file", "wal") and not _fits(checked, node, line, misnamed):
            yield path_of(line)


def _fits(checked: Checked, node: NodeFacts, line: FileLine | WalLine, misnamed: set[str]) -> bool:
    if line["map"] is None:
        return bool(line["size"] == 0)
    if line["map"] not in node.maps or line["map"] in misnamed:
        return False
    facts = checked.maps[line["map"]]
    if facts is None:
        return True
    return 0 <= line["entry"] < len(facts.sizes) and bool(facts.sizes[line["entry"]] == line["size"])


def path_of(line: FileLine | WalLine) -> str:
    """Where a file of a manifest lies in the data directory. WAL segments are identified by name alone."""
    return f"pg_wal/{line['path']}" if line["t"] == "wal" else line["path"]
