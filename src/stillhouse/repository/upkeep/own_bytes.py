"""The bytes that each snapshot reaches, and reaches alone: from one listing and the known reach of manifests."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.ids import is_uuid
from stillhouse.domain.object_kinds import CONTENT
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.id_table import IdTable, Runs, expand
from stillhouse.repository.objects.reach_facts import ManifestFact
from stillhouse.repository.upkeep.known_reach import KnownReach
from stillhouse.storage.store import ObjectStore, StoredObject

Ordinals = NDArray[np.uint32]


@dataclass
class _Listed:
    """A cluster's objects: roots by snapshot, segments of reach, and the size of each object of content by its name."""

    roots: dict[str, StoredObject] = field(default_factory=dict)
    reach: list[tuple[str, int]] = field(default_factory=list)
    sizes: dict[str, dict[str, int]] = field(default_factory=lambda: {folder: {} for folder in CONTENT})

    def add(self, one: StoredObject) -> None:
        folder, name = layout.folder(one.key), one.key.rpartition("/")[2]
        if folder == "roots" and is_uuid(name):
            self.roots[name] = one
        elif folder == "reach":
            self.reach.append((one.key, one.size))
        elif folder in self.sizes:
            self.sizes[folder][name] = one.size


def measure(store: ObjectStore, keys: ClusterKeys, now: datetime) -> dict[str, tuple[int, int]]:
    """Return by snapshot the bytes that it reaches, and those that no other snapshot reaches; the trash counts.

    `now` is the store's time. Raises RepositoryDamaged if a root or manifest cannot be read.
    """
    listed = _Listed()
    for one in store.list(layout.all_of(str(keys.cluster))):
        listed.add(one)
    known = KnownReach.load(store, keys, listed.reach, now, whole=False)
    known.is_whole = False  # facts are good enough for figures; collections look after them
    manifests: dict[str, dict[str, ManifestFact]] = {}
    for snapshot, root in listed.roots.items():
        held = known.root(snapshot, root)
        if held is not None and held.manifests is not None:
            manifests[snapshot] = {
                one.id: known.manifest(one, listed.sizes["manifests"].get(one.id)) for one in held.manifests
            }
    packs = _Shares(known.facts.packs, listed.sizes["packs"], _runs(manifests, "packs"))
    maps = _Shares(known.facts.maps, listed.sizes["maps"], _runs(manifests, "maps"))
    users = Counter(one for found in manifests.values() for one in found)
    sizes = listed.sizes["manifests"]
    measured = {}
    for snapshot, found in manifests.items():
        root_size = listed.roots[snapshot].size
        reached = root_size + sum(sizes.get(one, 0) for one in found)
        own = root_size + sum(sizes.get(one, 0) for one in found if users[one] == 1)
        for shares in (packs, maps):
            reached, own = reached + shares.reached(snapshot), own + shares.own(snapshot)
        measured[snapshot] = (reached, own)
    return measured


def _runs(manifests: Mapping[str, Mapping[str, ManifestFact]], folder: str) -> dict[str, list[Runs]]:
    return {
        snapshot: [getattr(fact, folder) for fact in found.values()] for snapshot, found in manifests.items()
    }


class _Shares:
    """Objects of one kind, and how many snapshots reach each."""

    def __init__(self, table: IdTable, sizes: Mapping[str, int], runs: Mapping[str, Iterable[Runs]]) -> None:
        self._sizes = np.zeros(len(table), np.int64)
        for name, size in sizes.items():
            ordinal = table.find(bytes.fromhex(name))
            if ordinal is not None:
                self._sizes[ordinal] = size
        self._runs = runs
        self._users = np.zeros(len(table), np.uint32)
        for snapshot in runs:
            self._users[self._of(snapshot)] += 1

    def reached(self, snapshot: str) -> int:
        return int(self._sizes[self._of(snapshot)].sum())

    def own(self, snapshot: str) -> int:
        objects = self._of(snapshot)
        return int(self._sizes[objects[self._users[objects] == 1]].sum())

    def _of(self, snapshot: str) -> Ordinals:
        """The objects of a snapshot, each once: several of its nodes may share one."""
        parts = [expand(runs) for runs in self._runs[snapshot]]
        return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint32)
