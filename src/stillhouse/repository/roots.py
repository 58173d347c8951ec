"""The commit point: roots, tombstones and trash marks (docs/format.md, sections 6, 7 and 12)."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository import endings, findings, layout
from stillhouse.repository.container import Type, open_bytes
from stillhouse.repository.endings import Ending
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
    size, for a store may have lost what it acknowledged, and not to be known as damaged. When a root is there already,
    it is this snapshot's, of an earlier try whose answer was lost: it is returned, and it is the truth. Raises
    RepositoryDamaged.
    """
    below = list(reached)
    try:
        check_present(store, str(keys.cluster), below)
        check_sound(store, keys, below)
    except RepositoryDamaged:
        if (found := read(store, keys, root["snapshot"])) is not None:
            return found
        raise
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
                raise RepositoryDamaged(
                    f"{key} has {found} bytes in the store, {wanted} were written", key=key
                )


def check_sound(store: ObjectStore, keys: ClusterKeys, reached: Iterable[tuple[str, int]]) -> None:
    """Raises RepositoryDamaged when something is known to be lost of what is reached."""
    known = findings.read(store, keys)
    if lost := known.costly(key for key, _ in reached):
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise RepositoryDamaged(
            f"{lost[0].key} is known to be damaged: it {lost[0].detail}{more}",
            hint="`stillhouse repo check` tells what it costs",
        )


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
    """Mark a published snapshot as deleted; what it holds goes only after the grace.

    `time` is when it was deleted. It names the deletion: the same whenever the mark is put again, another for the next.
    """
    body = _encode({"snapshot": snapshot, "time": time})
    store.put(layout.trash(str(keys.cluster), snapshot), seal(keys, Type.TRASH, snapshot, body))


def unmark_trash(store: ObjectStore, cluster: str, snapshot: str) -> None:
    store.delete(layout.trash(cluster, snapshot))


def trashed_since(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> str | None:
    """When the snapshot went to the trash, as its mark says; None when there is no mark (any more)."""
    key = layout.trash(str(keys.cluster), snapshot)
    try:
        opened = open_bytes(key, keys, store.get(key))
    except ObjectMissing:
        return None
    return str(parse(key, b"".join(opened.plain())).get("time", ""))


def bring_back(store: ObjectStore, keys: ClusterKeys, snapshot: str, deleted: str, time: str) -> bool:
    """End the deletion of that time, and the one that the trash mark names; remove the mark. False: it is being purged.

    The mark's own comes first, for by it a purge goes. A purge that has read the mark loses from then on, and so does
    one that reads a mark which is put late.
    """
    marked = trashed_since(store, keys, snapshot)
    for one in dict.fromkeys([deleted if marked is None else marked, deleted]):
        if endings.end(store, keys, snapshot, one, Ending.UNDELETED, time) is not Ending.UNDELETED:
            return False
    unmark_trash(store, str(keys.cluster), snapshot)
    return True


def purge(store: ObjectStore, keys: ClusterKeys, snapshot: str, time: str) -> bool:
    """Make a deleted snapshot one that never can come back. False, and nothing done, if it was brought back.

    The ending decides. Then the tombstone: a crash before the mark is removed leaves a mark of no snapshot, which does
    no harm.
    """
    deleted = trashed_since(store, keys, snapshot)
    if deleted is None:
        return False
    if endings.end(store, keys, snapshot, deleted, Ending.PURGED, time) is not Ending.PURGED:
        return False
    body = {"snapshot": snapshot, "attempt": 0, "reason": "purged", "time": time}
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, seal(keys, Type.TOMBSTONE, snapshot, _encode(body)))
    unmark_trash(store, str(keys.cluster), snapshot)
    return True


def _encode(body: Root) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
