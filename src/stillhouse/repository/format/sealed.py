"""Small objects sealed whole: maps and manifests under fresh ids, proved by their hash when read."""

import uuid
from dataclasses import dataclass

from blake3 import blake3

from stillhouse.domain.object_kinds import Type
from stillhouse.errors import ObjectMissing, RepositoryDamaged, StoreUnavailable
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
    """A container of `body`, cut into frames."""
    writer = ContainerWriter(keys, type_, uuid.UUID(object_id))
    for at in range(0, len(body), MAX_FRAME):
        writer.add(body[at : at + MAX_FRAME], Kind.BYTES)
    return writer.finish()


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


def open_stored(store: ObjectStore, keys: ClusterKeys, key: str, stored: Stored) -> Container:
    """The container at `key`, proved by its hash to be the one that its parent names."""
    return open_bytes(key, keys, fetch(store, key, stored))


def fetch(store: ObjectStore, key: str, stored: Stored) -> bytes:
    """The stored bytes of the object at `key`, proved by its hash. Raises RepositoryDamaged."""
    try:
        found = store.get(key)
    except ObjectMissing:
        raise RepositoryDamaged(f"{key} is gone, though it is needed", key=key) from None
    if blake3(found).hexdigest() != stored.hash:
        raise RepositoryDamaged(f"{key} is not the object that was stored there", key=key)
    return found
