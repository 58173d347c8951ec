"""Objects larger than they may be: nobody reads them, whoever has put them there."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.check.damage import damages
from stillhouse.repository.check.orphans import look_for_lost_roots
from stillhouse.repository.check.recheck import note_all
from stillhouse.repository.check.structure import check
from stillhouse.repository.check.verify import prove
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open, open_keys
from stillhouse.repository.format.container import MAX_FRAME, ContainerWriter, Kind
from stillhouse.repository.format.root import Tombstone
from stillhouse.repository.objects import (
    collection_marks,
    deletion_endings,
    findings,
    pins,
    roots,
    scrubs,
)
from stillhouse.repository.objects.faults import SIZE
from stillhouse.repository.upkeep import reach
from stillhouse.repository.upkeep.copy import End, copy_snapshots
from stillhouse.repository.upkeep.inventory import take_inventory
from stillhouse.storage.open import open_store
from stillhouse.storage.store import Chunk, StoredObject
from support.repositories.tiny_captures import publish_one, read_whole
from support.stores.dict_store import START, DictStore

pytest_plugins = ["support.repositories.keyed_store"]

KEK = Kek(bytes(32))


@dataclass
class Huge(DictStore):
    """A store whose objects at some keys have a terabyte. Reading one would end the process."""

    huge: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def get(self, key: str) -> bytes:
        assert key not in self.huge, f"{key} was read"
        return super().get(key)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        return key not in self.huge and super().create(key, chunks)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return bytes(length) if key in self.huge else super().get_range(key, start, length)

    def size(self, key: str) -> int | None:
        return 1 << 40 if key in self.huge else super().size(key)

    def stat(self, key: str) -> StoredObject | None:
        found = super().stat(key)
        return replace(found, size=1 << 40) if found is not None and key in self.huge else found

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for one in super().list(prefix):
            yield replace(one, size=1 << 40) if one.key in self.huge else one


def test_a_huge_object_at_the_key_of_a_small_one_is_not_read() -> None:
    store = Huge()
    keys = create_or_open(store, KEK, new_uuid())
    cluster, snapshot, other = str(keys.cluster), new_uuid(), new_hex()
    places: dict[str, Callable[[], object]] = {
        layout.root(cluster, snapshot): lambda: roots.read(store, keys, snapshot),
        layout.trash(cluster, snapshot): lambda: roots.trashed_since(store, keys, snapshot),
        layout.pin(cluster, other): lambda: pins.find(store, keys, other),
        layout.mark(cluster, other): lambda: list(
            collection_marks.read(store, keys, layout.mark(cluster, other))
        ),
        layout.ending(cluster, deletion_endings.id_of(snapshot, "now")): lambda: deletion_endings.find(
            store, keys, snapshot, "now"
        ),
        next(key for key in store.objects if "/keys/" in key): lambda: open_keys(store, KEK, cluster),
    }
    skipped: dict[str, Callable[[], object]] = {
        layout.findings(cluster, other): lambda: findings.read(store, keys).records,
        layout.scrub(cluster, other): lambda: scrubs.read(store, keys),
    }
    for key, read in {**places, **skipped}.items():
        store.huge.add(key)
        store.objects.setdefault(key, (b"x" * 300, START))
        if key in places:
            with pytest.raises(RepositoryDamaged, match=key):
                read()
        else:
            assert not read()
        store.huge.clear()
    store.huge = {key for key in store.objects if "/roots/" in key} | {layout.manifest(cluster, other)}
    store.objects[layout.manifest(cluster, other)] = b"", START
    assert [one for one in take_inventory(store, KEK).unreadable if snapshot in one]
    with pytest.raises(RepositoryDamaged, match=snapshot):
        roots.bury(store, keys, snapshot, 1, "failed", "now")
    found = check(store, KEK, cluster)
    look_for_lost_roots(found)
    assert layout.root(cluster, snapshot) in found.place.faults.by_key
    damages(found)


def test_an_object_that_is_larger_than_its_parent_says_is_not_read() -> None:
    store = Huge()
    keys = create_or_open(store, KEK, new_uuid())
    snapshot, stored = publish_one(store, keys)
    (root,) = [one.root for one in take_inventory(store, KEK).snapshots]
    below = [key for key, _ in reach.reached(store, keys, stored)]
    assert len(below) == 3
    for key in below:
        store.huge = {key}
        found = check(store, KEK, str(keys.cluster))
        for pack in found.packs.values():
            prove(store, keys, pack)
        assert found.place.faults.by_key[key].kind == SIZE
        if "/packs/" not in key:  # of a pack, a restore reads runs of frames
            with pytest.raises(RepositoryDamaged, match=key):
                read_whole(store, keys, root)
        with pytest.raises(RepositoryDamaged, match=key):
            roots.check_present(store, reach.reached(DictStore(store.objects), keys, stored), {})
        assert note_all(store, keys, [stored], key, START)
        target = End(DictStore(), KEK, new_hex())
        (outcome,) = copy_snapshots(
            End(store, KEK, new_hex()),
            target,
            take_inventory(store, KEK).snapshots,
            workers=1,
            clock=SystemClock(),
            new_bar=lambda name, total: lambda done: None,
        )
        assert outcome.state == "failed" and key in outcome.reason and snapshot == outcome.snapshot


def test_a_server_s_long_words_do_not_keep_a_snapshot_from_ending(
    store: DictStore, keys: ClusterKeys
) -> None:
    snapshot = new_uuid()
    roots.bury(store, keys, snapshot, 1, "x" * (17 << 20), "now")
    held = roots.look(store, keys, snapshot)
    assert isinstance(held, Tombstone) and len(held.reason) == 2000


def test_a_body_that_grows_beyond_its_kind_is_not_unpacked(store: DictStore, keys: ClusterKeys) -> None:
    """A frame of zeros takes some bytes in the store, and a mebibyte in memory."""
    snapshot = new_uuid()
    writer = ContainerWriter(keys, Type.ROOT, uuid.UUID(snapshot))
    for _ in range(17):
        writer.add(bytes(MAX_FRAME), Kind.BYTES)
    store.put(layout.root(str(keys.cluster), snapshot), writer.finish())
    with pytest.raises(RepositoryDamaged, match="holds more"):
        roots.read(store, keys, snapshot)


@pytest.mark.parametrize("location", ["memory", "directory"])
def test_a_create_does_not_read_an_object_of_another_length(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("memory://" if location == "memory" else tmp_path)
    store.put("a", [b"longer"])
    monkeypatch.setattr(type(store), "get", lambda self, key: pytest.fail("it was read"))
    assert not store.create("a", [b"short"])
