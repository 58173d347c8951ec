"""Maps, manifests and roots: what is written is read back, and anything else is refused."""

import uuid
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout, manifest, maps, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import (
    HOLE,
    BytesEntry,
    Extent,
    FrameRef,
    MapBuilder,
    PagesEntry,
    PlacedPages,
)
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import roots
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.repositories.crafted_lines import Line

pytest_plugins = ["support.repositories.keyed_store"]

PACKS = [f"{number:032x}" for number in range(4)]
refs = st.builds(FrameRef, st.sampled_from(PACKS), st.integers(0, 50))


@pytest.fixture
def store() -> ObjectStore:
    return memory_store()


@st.composite
def pieces(draw: st.DrawFn) -> PlacedPages:
    frames = draw(st.lists(refs, max_size=4, unique=True))
    choices = st.sampled_from([*range(len(frames)), HOLE])
    frame = draw(st.lists(choices, max_size=20))
    slot = [0 if one == HOLE else draw(st.integers(0, 127)) for one in frame]
    return PlacedPages(frames, np.array(frame, np.uint32), np.array(slot, np.uint16))


def joined(file: list[PlacedPages]) -> PlacedPages:
    """Piece behind piece."""
    starts = np.cumsum([0, *(len(piece.frame) for piece in file)])
    layers = [
        (np.arange(first, last, dtype=np.uint32), piece)
        for first, last, piece in zip(starts, starts[1:], file, strict=False)
    ]
    return maps.compose(int(starts[-1]), layers)


@given(st.lists(st.lists(pieces(), min_size=1, max_size=3), max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_map_tells_where_each_page_lies(files: list[list[PlacedPages]]) -> None:
    builder = MapBuilder()
    for file in files:
        builder.add_pages(8192, joined(file))
    decoded = maps.decode("m", builder.encode())
    for file, entry in zip(files, decoded.entries, strict=True):
        assert isinstance(entry, PagesEntry)
        expected = [
            None if one == HOLE else (piece.frames[one], int(slot))
            for piece in file
            for one, slot in zip(piece.frame.tolist(), piece.slot, strict=True)
        ]
        found = [
            None if one == HOLE else (decoded.ref(one), int(slot))
            for one, slot in zip(entry.frame.tolist(), entry.slot, strict=True)
        ]
        assert found == expected


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_noise_is_not_a_map(body: bytes) -> None:
    # Whatever it holds, it is a map or it is refused; nothing else is raised, and nothing takes for ever.
    with suppress(RepositoryDamaged):
        maps.decode("m", body)


def test_extents_and_zeros_survive(store: ObjectStore, keys: ClusterKeys) -> None:
    builder = MapBuilder()
    builder.add_bytes([Extent(FrameRef(PACKS[1], 7), 3, 10), Extent(None, 0, 5)])
    loaded = maps.load(store, keys, builder.store(store, keys))
    (entry,) = loaded.entries
    assert isinstance(entry, BytesEntry)
    assert entry.extents.tolist() == [[0, 3, 10], [HOLE, 0, 5]]
    assert loaded.ref(0) == FrameRef(PACKS[1], 7)


def test_a_map_is_proved_by_its_hash(store: ObjectStore, keys: ClusterKeys) -> None:
    builder = MapBuilder()
    builder.add_bytes([])
    first, second = builder.store(store, keys), builder.store(store, keys)
    store.put(
        layout.map_(str(keys.cluster), first.id), [store.get(layout.map_(str(keys.cluster), second.id))]
    )
    with pytest.raises(RepositoryDamaged, match=first.id):
        maps.load(store, keys, first)


def _written(store: ObjectStore, keys: ClusterKeys, *lines: Line, **options: Any) -> Stored:
    with closing(ManifestWriter()) as writer:
        for line in lines:
            writer.add(line)
        drop = options.get("drop", lambda line: False)
        head: list[Line] = [{"t": "node", "node": "cn"}, {"t": "pack", "id": PACKS[0]}]
        return writer.store(store, keys, head, drop)


def _file(path: str, size: int = 1) -> Line:
    return {"t": "file", "path": path, "size": size, "map": None, "entry": 0}


def test_a_manifest_streams_its_lines_in_order(store: ObjectStore, keys: ClusterKeys) -> None:
    files = [_file(f"base/1/{number}", number) for number in range(30_000)]
    found: list[Line] = list(manifest.read(store, keys, _written(store, keys, *files)))
    assert [line["t"] for line in found[:2]] == ["node", "pack"]
    assert found[2:-1] == files
    assert found[-1] == {"t": "end", "files": 30_000, "bytes": sum(range(30_000)), "wal": 0}


def test_what_is_dropped_is_not_counted(store: ObjectStore, keys: ClusterKeys) -> None:
    stored = _written(store, keys, _file("a", 5), _file("b", 7), drop=lambda line: line.get("path") == "a")
    assert list(manifest.read(store, keys, stored))[-1] == {"t": "end", "files": 1, "bytes": 7, "wal": 0}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\0b", "a/"])
def test_a_path_never_leaves_the_node(store: ObjectStore, keys: ClusterKeys, path: str) -> None:
    stored = _written(store, keys, _file(path))
    with pytest.raises(RepositoryDamaged, match="outside the node"):
        list(manifest.read(store, keys, stored))


@pytest.mark.parametrize("path", ["base/1/a..b", "größe", "odd\udcff\udc80name"])
def test_any_other_name_survives(store: ObjectStore, keys: ClusterKeys, path: str) -> None:
    found: list[Line] = list(manifest.read(store, keys, _written(store, keys, _file(path))))
    assert found[2]["path"] == path


def test_new_lines_are_ignored_or_refused_by_their_name(store: ObjectStore, keys: ClusterKeys) -> None:
    assert len(list(manifest.read(store, keys, _written(store, keys, {"t": "later"})))) == 4
    with pytest.raises(RepositoryDamaged, match="newer program"):
        list(manifest.read(store, keys, _written(store, keys, {"t": "Later"})))


@pytest.mark.parametrize("count", [0, 1, 2**28, 2**32 - 1])
def test_a_table_longer_than_the_map_is_refused(count: int) -> None:
    body = count.to_bytes(4, "little")
    for tables in (body, bytes(4) + body, bytes(8) + body):
        with suppress(RepositoryDamaged):
            maps.decode("m", tables)
            assert tables in (bytes(12), bytes(4)), "only empty tables are whole"


@pytest.mark.parametrize(("kind", "log_size"), [(1, 9), (1, 16), (1, 255), (2, 13), (0, 0), (3, 0)])
def test_an_entry_of_an_unknown_kind_or_page_size_is_refused(kind: int, log_size: int) -> None:
    with pytest.raises(RepositoryDamaged):
        maps.decode("m", bytes(8) + bytes([1, 0, 0, 0, kind, log_size, 0, 0, 0, 0, 0, 0]))


def test_a_map_or_manifest_that_is_gone_is_named(store: ObjectStore, keys: ClusterKeys) -> None:
    gone = Stored(new_hex(), 1, "00")
    with pytest.raises(RepositoryDamaged, match=gone.id):
        maps.load(store, keys, gone)
    with pytest.raises(RepositoryDamaged, match=gone.id):
        list(manifest.read(store, keys, gone))


def test_a_field_that_must_not_be_ignored_is_not(store: ObjectStore, keys: ClusterKeys) -> None:
    found: list[Line] = list(manifest.read(store, keys, _written(store, keys, {**_file("a"), "later": 1})))
    assert found[2]["later"] == 1
    with pytest.raises(RepositoryDamaged, match="newer program"):
        _written(store, keys, {**_file("a"), "Later": 1})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"t":"node"}\n',
        b'{"t":"node"}\n{"t":"end"}',
        b'{"t":"end"}\n',
        b'{"t":"node"}\n{"t":"end"}\n{"t":"dir","path":"a"}\n',
        b'{"t":"node"}\n{"t":"end"}\n{"t":"di',
        b"[]\n",
        b'{"t":1}\n',
        b"{}\n",
        b'{"t":"node"}\nx\n{"t":"end"}\n',
        b'{"t":"node","fill":"' + b"x" * (3 << 20),
    ],
    ids=range(11),
)
def test_a_manifest_that_is_not_whole_is_refused(store: ObjectStore, keys: ClusterKeys, body: bytes) -> None:
    name = new_hex()
    key = layout.manifest(str(keys.cluster), name)
    stored = sealed.create(store, key, name, sealed.seal(keys, Type.MANIFEST, name, body))
    with pytest.raises(RepositoryDamaged, match=name):
        list(manifest.read(store, keys, stored))


