"""Bounds of the format: no writer stores an object that a reader refuses, and large things are split instead."""

import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import MOST, MOST_LINE, Type
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, SnapshotTouched
from stillhouse.domain.snapshot import Witness
from stillhouse.errors import ObjectTooLarge, RepositoryDamaged
from stillhouse.node.capture import wal_follower
from stillhouse.node.capture.base import Source
from stillhouse.node.capture.deferred_writes import MapShelf, PackLedger
from stillhouse.node.capture.fingerprints import Fingerprints
from stillhouse.node.capture.session import _add_wal
from stillhouse.node.capture.wal_follower import WalFollower
from stillhouse.postgres.wal.feed import SegmentFiles, wal_tree
from stillhouse.postgres.wal.lsn import segment_name
from stillhouse.postgres.wal.segments import WalSource
from stillhouse.repository.format import layout, manifest, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek
from stillhouse.repository.format.container import open_bytes
from stillhouse.repository.format.fields import encode_line
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import BytesEntry, Extent, FrameRef, MapBuilder
from stillhouse.repository.format.root import Root, RootNode
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import (
    collection_marks,
    findings,
    losses,
    roots,
)
from stillhouse.repository.objects.faults import MISSING, Fault
from stillhouse.repository.upkeep.inventory import take_inventory
from support.data_directories import fake_tree
from support.data_directories.synthetic_wal import HEAP, SYSTEM, Wal, record
from support.repositories.crafted_lines import Line
from support.stores.dict_store import START, DictStore

pytest_plugins = ["support.repositories.keyed_store"]

KEK = Kek(bytes(32))
PACK = new_hex()


def keys_of(store: DictStore, folder: str) -> list[str]:
    return sorted(key for key in store.objects if f"/{folder}/" in key)


# -- maps --------------------------------------------------------------------------------------------------------------


def test_long_wal_has_several_maps(
    store: DictStore, keys: ClusterKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal_follower, "_MAP_BYTES", 40)  # two segments
    source = WalSource(SYSTEM, 1, 1 << 20)
    wal = Wal(source)
    for _ in range(5):
        wal.append(record(HEAP, 0, b"x" * 1000))
        wal.switch()
    names = [
        segment_name(1, wal.start + number * source.segment_size, source.segment_size) for number in range(5)
    ]
    (tmp_path / "pg_wal").mkdir()
    for name, image in zip(names, wal.segments(), strict=True):
        (tmp_path / "pg_wal" / name).write_bytes(image.tobytes())
    backup = SimpleNamespace(check=lambda: None, advance=lambda lsn: None)
    position = SimpleNamespace(flushed=lambda: wal.lsn)
    ledger = PackLedger()
    feed = SegmentFiles(cast(Any, backup), cast(Any, position), wal_tree(tmp_path, None))
    follower = WalFollower(feed, wal.start, source, store, keys, ledger)
    follower.end_at(wal.lsn)
    assert follower.done(30)
    assert [one.segments for one in follower.maps] == [names[:2], names[2:4], names[4:]]
    with closing(ManifestWriter()) as writer:
        _add_wal(writer, follower)
        head: list[Line] = [{"t": "node"}, *({"t": "pack", "id": pack} for pack in ledger.packs)]
        stored = writer.store(store, keys, head, lambda line: False)
    lines: list[Line] = list(manifest.read(store, keys, stored))
    assert [line["path"] for line in lines if line["t"] == "wal"] == names
    assert lines[-1]["wal"] == 5
    for line in lines:
        if line["t"] == "map":
            loaded = maps.load(store, keys, Stored(line["id"], line["size"], line["hash"]))
            assert {*loaded.packs} == {[*ledger.packs][ordinal] for ordinal in line["packs"]}
            assert all(isinstance(entry, BytesEntry) for entry in loaded.entries)


