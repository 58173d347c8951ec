"""The shelf: holds maps back until their packs are durable, and manifest lines until their maps are stored."""

import threading
from collections import deque
from collections.abc import Callable, Collection

from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import PlacedFileLine, UnplacedFileLine
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import MapBuilder
from stillhouse.storage.store import ObjectStore

# Small files share a map up to these bounds, because a restore keeps a map's lines in memory.
_MAP_BYTES = 1 << 20
_MAP_FILES = 4096


class PackLedger:
    """The durable packs, in the order of the manifest's pack lines. Worker threads write to it."""

    def __init__(self) -> None:
        self.packs: dict[str, StoredPack] = {}
        self.new_bytes = 0  # stored by this capture, without the base's packs
        self._older: dict[str, StoredPack] = {}
        self._ordinals: dict[str, int] = {}
        self._lock = threading.Lock()

    def offer(self, older: dict[str, StoredPack]) -> None:
        """Add the packs of a base. Each enters this manifest when a map first names it."""
        self._older = older

    def add(self, pack: StoredPack) -> None:
        with self._lock:
            self.new_bytes += pack.size
            self._enter(pack)

    def ordinals(self, packs: Collection[str]) -> list[int] | None:
        """Return the positions of these packs in the manifest. `None` while one of them is not durable."""
        with self._lock:
            if not all(pack in self._ordinals or pack in self._older for pack in packs):
                return None
            for pack in sorted(packs):
                if pack not in self._ordinals:
                    self._enter(self._older[pack])
            return sorted(self._ordinals[pack] for pack in packs)

    def _enter(self, pack: StoredPack) -> None:
        self._ordinals[pack.id] = len(self.packs)
        self.packs[pack.id] = pack


class MapShelf:
    """Fills maps one after another and stores each as soon as every pack it names is durable, never before."""

    def __init__(
        self, store: ObjectStore, keys: ClusterKeys, manifest: ManifestWriter, ledger: PackLedger
    ) -> None:
        self._store, self._keys, self._manifest, self._ledger = store, keys, manifest, ledger
        self._open = MapBuilder()
        self._lines: list[PlacedFileLine] = []
        self._full: deque[tuple[MapBuilder, list[PlacedFileLine]]] = deque()

    def place(self, line: UnplacedFileLine, add: Callable[[MapBuilder], int]) -> None:
        """Give a file's bytes an entry in a map. `line` goes to the manifest together with that map.

        Raises ObjectTooLarge for a file that no map can hold.
        """
        self._lines.append({**line, "entry": add(self._open)})
        self._open.check_size(line["path"])
        if self._open.bytes >= _MAP_BYTES or len(self._open) >= _MAP_FILES:
            self._shelve()
            self.store_ready()

    def _shelve(self) -> None:
        if len(self._open):
            self._full.append((self._open, self._lines))
            self._open, self._lines = MapBuilder(), []

    def store_ready(self) -> None:
        while self._full and (packs := self._ledger.ordinals(self._full[0][0].packs)) is not None:
            builder, lines = self._full.popleft()
            stored = builder.store(self._store, self._keys)
            self._manifest.add_map(stored, packs, is_new=True)
            for line in lines:
                self._manifest.add({**line, "map": stored.id})

    def close_map(self) -> None:
        """Close the open map early, so that it is stored as soon as its packs are durable."""
        self._shelve()
        self.store_ready()

    def finish(self) -> None:
        """Store the remaining maps. All packs must be durable by now."""
        self.close_map()
        assert not self._full, "a map was left whose packs were not finished"
