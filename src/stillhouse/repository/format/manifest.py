"""Manifests: a node's snapshot as a stream of JSON lines (docs/format.md, section 5)."""

import base64
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import MOST_LINE, Type
from stillhouse.errors import FormatUnknown, RepositoryDamaged
from stillhouse.repository.format import container, layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.fields import Fields, encode_line, parse
from stillhouse.repository.format.lines import (
    EndLine,
    Line,
    MapLine,
    NodeLine,
    PackLine,
    PiecesLine,
)
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_SPOOL_BYTES = 8 << 20  # lines of small clusters stay in memory, those of a million files go to disk
# Pieces in one line, which is then well below the bound of lines. Each has 32 digits.
_PIECES = 16384
# The line of a relation's file as we write it, with these fields and no other: nothing in it can be refused.
PLAIN_FILE = re.compile(
    rb'\{"t":"file","path":"((?:base|global|pg_tblspc)(?:/[A-Za-z0-9_]+)+(?:\.\d+)?)",'
    rb'"mode":\d+,"mtime_ns":\d+,"size":\d+,"how":"[a-z]+",(?:"held":\d+,)?(?:"pieces":\[["0-9a-f,]*\],)?'
    rb'(?:"entry":\d+,"map":"([0-9a-f]{32})"|"map":null,"entry":0)\}'
)
KNOWN = frozenset(
    {
        "node",
        "extension",
        "collation",
        "pack",
        "map",
        "dir",
        "link",
        "file",
        "pieces",
        "wal",
        "rotten",
        "skipped",
        "witness",
        "partitioned",
        "table",
        "end",
    }
)


@dataclass(frozen=True)
class CarriedFiles:
    """Lines of files as they stand in a manifest. `files` counts them, and `bytes` is the sum of their sizes."""

    text: bytes
    files: int
    bytes: int

    def lines(self) -> Iterator[Line]:
        for text in self.text.splitlines():
            line: Any = parse("the manifest being written", text)
            yield line


class ManifestWriter:
    """Takes lines while a node is captured. At the end it stores them in the order that the format requires."""

    def __init__(self) -> None:
        self.map_bytes = 0  # stored size of all new maps named so far
        self._in_parts = 0  # bytes of the spool that parts already hold
        self._carried: list[
            tuple[int, int, int, int]
        ] = []  # start and end in the spool, files and their bytes
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 (closed by close)

    def close(self) -> None:
        self._spool.close()

    def add(self, line: Line) -> None:
        self._spool.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def add_carried(self, carried: CarriedFiles) -> None:
        """Add files of an earlier manifest as they stand there. Their map comes before them."""
        start = self._spool.tell()
        self._spool.write(carried.text)
        self._carried.append((start, self._spool.tell(), carried.files, carried.bytes))

    def add_map(self, stored: Stored, packs: list[int], *, is_new: bool) -> None:
        """Add a map. `packs` are the ordinals, among the manifest's pack lines, of the packs that it names."""
        if is_new:
            self.map_bytes += stored.size
        self.add({"t": "map", "id": stored.id, "size": stored.size, "hash": stored.hash, "packs": packs})

    def store(
        self,
        store: ObjectStore,
        keys: ClusterKeys,
        head: Iterable[Line],
        drop: Callable[[Line], bool],
        *,
        drop_carried: bool = True,
    ) -> Stored:
        """Seal and store all lines except those named by `drop`, under a fresh id; durable on return.

        `head` comes first: the node, its extensions and collations, its packs. `drop` names files that were copied
        before the WAL showed that they would stop recovery. Without `drop_carried` it names no carried file.
        """
        lines = self._since(0)
        if drop_carried:
            lines = (one for part in lines for one in _one_by_one(part))
        kept = (part for part in lines if isinstance(part, CarriedFiles) or not drop(part))
        return _store(store, keys, chain(head, kept))

    def store_part(self, store: ObjectStore, keys: ClusterKeys, head: Iterable[Line]) -> Stored | None:
        """Store the lines added since the last part, as a separate manifest; None when there are no new lines.

        The parts of a failed attempt serve the next one as a base.
        """
        end = self._spool.tell()
        if end == self._in_parts:
            return None
        stored = _store(store, keys, chain(head, self._since(self._in_parts)))
        self._spool.seek(end)
        self._in_parts = end
        return stored

    def _since(self, offset: int) -> Iterator[Line | CarriedFiles]:
        at, last = offset, self._spool.seek(0, os.SEEK_END)
        for start, end, files, size in self._carried:
            if start >= offset:
                yield from self._separate(at, start)
                self._spool.seek(start)
                yield CarriedFiles(self._spool.read(end - start), files, size)
                at = end
        yield from self._separate(at, last)

    def _separate(self, start: int, end: int) -> Iterator[Line]:
        self._spool.seek(start)
        while start < end:
            encoded = self._spool.readline()
            start += len(encoded)
            line: Any = parse("the manifest being written", encoded)
            yield line


def _one_by_one(part: Line | CarriedFiles) -> Iterator[Line]:
    if isinstance(part, CarriedFiles):
        yield from part.lines()
    else:
        yield part


