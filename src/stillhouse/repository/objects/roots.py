"""The commit point: roots, tombstones and trash marks (docs/format.md, sections 6, 7 and 12)."""

import json
from collections.abc import Iterable

from stillhouse.domain.object_kinds import Type
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.fields import Fields, parse
from stillhouse.repository.format.root import Root, Tombstone
from stillhouse.repository.format.sealed import open_small, seal
from stillhouse.repository.objects import deletion_endings, findings, presence
from stillhouse.repository.objects.deletion_endings import Ending
from stillhouse.repository.objects.presence import Present
from stillhouse.storage.store import ObjectStore

_REASON = 2000  # characters


def publish(
    store: ObjectStore,
    keys: ClusterKeys,
    root: Root,
    reached: Iterable[tuple[str, int]],
    present: Present | None = None,
) -> Root | None:
    """Publish a snapshot by creating its root; None when a tombstone was there first.

    `reached` lists (key, size) of every pack, map and manifest below the root. Each must exist with that size, since a
    store may have lost an object that it acknowledged, and must not be known as damaged. A root that is there already
    is this snapshot's, from an earlier try, but the answer was lost. It is the truth and is returned. `present` are the
    objects below the root, if the caller has just looked for them. Raises RepositoryDamaged.
    """
    below = list(reached)
    try:
        check_present(store, below, present)
        check_sound(store, keys, below)
    except RepositoryDamaged:
        if (found := read(store, keys, root.snapshot)) is not None:
            return found
        raise
    key = layout.root(str(keys.cluster), root.snapshot)
    if store.create(key, seal(keys, Type.ROOT, root.snapshot, _encode(root.to_json()))):
        return root
    return read(store, keys, root.snapshot)


def check_present(
    store: ObjectStore, reached: Iterable[tuple[str, int]], present: Present | None = None
) -> None:
    """Raise RepositoryDamaged unless each (key, size) is there.

    Some stores list late, so an object that a listing shows otherwise is asked for by itself.
    """
    wanted = dict(reached)
    found = presence.find(store, wanted) if present is None else present
    doubtful = [key for key, size in wanted.items() if key not in found or found[key].size != size]
    asked = presence.ask(store, doubtful)
    for key in doubtful:
        size = asked[key].size if key in asked else None
        if size != wanted[key]:
            raise RepositoryDamaged(
                f"{key} has {size} bytes in the store, {wanted[key]} were written", key=key
            )


def check_sound(store: ObjectStore, keys: ClusterKeys, reached: Iterable[tuple[str, int]]) -> None:
    """Raise RepositoryDamaged when a known fault has lost any part of the reached objects."""
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
    """Close the root's key with a tombstone. If a root was there first, it is returned: the snapshot did succeed.

    A long reason is cut: it may quote a server, and a snapshot that failed must always come to its end.
    """
    tombstone = Tombstone(snapshot=snapshot, attempt=attempt, reason=reason[:_REASON], time=time)
    key = layout.root(str(keys.cluster), snapshot)
    if store.create(key, seal(keys, Type.TOMBSTONE, snapshot, _encode(tombstone.to_json()))):
        return None
    return read(store, keys, snapshot)


def read(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> Root | None:
    """The snapshot's root; None when it is missing or a tombstone holds its place."""
    held = look(store, keys, snapshot)
    return held if isinstance(held, Root) else None


def look(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> Root | Tombstone | None:
    """The object at the root's key; None when the key is free. Raises RepositoryDamaged."""
    key = layout.root(str(keys.cluster), snapshot)
    try:
        return decode(key, open_small(store, keys, key))
    except ObjectMissing:
        return None


def decode(key: str, opened: Container) -> Root | Tombstone:
    """Decode the object at a root's key. Raises RepositoryDamaged."""
    fields = parse(key, b"".join(opened.plain()))
    if opened.type is Type.TOMBSTONE:
        return Tombstone(**Tombstone.arguments(fields))
    return Root.from_json(key, fields)


def mark_trash(store: ObjectStore, keys: ClusterKeys, snapshot: str, time: str) -> None:
    """Mark a published snapshot as deleted. Its objects go only after the grace period.

    `time` is when it was deleted, and names the deletion: putting the mark again keeps it, a new deletion has a new
    one.
    """
    body = _encode({"snapshot": snapshot, "time": time})
    store.put(layout.trash(str(keys.cluster), snapshot), seal(keys, Type.TRASH, snapshot, body))


def unmark_trash(store: ObjectStore, cluster: str, snapshot: str) -> None:
    store.delete(layout.trash(cluster, snapshot))


def trashed_since(store: ObjectStore, keys: ClusterKeys, snapshot: str) -> str | None:
    """When the snapshot went to the trash, by its mark; None when the mark is missing or gone again."""
    key = layout.trash(str(keys.cluster), snapshot)
    try:
        opened = open_small(store, keys, key)
    except ObjectMissing:
        return None
    return str(parse(key, b"".join(opened.plain())).get("time", ""))


def bring_back(store: ObjectStore, keys: ClusterKeys, snapshot: str, deleted: str, time: str) -> bool:
    """End the deletion of that time and the one that the trash mark names, and remove the mark.

    Returns False if the snapshot is being purged. The deletion in the mark ends first, because a purge acts on the
    mark. From then on a purge loses if it has read this mark, or if it reads a mark that is put late.
    """
    marked = trashed_since(store, keys, snapshot)
    for one in dict.fromkeys([deleted if marked is None else marked, deleted]):
        if deletion_endings.end(store, keys, snapshot, one, Ending.UNDELETED, time) is not Ending.UNDELETED:
            return False
    unmark_trash(store, str(keys.cluster), snapshot)
    return True


def purge(store: ObjectStore, keys: ClusterKeys, snapshot: str, time: str) -> bool:
    """Purge a deleted snapshot for good. Returns False, having changed nothing, if it was brought back.

    The ending decides. The tombstone comes next, then the mark is removed. A crash between these leaves a mark without
    a snapshot, which does no harm.
    """
    deleted = trashed_since(store, keys, snapshot)
    if deleted is None:
        return False
    if deletion_endings.end(store, keys, snapshot, deleted, Ending.PURGED, time) is not Ending.PURGED:
        return False
    tombstone = Tombstone(snapshot=snapshot, reason="purged", time=time)
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, seal(keys, Type.TOMBSTONE, snapshot, _encode(tombstone.to_json())))
    unmark_trash(store, str(keys.cluster), snapshot)
    return True


def _encode(body: Fields) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