def test_a_map_that_readers_refuse_is_not_stored(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = MapBuilder()
    builder.add_bytes([Extent(FrameRef(PACK, number), 0, 1) for number in range(100)])
    assert builder.size == len(builder.encode())
    monkeypatch.setitem(MOST, Type.MAP, builder.size - 1)
    with pytest.raises(ObjectTooLarge, match=f"{builder.size} bytes"):
        builder.store(store, keys)
    assert not keys_of(store, "maps")
    monkeypatch.setitem(MOST, Type.MAP, builder.size)
    assert len(maps.load(store, keys, builder.store(store, keys)).frames) == 100


def test_a_file_that_no_map_can_hold_is_named(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST, Type.MAP, 1000)
    with closing(ManifestWriter()) as writer:
        shelf = MapShelf(store, keys, writer, PackLedger())
        extents = [Extent(FrameRef(PACK, number), 0, 1) for number in range(100)]
        line: Line = {"t": "file", "path": "pg_wal_of_old/huge"}
        with pytest.raises(ObjectTooLarge, match="pg_wal_of_old/huge"):
            shelf.place(line, lambda builder: builder.add_bytes(extents))


class Forgetful(DictStore):
    """A store that acknowledges maps and returns other bytes."""

    def get(self, key: str) -> bytes:
        found = super().get(key)
        return found[:-1] + b"x" if "/maps/" in key else found


def test_a_new_map_is_opened_before_a_manifest_names_it(keys: ClusterKeys) -> None:
    store = Forgetful()
    builder = MapBuilder()
    builder.add_bytes([Extent(FrameRef(PACK, 0), 0, 1)])
    with pytest.raises(RepositoryDamaged, match="maps/"):
        builder.store(store, keys)


# -- lines -------------------------------------------------------------------------------------------------------------


def written(store: DictStore, keys: ClusterKeys, lines: Sequence[Line], dropped: str = "") -> Stored:
    with closing(ManifestWriter()) as writer:
        for line in lines:
            writer.add(line)
        head: Line = {"t": "node"}
        return writer.store(store, keys, [head], lambda line: line.get("path") == dropped)


def test_the_pieces_of_a_huge_file_are_split_over_lines(store: DictStore, keys: ClusterKeys) -> None:
    """A file of 100 GiB, with 32 hex digits for each MiB."""
    pieces = [f"{number:032x}" for number in range(100 << 10)]
    huge: Line = {"t": "file", "path": "huge", "size": 100 << 30, "map": None, "entry": 0, "pieces": pieces}
    small = huge | {"path": "small", "size": 1, "pieces": pieces[:1]}
    stored = written(store, keys, [huge, huge | {"path": "dropped"}, small], "dropped")
    found: list[Line] = list(manifest.read(store, keys, stored))
    assert found[1:3] == [huge, small] and found[-1]["files"] == 2
    key = layout.manifest(str(keys.cluster), stored.id)
    raw = list(manifest.split_lines(key, open_bytes(key, keys, store.get(key)).plain()))
    assert max(map(len, raw)) < MOST_LINE
    assert [json.loads(line)["t"] for line in raw] == ["node", "file", *["pieces"] * 7, "file", "end"]


def test_the_pieces_of_a_huge_file_that_need_not_be_decoded_are_joined_to_it(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line has no pieces then, so it looks as the lines of most files do."""
    monkeypatch.setattr(manifest, "_PIECES", 2)
    common: Any = {"t": "file", "path": "base/5/1", "mode": 384, "mtime_ns": 1, "size": 9, "how": "bytes"}
    plain: Line = {**common, "entry": 0, "map": new_hex()}
    huge: Line = {**common, "path": "base/5/2", "pieces": ["a", "b", "c"], "entry": 1, "map": plain["map"]}
    stored = written(store, keys, [plain, huge, plain])
    _, first, joined, last, _ = manifest.read_matched(store, keys, stored)
    assert joined == huge and isinstance(first, re.Match) and isinstance(last, re.Match)
    assert list(manifest.read_objects(store, keys, stored)) == []


def test_a_capture_finds_pieces_that_were_split(
    store: DictStore, keys: ClusterKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_PIECES", 2)
    fake_tree.make(tmp_path / "home", 1, 4)
    first, _, _ = fake_tree.capture(tmp_path / "home", store, keys)
    second, _, _ = fake_tree.capture(tmp_path / "home", store, keys, sources=[Source(first, 1, None)])
    big = "pg_xact/BIG"
    assert extents_of(store, keys, first, big) == extents_of(store, keys, second, big), (
        "it is not stored again"
    )
    fake_tree.rebuild(tmp_path / "clone", second, store, keys)
    assert (tmp_path / "clone/pgdata" / big).read_bytes() == (tmp_path / "home" / big).read_bytes()


def extents_of(store: DictStore, keys: ClusterKeys, stored: Stored, path: str) -> tuple[Extent, ...]:
    lines: list[Line] = list(manifest.read(store, keys, stored))
    file = next(line for line in lines if line.get("path") == path)
    named = next(line for line in lines if (line["t"], line.get("id")) == ("map", file["map"]))
    loaded = maps.load(store, keys, Stored(named["id"], named["size"], named["hash"]))
    entry = loaded.entries[file["entry"]]
    assert isinstance(entry, BytesEntry) and len(file["pieces"]) == 3
    return loaded.extents(entry)


def test_pieces_of_no_file_are_refused(store: DictStore, keys: ClusterKeys) -> None:
    stray: Line = {"t": "pieces", "pieces": []}
    stored = written(store, keys, [stray])
    with pytest.raises(RepositoryDamaged, match="pieces of no file"):
        list(manifest.read(store, keys, stored))


def test_a_line_that_readers_refuse_is_not_stored(store: DictStore, keys: ClusterKeys) -> None:
    line: Line = {"t": "map", "id": new_hex(), "packs": [10**6] * 200_000}
    with pytest.raises(ObjectTooLarge, match=f"map {line['id']}"):
        written(store, keys, [line])
    assert not keys_of(store, "manifests")


def test_a_line_of_the_longest_length_is_read(store: DictStore, keys: ClusterKeys) -> None:
    line: Line = {"t": "later", "x": ""}
    line["x"] = "x" * (MOST_LINE - len(encode_line(line)))
    assert list(manifest.read(store, keys, written(store, keys, [line])))[1] == line
    with pytest.raises(ObjectTooLarge):
        written(store, keys, [line | {"x": line["x"] + "x"}])


def test_a_node_with_too_many_databases_has_no_fingerprints() -> None:
    node = Node("n", "cn", Role.CN, "127.0.0.1", 1, "/nowhere", "/nowhere")
    fingerprints = Fingerprints(node, Witness(), 1.0)
    assert fingerprints.done(30)
    names = [f"{'é' * 30}{number}" for number in range(10_000)]
    fingerprints._witness, fingerprints._why = Witness(tuple((name, "s") for name in names)), ""
    head: Line
    (head,) = fingerprints.lines()
    assert head["databases"] == [] and "10000" in head["why"]
    encode_line(head)
    fingerprints._witness = Witness(tuple((name, "s") for name in names[:100]))
    head = next(iter(fingerprints.lines()))
    assert head["databases"] == names[:100]
    fingerprints.stop()


def test_the_losses_of_a_node_fit_into_a_line(store: DictStore, keys: ClusterKeys) -> None:
    ranges = tuple((10**9 + 2 * number, 10**9 + 2 * number) for number in range(200))
    files = tuple(FileTouched(f"{'ö' * 500}/{number:03}", ranges) for number in range(200))
    lost = losses.bounded(SnapshotTouched(new_uuid(), "s", (NodeTouched("cn", files),)))
    line: Line
    (line,) = losses.lines(lost)
    assert 20 < len(line["files"]) < 200 and line["more"] == 200 - len(line["files"])
    encode_line(line)
    assert losses.bounded(lost) == lost
    fault = Fault(f"c/{keys.cluster}/packs/{new_hex()}", MISSING, "is gone" * 1000)
    findings.replace(store, keys, findings.read(store, keys), [fault], [lost], START)
    assert findings.read(store, keys).losses == (lost,)


def test_more_damage_than_a_record_holds_is_recorded_in_several(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST, Type.FINDINGS, MOST_LINE + 2000)
    faults = [Fault(f"c/{keys.cluster}/packs/{new_hex()}", MISSING, "is gone") for _ in range(50)]
    findings.note(store, keys, faults[:1], START)
    findings.replace(store, keys, findings.read(store, keys), faults, (), START)
    found = findings.read(store, keys)
    assert len(found.records) > 3 and len(found.replaced) == 1
    assert found.keys == {fault.key for fault in faults} and found.is_worked_out
    findings.replace(store, keys, found, faults[:2], (), START)
    assert findings.read(store, keys).keys == {fault.key for fault in faults[:2]}
    findings.replace(store, keys, findings.read(store, keys), (), (), START)
    assert not findings.read(store, keys).faults


# -- roots and marks ---------------------------------------------------------------------------------------------------


def root_of(nodes: int) -> Root:
    named = tuple(
        RootNode(name=f"dn{number}", manifest=new_hex(), size=1, hash="0" * 64, whole_because="x" * 500)
        for number in range(nodes)
    )
    return Root(snapshot=new_uuid(), name="many", nodes=named)


def test_a_root_of_a_thousand_nodes_is_published_and_read(store: DictStore, keys: ClusterKeys) -> None:
    root = root_of(1200)
    assert roots.publish(store, keys, root, []) == root
    key = layout.root(str(keys.cluster), root.snapshot)
    assert len(open_bytes(key, keys, store.get(key)).frames) > 1
    assert roots.read(store, keys, root.snapshot) == root
    inventory = take_inventory(store, KEK)
    assert [one.root for one in inventory.snapshots] == [root] and not inventory.unreadable


def test_a_root_that_readers_refuse_is_not_created(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST, Type.ROOT, 50_000)
    root = root_of(100)
    with pytest.raises(ObjectTooLarge, match=root.snapshot):
        roots.publish(store, keys, root, [])
    assert not keys_of(store, "roots")


def test_a_mark_names_as_many_objects_as_fit(
    store: DictStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MOST, Type.MARK, 1000)
    named = [f"packs/{number:032x}" for number in range(100)]
    key = collection_marks.store_mark(store, keys, ((one, None) for one in named))
    found = [name for name, _ in collection_marks.read(store, keys, key)]
    assert 5 < len(found) < 20 and found == named[: len(found)]


def test_every_kind_that_is_read_by_its_key_has_a_bound() -> None:
    assert {type_ for type_, most in MOST.items() if most is None} == {Type.PACK, Type.MANIFEST}