def _root(keys: ClusterKeys) -> Root:
    return Root(snapshot=new_uuid(), name="one", nodes=())


def test_the_first_root_is_the_snapshot(store: ObjectStore, keys: ClusterKeys) -> None:
    root = _root(keys)
    assert roots.publish(store, keys, root, []) == root
    assert roots.publish(store, keys, replace(root, name="two"), []) == root
    assert roots.read(store, keys, root.snapshot) == root
    assert roots.bury(store, keys, root.snapshot, 1, "too late", "now") == root


def test_a_tombstone_closes_the_key(store: ObjectStore, keys: ClusterKeys) -> None:
    root = _root(keys)
    assert roots.bury(store, keys, root.snapshot, 1, "failed", "now") is None
    assert roots.publish(store, keys, root, []) is None
    assert roots.read(store, keys, root.snapshot) is None


@pytest.mark.parametrize("size", [None, 3])
def test_nothing_is_published_over_a_missing_or_short_object(
    store: ObjectStore, keys: ClusterKeys, size: int | None
) -> None:
    root, pack = _root(keys), layout.pack(str(keys.cluster), new_hex())
    if size is not None:
        store.put(pack, [bytes(size)])
    with pytest.raises(RepositoryDamaged, match=pack):
        roots.publish(store, keys, root, [(pack, 4)])
    assert store.size(layout.root(str(keys.cluster), root.snapshot)) is None
    store.put(pack, [bytes(4)])
    assert roots.publish(store, keys, root, [(pack, 4)]) == root


def test_a_root_of_another_snapshot_is_refused(store: ObjectStore, keys: ClusterKeys) -> None:
    root, other = _root(keys), str(uuid.uuid4())
    roots.publish(store, keys, root, [])
    cluster = str(keys.cluster)
    store.put(layout.root(cluster, other), [store.get(layout.root(cluster, root.snapshot))])
    with pytest.raises(RepositoryDamaged, match="another object"):
        roots.read(store, keys, other)
