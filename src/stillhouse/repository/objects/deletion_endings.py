"""The ending of a deletion: one object that decides between an undelete and a purge (docs/format.md, section 12)."""

import json
from enum import StrEnum

from blake3 import blake3

from stillhouse.domain.object_kinds import Type
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import open_bytes
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.sealed import seal
from stillhouse.storage.store import ObjectStore


class Ending(StrEnum):
    UNDELETED = "undeleted"
    PURGED = "purged"


def id_of(snapshot: str, deleted: str) -> str:
    """The id of a deletion's ending, the same for every caller. `deleted` is the `time` of its trash mark."""
    return blake3(f"stillhouse deletion {snapshot} {deleted}".encode()).hexdigest(16)


def end(
    store: ObjectStore, keys: ClusterKeys, snapshot: str, deleted: str, ending: Ending, time: str
) -> Ending:
    """End the deletion unless it has ended already.

    Returns the ending that holds; a caller that lost must change nothing.
    """
    object_id = id_of(snapshot, deleted)
    body = {"snapshot": snapshot, "deleted": deleted, "how": ending, "time": time}
    chunks = seal(keys, Type.ENDING, object_id, json.dumps(body, separators=(",", ":")).encode())
    if store.create(layout.ending(str(keys.cluster), object_id), chunks):
        return ending
    found = find(store, keys, snapshot, deleted)
    if found is None:
        raise RepositoryDamaged(f"the ending of the deletion of snapshot {snapshot} was there, and is gone")
    return found


def find(store: ObjectStore, keys: ClusterKeys, snapshot: str, deleted: str) -> Ending | None:
    """The ending of the deletion; None when it has not ended. Raises RepositoryDamaged when it cannot be understood."""
    key = layout.ending(str(keys.cluster), id_of(snapshot, deleted))
    try:
        opened = open_bytes(key, keys, store.get(key))
    except ObjectMissing:
        return None
    fields = parse(key, b"".join(opened.plain()))
    try:
        return Ending(fields["how"])
    except (KeyError, ValueError):
        raise RepositoryDamaged(f"{key} is not an ending") from None
