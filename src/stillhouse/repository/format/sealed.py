"""Small objects sealed whole: maps and manifests under fresh ids, proved by their hash when read."""

import uuid
from dataclasses import dataclass

from blake3 import blake3

from stillhouse.domain.object_kinds import KINDS, MOST, Type
from stillhouse.errors import ObjectMissing, ObjectTooLarge, RepositoryDamaged, StoreUnavailable
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Container, ContainerWriter, Kind, open_bytes
from stillhouse.storage.store import ObjectStore


@dataclass(frozen=True)
class Stored:
    """An object as its parent names it. `hash` is BLAKE3 of the stored bytes, in hex."""

    id: str
    size: int
    hash: str


def seal(keys: ClusterKeys, type_: Type, object_id: str, body: bytes) -> list[bytes]:
    """A container of `body`, cut into frames. Raises ObjectTooLarge for a body that readers would refuse."""
    check_size(type_, object_id, len(body))
    writer = ContainerWriter(keys, type_, uuid.UUID(object_id))
    for at in range(0, len(body), MAX_FRAME):
        writer.add(body[at : at + MAX_FRAME], Kind.BYTES)
    return writer.finish()


def check_size(type_: Type, object_id: str, size: int) -> None:
    """Raise ObjectTooLarge if readers refuse a body of that many bytes."""
    most = MOST[type_]
    if most is not None and size > most:
        raise ObjectTooLarge(
            f"{type_.name.lower()} {object_id} would have {size} bytes, and readers accept {most}"
        )


def create(store: ObjectStore, key: str, object_id: str, chunks: list[bytes]) -> Stored:
    """Store an object under its fresh id; durable on return.

    Raises StoreUnavailable when the key is taken: ids are random, so the store must be mistaken.
    """
    if not store.create(key, chunks):
        raise StoreUnavailable(
            f"{key} is taken, though its id was never used", hint="check the store's conditional create"
        )
    hasher = blake3()
    for chunk in chunks:
        hasher.update(chunk)
    return Stored(object_id, sum(map(len, chunks)), hasher.hexdigest())


def read_small(store: ObjectStore, key: str, size: int | None = None) -> bytes:
    """Read an object that is found by its key alone, such as a root, once its size is known to be of its kind.

    `size` is its size in a listing; without it the store is asked. Raises ObjectMissing, and RepositoryDamaged for an
    object that is too large: it is not read.
    """
    if size is None and (size := store.size(key)) is None:
        raise ObjectMissing(f"no object {key} in the store", key=key)
    most = KINDS[layout.folder(key)].most
    assert most is not None, "this kind is read by the size that its parent names"
    if size > most + _overhead(most):
        raise RepositoryDamaged(f"{key} has {size} bytes, more than any object of its kind", key=key)
    return store.get(key)


def open_small(store: ObjectStore, keys: ClusterKeys, key: str, size: int | None = None) -> Container:
    """Open a container that is found by its key alone. Raises as `read_small` does."""
    opened = open_bytes(key, keys, read_small(store, key, size))
    if sum(frame.plain for frame in opened.frames) > (MOST[opened.type] or 0):
        raise RepositoryDamaged(f"{key} holds more than any object of its kind", key=key)
    return opened


def _overhead(most: int) -> int:
    """The bytes of a container beside its body, at most: the tag and record of each frame, headers and trailer."""
    return (most // MAX_FRAME + 2) * 80 + 1024


def open_stored(store: ObjectStore, keys: ClusterKeys, key: str, stored: Stored) -> Container:
    """The container at `key`, proved by its hash to be the one that its parent names."""
    return open_bytes(key, keys, fetch(store, key, stored))


def fetch(store: ObjectStore, key: str, stored: Stored) -> bytes:
    """The stored bytes of the object at `key`, proved by its hash. No more than its size is read.

    Raises RepositoryDamaged.
    """
    if not isinstance(stored.size, int) or stored.size < 1:
        raise RepositoryDamaged(f"{key} is named with a size of {stored.size!r}")
    try:
        found = store.get_range(key, 0, stored.size)
    except ObjectMissing:
        raise RepositoryDamaged(f"{key} is gone, though it is needed", key=key) from None
    if blake3(found).hexdigest() != stored.hash:
        raise RepositoryDamaged(f"{key} is not the object that was stored there", key=key)
    return found
