"""The commit point: roots, tombstones and trash marks (docs/format.md, sections 6 and 7)."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository import layout
from stillhouse.repository.container import Type, open_bytes
from stillhouse.repository.fields import parse
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.sealed import seal
from stillhouse.storage.store import ObjectStore

Root = dict[str, Any]

_CHECKS_AT_ONCE = 16


def publish(
    store: ObjectStore, keys: ClusterKeys, root: Root, reached: Iterable[tuple[str, int]]
) -> Root | None:
    """Create the root and thereby the snapshot; None when a tombstone was there first.

    `reached` lists (key, size) of every pack, map and manifest below the root: each is checked to exist with that
    size, for a store may have lost what it acknowledged. When a root is there already, it is this snapshot's, of an
    earlier try whose answer was lost: it is returned, and it is the truth.
    """
    check_present(store, str(keys.cluster), reached)
    key = layout.root(str(keys.cluster), root["snapshot"])
    if store.create(key, seal(keys, Type.ROOT, root["snapshot"], _encode(root))):
        return root
    return read(store, keys, root["snapshot"])


def check_present(store: ObjectStore, cluster: str, reached: Iterable[tuple[str, int]]) -> None:
    """Raises RepositoryDamaged unless each (key, size) is there.

    Two listings answer for nearly everything; what they lack (some stores list late) is asked one by one.
    """
    listed = {
        stored.key: stored.size
        for folder in (layout.packs_of(cluster), layout.maps_of(cluster))
        for stored in store.list(folder)
    }
    lacking = [(key, size) for key, size in reached if listed.get(key) != size]
    with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
        for (key, wanted), found in zip(
            lacking, pool.map(store.size, (key for key, _ in lacking)), strict=True
        ):
            if found != wanted:
                raise RepositoryDamaged(f"{key} has {found} bytes in the store, {wanted} were written")


def bury(
    store: ObjectStore, keys: ClusterKeys, snapshot: str, attempt: int, reason: str, time: str
) -> Root | None:
    """Close the root's key with a tombstone; a root that was there first is returned: the snapshot did succeed."""
    body = {"snapshot": snapshot, "attempt": attempt, "reason": reason, "time": time}
    key = layout.root(str(keys.cluster), snapshot)
    if store.create(key, seal(keys, Type.TOMBSTONE, snapshot, _encode(body))):
        return None
    return read(store, keys, snapshot)


def read(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> Root | None:
    """The snapshot's root; None when there is none or a tombstone holds its place."""
    held = look(store, keys, snapshot)
    return None if held is None or held[0] is Type.TOMBSTONE else held[1]


def look(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> tuple[Type, Root] | None:
    """What the root's key holds: Type.ROOT or Type.TOMBSTONE and its fields; None when the key is free."""
    key = layout.root(str(keys.cluster), snapshot)
    try:
        opened = open_bytes(key, keys, store.get(key))
    except ObjectMissing:
        return None
    return opened.type, parse(key, b"".join(opened.plain()))


def mark_trash(store: ObjectStore, keys: ClusterKeys, snapshot: str, time: str) -> None:
    """Mark a published snapshot as deleted; what it holds goes only after the grace."""
    body = _encode({"snapshot": snapshot, "time": time})
    store.put(layout.trash(str(keys.cluster), snapshot), seal(keys, Type.TRASH, snapshot, body))


def unmark_trash(store: ObjectStore, cluster: str, snapshot: str) -> None:
    store.delete(layout.trash(cluster, snapshot))


def purge(store: ObjectStore, keys: ClusterKeys, snapshot: str, time: str) -> bool:
    """Make a deleted snapshot one that never can come back. False, and nothing done, if its mark is gone.

    The tombstone first: a crash before the mark is removed leaves a mark of no snapshot, which does no harm.
    """
    mark = layout.trash(str(keys.cluster), snapshot)
    try:
        opened = open_bytes(mark, keys, store.get(mark))
    except ObjectMissing:
        return False
    parse(mark, b"".join(opened.plain()))
    body = {"snapshot": snapshot, "attempt": 0, "reason": "purged", "time": time}
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, seal(keys, Type.TOMBSTONE, snapshot, _encode(body)))
    store.delete(mark)
    return True


def _encode(body: Root) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
