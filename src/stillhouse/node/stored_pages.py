"""Places and fingerprints of pages that earlier captures stored: their maps, and the indexes of their packs."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.repository.format import layout, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.maps import Map
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_OPEN_MAPS, _OPEN_PACKS = 8, 16

Marks = tuple[NDArray[np.uint64], NDArray[np.intp]]
"""The fingerprints of a pack's pages, and the position of each frame's first one."""


class StoredPages:
    """Safe to use from several threads. Those that were used last are kept.

    `spend` is told the bytes of each read before it is made, and may raise.
    """

    def __init__(
        self, store: ObjectStore, keys: ClusterKeys, spend: Callable[[int], None] = lambda size: None
    ) -> None:
        self._store, self._keys, self._spend = store, keys, spend
        self._maps: OrderedDict[str, Map] = OrderedDict()
        self._marks: OrderedDict[str, Marks] = OrderedDict()
        self._lock = threading.Lock()

    def map(self, stored: Stored) -> Map:
        """Raises RepositoryDamaged."""
        with self._lock:
            if stored.id not in self._maps:
                self._spend(stored.size)
                self._maps[stored.id] = maps.load(self._store, self._keys, stored)
                if len(self._maps) > _OPEN_MAPS:
                    self._maps.popitem(last=False)
            self._maps.move_to_end(stored.id)
            return self._maps[stored.id]

    def marks(self, pack: StoredPack) -> Marks:
        """Raises ObjectMissing and RepositoryDamaged."""
        with self._lock:
            if pack.id not in self._marks:
                self._marks[pack.id] = self._read_marks(pack)
                if len(self._marks) > _OPEN_PACKS:
                    self._marks.popitem(last=False)
            self._marks.move_to_end(pack.id)
            return self._marks[pack.id]

    def _read_marks(self, pack: StoredPack) -> Marks:
        key = layout.pack(str(self._keys.cluster), pack.id)

        def read(at: int, length: int) -> bytes:
            self._spend(length)
            return self._store.get_range(key, at, length)

        tail = read(pack.index, pack.size - pack.index)
        opened = Container(key, self._keys, tail, read, pack.size)
        firsts = np.cumsum([0, *(frame.pages for frame in opened.frames)])
        return np.frombuffer(opened.fingerprints(), "<u8"), firsts
