"""Marks: the objects that a collection found unreachable, and since when (docs/format.md, section 6)."""

import json
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Container, ContainerWriter, Kind, open_bytes
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.manifest import split_lines
from stillhouse.storage.store import ObjectStore

Since = datetime | None
"""None means: since the mark itself was stored."""


def store_mark(store: ObjectStore, keys: ClusterKeys, unreachable: Iterable[tuple[str, Since]]) -> str:
    """Store a mark of these keys (relative to the cluster's folder), durable on return.

    Returns its key, with a fresh id.
    """
    mark_id = new_hex()
    key = layout.mark(str(keys.cluster), mark_id)
    writer = ContainerWriter(keys, Type.MARK, uuid.UUID(mark_id))
    frame = bytearray()
    for name, since in unreachable:
        line = {"key": name, "since": None if since is None else since.isoformat()}
        frame += json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if len(frame) >= MAX_FRAME:
            writer.add(bytes(frame[:MAX_FRAME]), Kind.BYTES)
            del frame[:MAX_FRAME]
    if frame:
        writer.add(bytes(frame), Kind.BYTES)
    sealed.create(store, key, mark_id, writer.finish())
    return key


def read(store: ObjectStore, keys: ClusterKeys, key: str) -> Iterator[tuple[str, Since]]:
    """The lines of a mark. Raises ObjectMissing when it is gone, RepositoryDamaged when it cannot be understood."""
    yield from lines_of(key, open_bytes(key, keys, store.get(key)))


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
