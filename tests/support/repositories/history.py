"""A cluster's long history in the real format: many roots and tombstones, made fast, without captures."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.fields import encode_line
from stillhouse.repository.format.lines import Line, MapLine, PackLine
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import roots
from stillhouse.storage.store import ObjectStore
from support.repositories.tiny_captures import root_of

_WHOLE_EVERY = 16


@dataclass
class History:
    """Snapshots of one node, each with new packs and maps beside those of its base. Every second one was purged."""

    store: ObjectStore
    keys: ClusterKeys
    packs: int = 3
    maps: int = 1
    count: int = 0
    published: list[tuple[str, Stored]] = field(default_factory=list)
    _base: list[Line] = field(default_factory=list)

    def grow(self, count: int) -> "History":
        """Add roots until there are `count` of them, tombstones among them."""
        while self.count < count:
            if self.count % 2:
                roots.bury(self.store, self.keys, new_uuid(), 1, "purged", "2026-01-01T00:00:00Z")
            else:
                self.add()
            self.count += 1
        return self

    def add(self) -> tuple[str, Stored]:
        """Create a snapshot's objects and its root, without the checks of a publication."""
        snapshot, stored, _ = self.prepare()
        body = roots._encode(root_of(snapshot, stored).to_json())
        sealed_root = sealed.seal(self.keys, Type.ROOT, snapshot, body)
        assert self.store.create(layout.root(self.cluster, snapshot), sealed_root)
        self.published.append((snapshot, stored))
        return snapshot, stored

    def prepare(self) -> tuple[str, Stored, Root]:
        """Store everything below a new root."""
        snapshot = new_uuid()
        if len(self.published) % _WHOLE_EVERY == 0:
            self._base = []
        self._base = [
            *self._base,
            *(self._pack() for _ in range(self.packs)),
            *(self._map() for _ in range(self.maps)),
        ]
        lines = [{"t": "node", "node": "cn"}, *self._base, {"t": "end", "files": 0, "bytes": 0, "wal": 0}]
        manifest_id = new_hex()
        chunks = sealed.seal(self.keys, Type.MANIFEST, manifest_id, b"".join(map(encode_line, lines)))
        stored = sealed.create(self.store, layout.manifest(self.cluster, manifest_id), manifest_id, chunks)
        return snapshot, stored, root_of(snapshot, stored)

    @property
    def cluster(self) -> str:
        return str(self.keys.cluster)

    def _pack(self) -> PackLine:
        stored = self._object(layout.pack)
        return {"t": "pack", "id": stored.id, "size": stored.size, "index": 0, "hash": stored.hash}

    def _map(self) -> MapLine:
        stored = self._object(layout.map_)
        return {"t": "map", "id": stored.id, "size": stored.size, "hash": stored.hash, "packs": []}

    def _object(self, key_of: Callable[[str, str], str]) -> Stored:
        """Store a stand-in, since neither a publication nor a collection opens packs and maps."""
        object_id = new_hex()
        return sealed.create(self.store, key_of(self.cluster, object_id), object_id, [object_id.encode()])
