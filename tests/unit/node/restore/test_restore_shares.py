"""A restore's work side by side: one map among several workers, and frames decoded ahead of the one who writes them."""

import os
import threading
import weakref
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.errors import RepositoryDamaged
from stillhouse.node.capture.pack_writer import PackWriter, StoredPack
from stillhouse.node.frames import Packs
from stillhouse.node.restore import rebuild
from stillhouse.repository.format import layout, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.container import HEADER_BYTES, Kind
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import Extent, FrameRef, Map, MapBuilder
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.repositories.crafted_lines import Line

FRAMES, FRAME = 10, 1000


class Bed:
    """One pack of some frames that do not compress."""

    def __init__(self) -> None:
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        stored: list[StoredPack] = []
        writer = PackWriter(self.store, self.keys, stored.append)
        self.plains = [os.urandom(FRAME) for _ in range(FRAMES)]
        self.refs: list[FrameRef] = [writer.add(plain, Kind.BYTES) for plain in self.plains]
        writer.finish()
        (self.pack,) = stored

    def packs(self) -> Packs:
        packs = Packs(self.store, self.keys)
        packs.expect(self.pack.id, self.pack.size, self.pack.index)
        return packs

    def damage(self, ordinal: int) -> None:
        key = layout.pack(str(self.keys.cluster), self.pack.id)
        content = bytearray(self.store.get(key))
        content[HEADER_BYTES + ordinal * (FRAME + 16) + 5] ^= 1  # each with its tag behind it
        self.store.put(key, [bytes(content)])


@pytest.fixture
def bed() -> Bed:
    return Bed()


def decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_files_of_one_map_are_right_whoever_writes_them_and_its_memory_is_that_of_the_workers(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder, files = MapBuilder(), 60
    contents = [bed.plains[n % FRAMES][: 300 + n] for n in range(files)]
    for number, content in enumerate(contents):
        builder.add_bytes([Extent(bed.refs[number % FRAMES], 0, len(content))])
    stored = builder.store(bed.store, bed.keys)
    manifest = ManifestWriter()
    manifest.add({"t": "map", "id": stored.id, "size": stored.size, "hash": stored.hash, "packs": [0]})
    for entry, content in enumerate(contents):
        line: Line = {"t": "file", "path": f"f{entry}", "mode": 0o600, "size": len(content)}
        manifest.add(line | {"map": stored.id, "entry": entry})
    head: list[Line] = [{"t": "node", "pg_version_num": 180006}, {"t": "pack", **vars(bed.pack)}]
    named = manifest.store(bed.store, bed.keys, head, lambda line: False)
    manifest.close()

    seen: list[weakref.ref[Map]] = []
    at_once: list[int] = []
    real = maps.load

    def noting(store: ObjectStore, keys: ClusterKeys, which: Stored) -> Map:
        loaded = real(store, keys, which)
        seen.append(weakref.ref(loaded))
        at_once.append(sum(one() is not None for one in seen))
        return loaded

    monkeypatch.setattr(maps, "load", noting)
    monkeypatch.setattr(rebuild, "_SHARE_BYTES", 1000)
    fake_tree.rebuild(tmp_path / "clone", named, bed.store, bed.keys)
    found = [(tmp_path / "clone/pgdata" / f"f{number}").read_bytes() for number in range(files)]
    assert found == contents
    assert len(at_once) > 10, "the map was shared"
    assert max(at_once) <= 2, "of as many workers"


def test_frames_decoded_ahead_come_in_order(bed: Bed) -> None:
    with closing(bed.packs()) as packs:
        assert list(packs.frames(bed.refs)) == list(zip(bed.refs, bed.plains, strict=True))
        assert decoders()
    assert decoders() == []


@pytest.mark.parametrize("broken", [0, 5, FRAMES - 1])
def test_a_damaged_frame_is_told_when_its_turn_comes(bed: Bed, broken: int) -> None:
    bed.damage(broken)
    came = []
    with closing(bed.packs()) as packs:
        coming = packs.frames(bed.refs)
        for _ in range(broken):
            came.append(next(coming)[1])
        with pytest.raises(RepositoryDamaged, match=f"frame {broken}"):
            next(coming)
        assert came == bed.plains[:broken]
    assert decoders() == []


def test_no_decoding_thread_outlives_a_reader_that_stops_halfway(bed: Bed) -> None:
    packs = bed.packs()
    assert next(packs.frames(bed.refs))[1] == bed.plains[0]
    packs.close()
    assert decoders() == []
