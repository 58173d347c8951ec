"""Manifests and maps that are sealed as they should be, and yet wrong: what a bug of a writer would leave."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.repository.check.report import sum_up
from stillhouse.repository.check.structure import PackFacts, check
from stillhouse.repository.check.verify import prove
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.format.container import ContainerWriter, Kind
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import Extent, FrameRef, MapBuilder
from stillhouse.repository.format.root import Root, RootNode
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import roots
from support.repositories.crafted_lines import Line
from support.stores.dict_store import START, DictStore

KEK = Kek(bytes(32))


class Crafted:
    """One snapshot of one node of three files, whose lines can be altered before they are stored."""

    def __init__(self) -> None:
        self.store, self.cluster, self.snapshot = DictStore(), new_uuid(), new_uuid()
        self.keys = create_or_open(self.store, KEK, self.cluster)
        self.pack = new_hex()
        self.builder = MapBuilder()

    def store_pack(self) -> Line:
        writer = ContainerWriter(self.keys, Type.PACK, uuid.UUID(self.pack))
        writer.add(b"x" * 100, Kind.BYTES)
        stored = b"".join(writer.finish())
        self.store.put(layout.pack(self.cluster, self.pack), [stored])
        digest = blake3(stored).hexdigest()
        return {"t": "pack", "id": self.pack, "size": len(stored), "index": writer.index, "hash": digest}

    def publish(self, extents: Sequence[Sequence[Extent]], alter: Callable[[list[Line]], None]) -> None:
        pack = self.store_pack()
        for one in extents:
            self.builder.add_bytes(one)
        stored = self.builder.store(self.store, self.keys)
        sizes = [sum(extent.length for extent in one) for one in extents]
        lines: list[Line] = [
            {"t": "node", "cluster": self.cluster, "snapshot": self.snapshot, "node": "n"},
            pack,
            {"t": "map", "id": stored.id, "size": stored.size, "hash": stored.hash, "packs": [0]},
        ]
        lines += [
            {
                "t": "file",
                "path": f"base/5/{number}",
                "mode": 384,
                "size": size,
                "map": stored.id,
                "entry": number,
            }
            for number, size in enumerate(sizes)
        ]
        alter(lines)
        with closing(ManifestWriter()) as manifest:
            named = manifest.store(self.store, self.keys, lines, lambda line: False)
        self._root(named)

    def _root(self, named: Stored) -> None:
        node = RootNode(name="n", manifest=named.id, size=named.size, hash=named.hash)
        root = Root(snapshot=self.snapshot, name="crafted", nodes=(node,))
        roots.publish(self.store, self.keys, root, [])

    def touched(self) -> Iterator[tuple[str, str, Any]]:
        """Folder and kind of each damage, and the paths it touches; None for the whole node."""
        found = check(self.store, KEK, self.cluster, workers=1)
        for damage in sum_up(found, now=START, max_age=timedelta(days=90)).damages:
            (snapshot,) = damage.touches
            assert snapshot.nodes is not None
            (node,) = snapshot.nodes
            paths = None if node.files is None else [file.path for file in node.files]
            yield damage.key.split("/")[2], damage.kind, paths


@pytest.fixture
def crafted() -> Crafted:
    return Crafted()


def frame(crafted: Crafted, ordinal: int = 0) -> FrameRef:
    return FrameRef(crafted.pack, ordinal)


def sound(crafted: Crafted) -> list[list[Extent]]:
    return [
        [Extent(frame(crafted), 0, 10)],
        [Extent(frame(crafted), 10, 20), Extent(None, 0, 7)],
        [Extent(frame(crafted), 90, 10)],
    ]


def change(number: int, **fields: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[number].update(fields)


def test_a_crafted_snapshot_is_sound(crafted: Crafted) -> None:
    crafted.publish(sound(crafted), lambda lines: None)
    assert list(crafted.touched()) == []


ONE_FILE = [("manifests", "inconsistent", ["base/5/1"])]
THE_NODE = [("manifests", "inconsistent", None)]


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (change(4, size=26), ONE_FILE),
        (change(4, entry=2), ONE_FILE),
        (change(4, entry=3), ONE_FILE),
        (change(4, entry=-2), ONE_FILE),
        (change(4, map=None), ONE_FILE),
        (change(4, map="0" * 32), ONE_FILE),
        (change(2, packs=[]), [("manifests", "inconsistent", [f"base/5/{number}" for number in range(3)])]),
        (change(2, packs=[1]), THE_NODE),
        (change(1, index=1 << 40), THE_NODE),
        (lambda lines: lines.pop(1), THE_NODE),
        (lambda lines: lines.pop(0), THE_NODE),
        (lambda lines: lines.append({"t": "End"}), THE_NODE),
        (lambda lines: lines.append({"t": "end", "files": 2, "bytes": 0, "wal": 0}), THE_NODE),
    ],
)
def test_lines_that_do_not_fit_are_damage_of_what_they_tell_of(
    crafted: Crafted, alter: Callable[[list[Line]], None], expected: list[tuple[str, str, Any]]
) -> None:
    crafted.publish(sound(crafted), alter)
    assert list(crafted.touched()) == expected


@pytest.mark.parametrize(
    "wrong", [Extent(FrameRef("", 0), 91, 10), Extent(FrameRef("", 1), 0, 1), Extent(FrameRef("", 0), 0, 101)]
)
def test_entries_that_point_beyond_their_frames_are_damage_of_their_file(
    crafted: Crafted, wrong: Extent
) -> None:
    extents = sound(crafted)
    assert wrong.frame is not None
    extents[1] = [Extent(frame(crafted, wrong.frame.ordinal), wrong.offset, wrong.length)]
    crafted.publish(extents, lambda lines: None)
    assert list(crafted.touched()) == [("maps", "inconsistent", ["base/5/1"])]


def test_fingerprints_of_other_pages_are_damage_that_costs_no_page(crafted: Crafted) -> None:
    """They would make a restore over an existing directory skip what it must write."""
    writer = ContainerWriter(crafted.keys, Type.PACK, uuid.UUID(crafted.pack))
    writer.add(b"x" * 4096, Kind.PAGES, 1024)
    writer._fingerprints = [bytes(8)] * 4
    stored = b"".join(writer.finish())
    crafted.store.put(layout.pack(crafted.cluster, crafted.pack), [stored])
    digest, none = blake3(stored).hexdigest(), np.empty(0, np.uint32)
    pack = PackFacts(
        crafted.pack, len(stored), writer.index, digest, None, none.astype(np.uint16), none, True
    )
    fault = prove(crafted.store, crafted.keys, pack)
    assert fault is not None and (fault.kind, fault.parts) == ("inconsistent", frozenset())
