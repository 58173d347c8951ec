"""The pack writer: fills one pack with frames while the previous pack is being stored."""

import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import ContainerWriter, Kind
from stillhouse.repository.format.maps import FrameRef
from stillhouse.storage.store import ObjectStore

PACK_BYTES = 32 << 20
# Frames that compress to almost nothing would hardly ever fill a pack. Their files' lines wait in memory until then.
PACK_FRAMES = 256


@dataclass(frozen=True)
class StoredPack:
    """A durable pack as a manifest names it. `index` is the offset of its index."""

    id: str
    size: int
    index: int
    hash: str


class PackWriter:
    """Writes frames into one pack after another. A writer has at most two packs in memory.

    `on_pack` is called when a pack is durable. If storing a pack fails, a later `add` or `finish` raises the error.
    """

    def __init__(self, store: ObjectStore, keys: ClusterKeys, on_pack: Callable[[StoredPack], None]) -> None:
        self._store, self._keys, self._on_pack = store, keys, on_pack
        self._open: tuple[str, ContainerWriter] | None = None
        self._storing: Future[None] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def add(self, plain: bytes | memoryview, kind: Kind, page_size: int = 0) -> FrameRef:
        if self._open is None:
            pack_id = new_hex()
            self._open = pack_id, ContainerWriter(self._keys, Type.PACK, uuid.UUID(pack_id))
        pack_id, writer = self._open
        ref = FrameRef(pack_id, writer.add(plain, kind, page_size))
        if writer.size >= PACK_BYTES or writer.frames >= PACK_FRAMES:
            self._send()
        return ref

    def digest(self, piece: bytes | memoryview) -> str:
        return self._keys.digest(piece)

    def finish(self) -> None:
        """Make all frames so far durable."""
        self._send()
        self._await_stored()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _send(self) -> None:
        """Start to store the open pack, if any, in the background. Waits until the previous pack is stored."""
        self._await_stored()
        if self._open is not None:
            self._pool = self._pool or ThreadPoolExecutor(1, "store")
            self._storing = self._pool.submit(self._store_pack, *self._open)
            self._open = None

    def _await_stored(self) -> None:
        if self._storing is not None:
            storing, self._storing = self._storing, None
            storing.result()

    def _store_pack(self, pack_id: str, writer: ContainerWriter) -> None:
        key = layout.pack(str(self._keys.cluster), pack_id)
        stored = sealed.create(self._store, key, pack_id, writer.finish())
        self._on_pack(StoredPack(pack_id, stored.size, writer.index, stored.hash))
