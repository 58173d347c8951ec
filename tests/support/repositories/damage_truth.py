"""What a damage costs, worked out apart from the product: from what `repository_reader` reads before it is done."""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.repositories import aged_repository, repository_reader
from support.repositories.repository_reader import HOLE
from support.stores.dict_store import DictStore

Files = dict[str, set[int] | None]
"""By path: blocks of a file of pages, bytes of others; None: the whole file."""
Touched = dict[str, dict[str, Files | None] | None]
"""By snapshot and node; None: all of it."""

_HEADER, _SEALED, _TAIL = 96, 88, 120


class _Reader(repository_reader.Repository):
    def __init__(self, store: DictStore, kek: bytes, cluster: str) -> None:
        self.store = store
        super().__init__(Path(), kek, cluster)

    def _get(self, key: str) -> bytes:
        return self.store.objects[f"{self._place}/{key}"][0]

    def _names(self, folder: str) -> list[str]:
        prefix = f"{self._place}/{folder}/"
        return sorted(
            {key.removeprefix(prefix).split("/")[0] for key in self.store.objects if key.startswith(prefix)}
        )

    def snapshots(self) -> dict[str, Any]:
        return {name: root for name in self._names("roots") if (root := self.root(name)) is not None}

    def lines(self, named: dict[str, Any]) -> list[dict[str, Any]]:
        text = self._open(f"manifests/{named['manifest']}").body()
        return [repository_reader._fields(line) for line in text.splitlines()]

    def entries(self, map_id: str) -> list[list[tuple[tuple[str, int] | None, int]]]:
        """Of each file of a map: the frame that each of its blocks, or each of its extents with its length, is in."""
        body = repository_reader._Bytes(self._open(f"maps/{map_id}").body())
        packs = [body.raw(16).hex() for _ in range(body.take("<I")[0])]
        frames = [
            (packs[pack], ordinal) for pack, ordinal in (body.take("<II") for _ in range(body.take("<I")[0]))
        ]
        found = []
        for _ in range(body.take("<I")[0]):
            kind, _, _, count = body.take("<BBHI")
            if kind == 1:
                numbers = struct.unpack(f"<{count}I", body.raw(4 * count))
                body.raw(2 * count)
                rows = [(number, 1) for number in numbers]
            else:
                rows = [(frame, length) for frame, _, length in (body.take("<III") for _ in range(count))]
            found.append([(None if frame == HOLE else frames[frame], length) for frame, length in rows])
        body.end()
        return found

    def frames(self, pack: str) -> list[tuple[int, int]]:
        """Offset and stored length of each."""
        return [(record[0], record[1]) for record in self._open(f"packs/{pack}")._records]


@dataclass
class Truth:
    """All that one cluster holds, and where."""

    reader: _Reader
    roots: dict[str, Any]
    manifests: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """By id: (snapshot, node)."""
    files: dict[tuple[str, str, str], tuple[str | None, int]] = field(default_factory=dict)
    """By (snapshot, node, path): map and entry."""
    maps: dict[str, list[list[tuple[tuple[str, int] | None, int]]]] = field(default_factory=dict)
    packs: dict[str, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)
    """By id: offset of the index; frames."""

    def cost(self, changes: dict[str, bytes | None]) -> Touched:
        """What cannot be read any more once the objects at these keys (below the cluster) are these bytes, or gone."""
        lost_maps: set[str] = set()
        lost_frames: set[tuple[str, int]] = set()
        touched: Touched = {}
        for key, after in self._with_what_needs_keys(changes).items():
            folder, name = key.split("/")[:2]
            if folder == "roots" and not self._is_still_a_tombstone(name, after):
                touched[name] = None
            elif folder == "manifests":
                for snapshot, node in self.manifests.get(name, ()):
                    nodes = touched.setdefault(snapshot, {})
                    if nodes is not None:
                        nodes[node] = None
            elif folder == "maps":
                lost_maps.add(name)
            elif folder == "packs" and name in self.packs:
                lost_frames |= {(name, ordinal) for ordinal in self._lost_frames(name, after)}
        self._add_files(touched, lost_maps, lost_frames)
        return touched

    def _with_what_needs_keys(self, changes: dict[str, bytes | None]) -> dict[str, bytes | None]:
        lost = {int(key.split("/")[1]) for key in changes if key.startswith("keys/")}
        if not lost:
            return changes
        all_lost = lost >= self.reader._generations.keys()
        place = f"{self.reader._place}/"
        more = {
            key.removeprefix(place): None
            for key, (stored, _) in self.reader.store.objects.items()
            if key.startswith(place)
            and "/keys/" not in key
            and (stored[12] in lost or all_lost)
            # A tombstone under lost keys is known for one by what its header says.
            and not ("/roots/" in key and stored[10] == 5)
        }
        return {**changes, **more}

    def _is_still_a_tombstone(self, snapshot: str, after: bytes | None) -> bool:
        """Whether it was one, and one of its headers is left to say so; or two that only lack their keys."""
        before = self.reader._get(f"roots/{snapshot}")
        if after is None or len(after) < _HEADER or before[10] != 5:
            return False
        first, last = after[:_HEADER], after[-_TAIL:-24]
        lacks_keys = first == last and struct.unpack_from("<I", first, 12)[0] not in self.reader._generations
        return before[:_HEADER] in (first, last) or (
            lacks_keys and first[16:48] + first[8:12] == before[16:48] + before[8:12]
        )

    def _lost_frames(self, pack: str, after: bytes | None) -> list[int]:
        before = self.reader._get(f"packs/{pack}")
        index, frames = self.packs[pack]
        everything = list(range(len(frames)))
        if after is None or len(after) < len(before):
            return everything
        tail = len(before) - _TAIL
        needed = [(index, tail), (tail, tail + _SEALED), (len(before) - 24, len(before))]
        if any(after[first:last] != before[first:last] for first, last in needed):
            return everything
        return [
            ordinal
            for ordinal, (offset, length) in enumerate(frames)
            if after[offset : offset + length] != before[offset : offset + length]
        ]

    def _add_files(self, touched: Touched, lost_maps: set[str], lost_frames: set[tuple[str, int]]) -> None:
        for (snapshot, node, path), (map_id, entry) in self.files.items():
            if touched.get(snapshot, {}) is None or map_id is None:
                continue
            nodes = touched.get(snapshot) or {}
            if nodes.get(node, {}) is None:
                continue
            lost: set[int] | None = None
            if map_id not in lost_maps:
                lost, at = set(), 0
                for frame, length in self.maps[map_id][entry]:
                    if frame in lost_frames:
                        lost |= set(range(at, at + length))
                    at += length
            if lost is None or lost:
                nodes.setdefault(node, {})[path] = lost  # type: ignore[index]
                touched[snapshot] = nodes


def read_truth(store: DictStore, cluster: str) -> Truth:
    reader = _Reader(store, aged_repository.KEK.secret, cluster)
    truth = Truth(reader, reader.snapshots())
    for snapshot, root in truth.roots.items():
        for named in root["nodes"]:
            truth.manifests.setdefault(named["manifest"], []).append((snapshot, named["name"]))
            for line in reader.lines(named):
                if line["t"] == "pack":
                    truth.packs[line["id"]] = line["index"], reader.frames(line["id"])
                elif line["t"] == "map":
                    truth.maps[line["id"]] = reader.entries(line["id"])
                elif line["t"] in ("file", "wal"):
                    path = f"pg_wal/{line['path']}" if line["t"] == "wal" else line["path"]
                    truth.files[snapshot, named["name"], path] = (
                        line["map"],
                        line["entry"] if line["map"] else 0,
                    )
    return truth