def _store(store: ObjectStore, keys: ClusterKeys, lines: Iterable[Line | CarriedFiles]) -> Stored:
    end: EndLine = {"t": "end", "files": 0, "bytes": 0, "wal": 0}
    manifest_id = new_hex()
    writer = container.ContainerWriter(keys, Type.MANIFEST, uuid.UUID(manifest_id))
    frame = bytearray()

    def write(text: bytes) -> None:
        frame.extend(text)
        while len(frame) >= container.MAX_FRAME:
            writer.add(bytes(frame[: container.MAX_FRAME]), container.Kind.BYTES)
            del frame[: container.MAX_FRAME]

    for line in lines:
        if isinstance(line, CarriedFiles):
            end["files"] += line.files
            end["bytes"] += line.bytes
            write(line.text)
            continue
        if line["t"] == "file":
            end["files"] += 1
            end["bytes"] += line["size"]
        elif line["t"] == "wal":
            end["wal"] += 1
        for short in _split(line):
            write(encode_line(_with_raw_path(short)))
    write(encode_line(end))
    writer.add(bytes(frame), container.Kind.BYTES)
    return sealed.create(store, layout.manifest(str(keys.cluster), manifest_id), manifest_id, writer.finish())


def read(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[Line]:
    """The manifest's lines as a stream, `node` first and `end` last.

    Raises RepositoryDamaged when it is not the object that the root names, ends early, or names a path outside the
    node.
    """
    key = layout.manifest(str(keys.cluster), stored.id)
    yield from lines_of(key, sealed.open_stored(store, keys, key, stored))


def read_matched(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[Line | re.Match[bytes]]:
    """The same, but a line that is a PLAIN_FILE is not decoded. It comes as its match."""
    key = layout.manifest(str(keys.cluster), stored.id)
    yield from _with_pieces(key, _stored_lines(key, sealed.open_stored(store, keys, key, stored), PLAIN_FILE))


def read_objects(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[PackLine | MapLine]:
    """The manifest's lines about packs and maps. Most lines are of files, and these are not decoded."""
    for line in read_matched(store, keys, stored):
        if not isinstance(line, re.Match) and (line["t"] == "pack" or line["t"] == "map"):
            yield line


def lines_of(key: str, opened: container.Container) -> Iterator[Line]:
    """The lines of an open manifest, each file with all its pieces. Raises as `read` does."""
    lines: Any = _with_pieces(key, _stored_lines(key, opened))
    yield from lines


def _with_pieces(
    key: str, lines: Iterable[Line | PiecesLine | re.Match[bytes]]
) -> Iterator[Line | re.Match[bytes]]:
    file: Any = None
    for line in lines:
        if not isinstance(line, re.Match) and line["t"] == "pieces":
            if isinstance(file, re.Match):
                file = _decode(key, file[0])
            if file is None or not isinstance(line.get("pieces"), list):
                raise RepositoryDamaged(f"{key} has pieces of no file")
            file.setdefault("pieces", []).extend(line["pieces"])
            continue
        if file is not None:
            yield file
        file = line if isinstance(line, re.Match) or line["t"] == "file" else None
        if file is None:
            yield line


def _stored_lines(
    key: str, opened: container.Container, unread: re.Pattern[bytes] | None = None
) -> Iterator[Line | PiecesLine | re.Match[bytes]]:
    last = ""
    for number, line in enumerate(split_lines(key, opened.plain())):
        if number and unread is not None and (match := unread.fullmatch(line)):
            last = "file"
            yield match
            continue
        fields: Any = _decode(key, line)
        last = fields["t"]
        if number == 0 and last != "node":
            raise RepositoryDamaged(f"{key} does not begin with its node")
        if last not in KNOWN and last[:1].isupper():
            raise FormatUnknown(f"{key} needs a newer program: it holds {last!r}")
        if "path" in fields:
            _check_path(key, fields["path"])
        yield fields
    if last != "end":
        raise RepositoryDamaged(f"{key} ends early")


def head_of(lines: Iterator[Line]) -> NodeLine:
    """Take the first of a manifest's lines, which is its node's. Raises as `read` does."""
    head = next(lines)
    assert head["t"] == "node", "a manifest without a head was refused"
    return head


def major_version(lines: Iterator[Line]) -> int:
    """Return PostgreSQL's major version of a manifest's node. Raises as `read` does."""
    return int(head_of(lines)["pg_version_num"]) // 10_000


def split_lines(key: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of an object whose frames are `chunks`. Raises RepositoryDamaged for a line cut short, or too long."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MOST_LINE:
            raise RepositoryDamaged(f"{key} holds a line that is too long")
    if rest:
        raise RepositoryDamaged(f"{key} ends within a line")


def _check_path(key: str, path: str) -> None:
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise RepositoryDamaged(f"{key} names a path outside the node: {path!r}")


def _split(line: Line) -> Iterator[Mapping[str, Any]]:
    """Split the line of a file with many pieces, so that no line grows with the size of its file."""
    pieces = line.get("pieces", []) if line["t"] == "file" else []
    if len(pieces) <= _PIECES:
        yield line
        return
    yield {name: value for name, value in line.items() if name != "pieces"}
    for at in range(0, len(pieces), _PIECES):
        yield {"t": "pieces", "pieces": pieces[at : at + _PIECES]}


def _with_raw_path(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the line with a path that is not UTF-8 in base64."""
    path = line.get("path", "")
    if path.isascii() or (raw := os.fsencode(path)) == path.encode(errors="replace"):
        return line
    fields = {name: value for name, value in line.items() if name != "path"}
    return fields | {"path_b64": base64.b64encode(raw).decode()}


def _decode(key: str, line: bytes) -> Fields:
    fields = parse(key, line)
    if not isinstance(fields.get("t"), str):
        raise RepositoryDamaged(f"{key} holds a line without a type")
    if "path_b64" in fields:
        fields["path"] = os.fsdecode(base64.b64decode(fields.pop("path_b64")))
    return fields
