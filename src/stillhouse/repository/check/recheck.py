"""The second look at a bad object that work has met: an object that is bad twice becomes a finding.

The first time, the fault may have been in memory, a cable or a proxy. The look also finds out which parts are lost.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import numpy as np
from blake3 import blake3

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.check import verify
from stillhouse.repository.check.structure import PackFacts
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.lines import MapLine, PackLine
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import findings
from stillhouse.repository.objects.faults import ALTERED, MISSING, Fault
from stillhouse.storage.store import ObjectStore

_AT_ONCE = 8

_Look = Callable[[], Fault | None]


def note_met(
    store: ObjectStore,
    keys: ClusterKeys,
    manifests: Iterable[Stored],
    met: RepositoryDamaged | ObjectMissing,
    now: datetime,
) -> Fault | None:
    """Look again at the object that an error names. Record its fault and return it, if it still has one.

    `manifests` are the manifests that the work reads: they describe the object. Raises StoreUnavailable.
    """
    looks = [look for key, look in _looks(store, keys, manifests) if key == met.key]
    fault = looks[0]() if looks else None
    if fault is not None:
        findings.note(store, keys, [fault], now)
    return fault


def note_all(
    store: ObjectStore, keys: ClusterKeys, manifests: Iterable[Stored], met: str, now: datetime
) -> list[Fault]:
    """All faults in the objects that a capture reads of its bases, so that the next attempt meets no new ones.

    It reads manifests, maps, and the index and fingerprints of packs. `met` is read whole. Raises StoreUnavailable.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looks = _looks(store, keys, manifests, briefly_except=met)
        found = [fault for fault in pool.map(lambda one: one[1](), looks) if fault is not None]
    findings.note(store, keys, found, now)
    return found


def _looks(
    store: ObjectStore, keys: ClusterKeys, manifests: Iterable[Stored], briefly_except: str | None = None
) -> Iterator[tuple[str, _Look]]:
    """Each object that the manifests name, once, with the function that looks at it. Most packs get a brief look."""
    cluster = str(keys.cluster)
    seen: set[str] = set()
    for stored in manifests:
        key = layout.manifest(cluster, stored.id)
        yield key, partial(_at_all, store, key, stored)
        for line in _lines(store, keys, stored):
            key = (layout.pack if line["t"] == "pack" else layout.map_)(cluster, line["id"])
            if key in seen:
                continue
            seen.add(key)
            if line["t"] == "map":
                yield key, partial(_at_all, store, key, Stored(line["id"], line["size"], line["hash"]))
            else:
                look = _at_pack if briefly_except in (None, key) else _at_its_end
                yield key, partial(look, store, keys, line)


def _lines(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[PackLine | MapLine]:
    """The manifest's lines about packs and maps. An unreadable manifest has no lines; it is a finding itself."""
    try:
        yield from list(manifest.read_objects(store, keys, stored))
    except RepositoryDamaged:
        return


def _at_all(store: ObjectStore, key: str, stored: Stored) -> Fault | None:
    try:
        found = store.get_range(key, 0, stored.size)
    except ObjectMissing:
        return Fault(key, MISSING, "is gone")
    except RepositoryDamaged:  # it is shorter
        return Fault(key, ALTERED, "is not what was stored")
    return None if blake3(found).hexdigest() == stored.hash else Fault(key, ALTERED, "is not what was stored")


def _at_pack(store: ObjectStore, keys: ClusterKeys, line: PackLine) -> Fault | None:
    size, index, nothing = line["size"], line["index"], np.empty(0, np.uint32)
    facts = PackFacts(line["id"], size, index, line["hash"], None, nothing.astype(np.uint16), nothing, True)
    return verify.prove(store, keys, facts)


def _at_its_end(store: ObjectStore, keys: ClusterKeys, line: PackLine) -> Fault | None:
    """Check index and fingerprints alone. If they are wrong, check the whole pack."""
    key, size, index = layout.pack(str(keys.cluster), line["id"]), line["size"], line["index"]
    try:
        tail = store.get_range(key, index, size - index)
        Container(key, keys, tail, partial(store.get_range, key), size).fingerprints()
    except (RepositoryDamaged, ObjectMissing):
        return _at_pack(store, keys, line)
    return None
