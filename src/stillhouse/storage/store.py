"""The interface of object stores, and the rules of their keys."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stillhouse.errors import InvalidInput, ObjectMissing, StoreUnavailable

Chunk = bytes | bytearray | memoryview

# A name that starts with a dot is never a key: it keeps '.' and '..' out and `.tmp` free for the local store.
_KEY = re.compile(r"[a-z0-9_-][a-z0-9._-]*(/[a-z0-9_-][a-z0-9._-]*)*")
_KEY_LIMIT = 512  # S3 allows 1024 bytes, a bucket's prefix included
_NAME_LIMIT = 200  # file systems allow 255 bytes

_CREATE_TRIES = 5


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it.

    `tag` differs between two objects that were stored at one key, as far as the store can tell them apart. It is empty
    if the store has nothing of the kind.
    """

    key: str
    size: int
    modified: datetime
    tag: str = ""


class ObjectStore(Protocol):
    """Whole objects by key. Safe to use from many threads; an acknowledged write is durable.

    Missing objects raise ObjectMissing, unusable keys InvalidInput, a store that is down, full or throttling
    StoreUnavailable. No key may be the folder of another.
    """

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        """Store the chunks, one after the other, as the object; replaces an existing object."""
        ...

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        """Store the object if its key is free. True: the stored object holds these bytes. False: others won.

        So a create may simply be tried again if its reply was lost.
        """
        ...

    def get(self, key: str) -> bytes: ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` (at least 1) bytes. Raises RepositoryDamaged if the object ends before them."""
        ...

    def size(self, key: str) -> int | None:
        """Return the object's length; `None` if it is missing."""
        ...

    def stat(self, key: str) -> StoredObject | None:
        """Describe the object, as a listing does, without its lag; `None` if it is missing."""
        ...

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List every object below the folder `prefix` ("" = all; a last '/' is optional), in no promised order."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...


def is_key(text: str) -> bool:
    return (
        len(text) <= _KEY_LIMIT
        and _KEY.fullmatch(text) is not None
        and all(len(name) <= _NAME_LIMIT for name in text.split("/"))
    )


def check_key(key: str) -> str:
    """Return the key, if every store can hold it. Raises InvalidInput."""
    if not is_key(key):
        raise InvalidInput(
            f"not an object key: {key[: _KEY_LIMIT + 1]!r}",
            hint="names of a-z, 0-9, '-', '_' and '.', joined by '/', not starting with '.'",
        )
    return key


def check_folder(prefix: str) -> str:
    """Return the folder of a listing without its last '/'."""
    return check_key(prefix.removesuffix("/")) if prefix else ""


def check_range(start: int, length: int) -> None:
    if start < 0 or length < 1:
        raise InvalidInput(f"not a range of bytes: {length} from {start}")


def create_once(
    key: str,
    chunks: Sequence[Chunk],
    try_create: Callable[[], bool],
    measure: Callable[[str], int | None],
    read: Callable[[str], bytes],
) -> bool:
    """Create the object, and settle the answer "exists" by reading it: it may be our own earlier try.

    S3 also answers "exists" (409) while another writer's upload is still under way. If that upload fails,
    there is nothing to read, and we try again. An object of another length is not ours, and is not read.
    """
    length = sum(map(len, byte_views(chunks)))
    for _ in range(_CREATE_TRIES):
        if try_create():
            return True
        with suppress(ObjectMissing):
            size = measure(key)
            if size is not None:
                return size == length and holds(read(key), chunks)
    raise StoreUnavailable(f"{key} is said to exist, but cannot be read")


def byte_views(chunks: Sequence[Chunk]) -> list[memoryview]:
    """Return the chunks as views of single bytes; nothing is copied."""
    return [memoryview(chunk).cast("B") for chunk in chunks]


def holds(stored: bytes, chunks: Sequence[Chunk]) -> bool:
    """Tell whether the stored bytes are these chunks, without joining them."""
    views = byte_views(chunks)
    if len(stored) != sum(len(view) for view in views):
        return False
    rest = memoryview(stored)
    for view in views:
        if rest[: len(view)] != view:
            return False
        rest = rest[len(view) :]
    return True
