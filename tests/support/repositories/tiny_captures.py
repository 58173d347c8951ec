"""Captures of next to nothing, made of real packs, maps, manifests, pins and roots, one store call after another."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from blake3 import blake3

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.repository.format import layout, manifest, maps, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import ContainerWriter, Kind, open_bytes
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import Extent, FrameRef, MapBuilder
from stillhouse.repository.format.root import Root, RootNode
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import pins, roots
from stillhouse.repository.objects.pins import Pin, PinnedBase
from stillhouse.repository.upkeep import reach
from stillhouse.storage.store import ObjectStore
from support.repositories.crafted_lines import Line

NODE = "cn"
LENGTH = 100


@dataclass
class Taken:
    """A snapshot as its catalog knows it: whether it has ended, and what its attempts have saved."""

    id: str = field(default_factory=new_uuid)
    attempt: int = 0
    parts: list[Stored] = field(default_factory=list)
    is_published: bool = False
    is_given_up: bool = False
    deleted: datetime | None = None
    deletions: list[datetime] = field(default_factory=list)
    is_released: bool = False


def store_pack(store: ObjectStore, keys: ClusterKeys) -> Line:
    pack_id = new_hex()
    writer = ContainerWriter(keys, Type.PACK, uuid.UUID(pack_id))
    writer.add(pack_id.encode() * 4, Kind.BYTES)
    chunks = writer.finish()
    stored = sealed.create(store, layout.pack(str(keys.cluster), pack_id), pack_id, chunks)
    return {"t": "pack", "id": pack_id, "size": stored.size, "index": writer.index, "hash": stored.hash}


def packs_of(store: ObjectStore, keys: ClusterKeys, stored: Sequence[Stored]) -> list[Line]:
    return [line for one in stored for line in manifest.read(store, keys, one) if line["t"] == "pack"]


def store_manifest(
    store: ObjectStore, keys: ClusterKeys, packs: Sequence[Line], more: Sequence[Line] = ()
) -> Stored:
    """A manifest of one file, which has a piece of each pack; `more` lines come after it."""
    builder = MapBuilder()
    builder.add_bytes([Extent(FrameRef(pack["id"], 0), 0, LENGTH) for pack in packs])
    stored = builder.store(store, keys)
    with closing(ManifestWriter()) as writer:
        writer.add_map(stored, list(range(len(packs))), is_new=True)
        size = LENGTH * len(packs)
        file: Line = {"t": "file", "path": "file", "size": size, "map": stored.id, "entry": 0}
        writer.add(file)
        for line in more:
            writer.add(line)
        head: Line = {"t": "node", "node": NODE, "block_size": 8192}
        return writer.store(store, keys, [head, *packs], lambda line: False)


def root_of(snapshot: str, stored: Stored) -> Root:
    node = RootNode(
        name=NODE, node_id=NODE, role="cn", manifest=stored.id, size=stored.size, hash=stored.hash
    )
    return Root(snapshot=snapshot, name=f"s-{snapshot[:4]}", nodes=(node,))


def publish_one(store: ObjectStore, keys: ClusterKeys, base: Sequence[Stored] = ()) -> tuple[str, Stored]:
    """A published snapshot of one new pack and those of its base; its id and manifest."""
    snapshot = new_uuid()
    stored = store_manifest(store, keys, [*packs_of(store, keys, base), store_pack(store, keys)])
    assert roots.publish(store, keys, root_of(snapshot, stored), reach.reached(store, keys, stored))
    return snapshot, stored


def attempt(
    store: ObjectStore,
    keys: ClusterKeys,
    taken: Taken,
    base: Sequence[Stored],
    started: datetime,
    new_packs: int,
) -> Iterator[None]:
    """One attempt, a call or a few at a time. Whoever drives it may stop at any yield, or go on years later."""
    cluster = str(keys.cluster)
    taken.attempt += 1
    number = taken.attempt
    used = [*base, *taken.parts]
    bases = tuple(PinnedBase(NODE, one) for one in used)
    earlier = [pins.id_of(taken.id, before) for before in range(1, number)]
    begun = [pin.started for one in earlier if (pin := pins.find(store, keys, one)) is not None]
    own = Pin(
        pins.id_of(taken.id, number), pins.CAPTURE, taken.id, number, bases, min(begun, default=started)
    )
    pins.put(store, keys, own, started)
    pins.remove(store, cluster, earlier)
    packs = packs_of(store, keys, used)
    yield
    for _ in range(new_packs):
        packs.append(store_pack(store, keys))
        yield
        part = store_manifest(store, keys, packs[-1:])
        if number == taken.attempt:  # a dead attempt's report is refused by the catalog
            taken.parts.append(part)
        yield
    stored = store_manifest(store, keys, packs)
    yield
    below = list(reach.reached(store, keys, stored))

    def is_at_work() -> bool:
        """Not a zombie: nobody has ended the snapshot, nor begun it again, nor published it."""
        return number == taken.attempt and not taken.is_given_up and not taken.is_published

    if any(store.size(key) != size for key, size in below):
        assert not is_at_work(), "something that an attempt at work has stored is gone"
        return  # as `publish` refuses it
    yield  # a zombie sleeps here for as long as it likes
    if roots.publish(store, keys, root_of(taken.id, stored), []) is None:
        assert not is_at_work(), "an attempt at work was kept from publishing"
        return
    taken.is_published = True
    yield
    pins.remove(store, cluster, [own.id])


def read_whole(store: ObjectStore, keys: ClusterKeys, root: Root) -> None:
    """Read all that a snapshot holds, each step proved as a restore would."""
    for stored in reach.manifests(root):
        hashes = {}
        for line in manifest.read(store, keys, stored):
            if line["t"] == "pack":
                hashes[line["id"]] = line["hash"]
            if line["t"] == "map":
                placed = maps.load(store, keys, Stored(line["id"], line["size"], line["hash"]))
                for pack in placed.packs:
                    key = layout.pack(str(keys.cluster), pack)
                    content = store.get(key)
                    assert blake3(content).hexdigest() == hashes[pack]
                    assert open_bytes(key, keys, content).frame(0)
