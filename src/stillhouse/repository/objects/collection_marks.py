"""Marks: the objects that a collection found unreachable, and since when (docs/format.md, section 6)."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type, most_of
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Container, ContainerWriter, Kind
from stillhouse.repository.format.fields import encode_line, parse
from stillhouse.repository.format.manifest import split_lines
from stillhouse.storage.store import ObjectStore

Since = datetime | None
"""None means: since the mark itself was stored."""


def store_mark(store: ObjectStore, keys: ClusterKeys, unreachable: Iterable[tuple[str, Since]]) -> str:
    """Store a mark of these keys (relative to the cluster's folder), durable on return.

    Returns its key, with a fresh id. A mark names as many keys as it may hold. The others stay for a later collection.
    """
    mark_id = new_hex()
    key = layout.mark(str(keys.cluster), mark_id)
    writer = ContainerWriter(keys, Type.MARK, uuid.UUID(mark_id))
    frame = bytearray()
    room = most_of(Type.MARK)
    for name, since in unreachable:
        line = encode_line({"key": name, "since": None if since is None else since.isoformat()})
        room -= len(line)
        if room < 0:
            break
        frame += line
        if len(frame) >= MAX_FRAME:
            writer.add(bytes(frame[:MAX_FRAME]), Kind.BYTES)
            del frame[:MAX_FRAME]
    if frame:
        writer.add(bytes(frame), Kind.BYTES)
    sealed.create(store, key, mark_id, writer.finish())
    return key


def read(store: ObjectStore, keys: ClusterKeys, key: str) -> Iterator[tuple[str, Since]]:
    """The lines of a mark. Raises ObjectMissing when it is gone, RepositoryDamaged when it cannot be understood."""
    yield from lines_of(key, sealed.open_small(store, keys, key))


def lines_of(key: str, opened: Container) -> Iterator[tuple[str, Since]]:
    """The lines of an open mark. Raises as `read` does."""
    for line in split_lines(key, opened.plain()):
        fields = parse(key, line)
        try:
            since = None if fields["since"] is None else datetime.fromisoformat(fields["since"])
            name = fields["key"]
        except (KeyError, TypeError, ValueError):
            raise RepositoryDamaged(f"{key} is not a mark") from None
        if not isinstance(name, str) or (since is not None and since.tzinfo is None):
            raise RepositoryDamaged(f"{key} is not a mark")
        yield name, since
