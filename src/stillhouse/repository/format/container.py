"""Containers: header, sealed frames, fingerprints, index, trailer (docs/format.md, section 3)."""

import os
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stillhouse.compiled import Bytes
from stillhouse.domain.object_kinds import KINDS, Type
from stillhouse.errors import FormatUnknown, RepositoryDamaged
from stillhouse.repository.format.cipher_keys import KEY_BYTES, TAG_BYTES, ClusterKeys

VERSION = 1
MAX_FRAME = 1 << 20
HEADER_BYTES = 96
SEALED_HEADER_BYTES = 88  # the rest is reserved
TAIL_BYTES = HEADER_BYTES + 24
ZSTD_LEVEL = 1
# The window of zstd is 2^17 bytes instead of its default 2^19. A block still fits, and the window stays in the
# processor's cache. On one core this is a twentieth faster; sizes differ by a thousandth.
_WINDOW_LOG = 17

PARAMETERS = zstandard.ZstdCompressionParameters.from_level(ZSTD_LEVEL, window_log=_WINDOW_LOG)
_HEADER = struct.Struct("<8sHBBI16s16s40s8x")
_NAMED, _BOUND = (
    48,
    SEALED_HEADER_BYTES,
)  # bytes of the header that the key's wrap covers, and every seal too
_TRAILER = struct.Struct("<QII8s")
_INDEX_HEAD = struct.Struct("<QII")
_RECORD = struct.Struct("<QIIBBHI32s")
_MAGIC, _END_MAGIC = b"STILLHSE", b"STILLEND"
_TAG = 16
_ZSTD = 1
_FINGERPRINT = 8
_MOST_INDEX = 64 << 20  # bytes; that of a pack has some KiB, that of a manifest of 1 TiB as much as this
_FRAMES, _INDEX, _MARKS = 0, 1, 2  # spaces of nonces: no nonce repeats under an object's key

_mine = threading.local()


class Kind(IntEnum):
    HASHED_PAGES = 1  # used by the first packs: still read, no longer written
    BYTES = 2
    PAGES = 3


@dataclass(frozen=True)
class Frame:
    """One record of an index."""

    ordinal: int
    offset: int
    stored: int
    plain: int
    kind: Kind
    codec: int
    pages: int
    hash: bytes


@dataclass(frozen=True)
class Claim:
    """The statements of a header about its object, not yet proved."""

    type: int
    generation: int
    cluster: uuid.UUID
    id: uuid.UUID
    wrapped: bytes
    named: bytes

    def holds(self, keys: ClusterKeys) -> bool:
        """Whether an owner of these keys wrote it. The wrapped key is bound to all statements of the header."""
        try:
            keys.unwrap(self.generation, self.wrapped, self.named)
        except RepositoryDamaged:
            return False
        return True


def claims(stored: bytes) -> list[Claim]:
    """The claims of the first header and of the last, as far as these bytes contain them."""
    found = []
    for header in (stored[:HEADER_BYTES], stored[-TAIL_BYTES : -_TRAILER.size]):
        if len(header) == HEADER_BYTES:
            magic, version, type_, flags, generation, cluster, object_id, wrapped = _HEADER.unpack(header)
            if magic == _MAGIC and version == VERSION and not flags:
                cluster_id, named = uuid.UUID(bytes=cluster), header[:_NAMED]
                found.append(Claim(type_, generation, cluster_id, uuid.UUID(bytes=object_id), wrapped, named))
    return found


class ContainerWriter:
    """Builds one container in memory. It has one writer in one thread, is finished once and never appended to."""

    def __init__(self, keys: ClusterKeys, type_: Type, object_id: uuid.UUID) -> None:
        self._keys = keys
        object_key = os.urandom(KEY_BYTES)
        self._cipher = AESGCM(object_key)
        self._compressor = zstandard.ZstdCompressor(compression_params=PARAMETERS)
        fields = (_MAGIC, VERSION, type_, 0, keys.newest, keys.cluster.bytes, object_id.bytes)
        named = _HEADER.pack(*fields, b"")[:_NAMED]
        header = _HEADER.pack(*fields, keys.wrap(object_key, named))
        self._bound = header[:_BOUND]
        self._chunks: list[bytes] = [header]
        self._records: list[bytes] = []
        self._fingerprints: list[bytes] = []
        self.size = len(header)
        self.index = 0  # offset of the index, once finished

    @property
    def frames(self) -> int:
        return len(self._records)

    def add(self, plain: Bytes, kind: Kind, page_size: int = 0) -> int:
        """Seal one frame (at most MAX_FRAME bytes) and return its ordinal. `page_size` is given for pages only."""
        if not 0 < len(plain) <= MAX_FRAME:
            raise ValueError(f"a frame holds 1 to {MAX_FRAME} bytes, not {len(plain)}")
        ordinal = len(self._records)
        packed = self._compressor.compress(plain)
        codec, body = (_ZSTD, packed) if len(packed) < len(plain) else (0, bytes(plain))
        stored = len(body) + _TAG
        pages = len(plain) // page_size if kind is not Kind.BYTES else 0
        bound = _frame_bound(self._bound, ordinal, len(plain), stored, pages, kind, codec)
        sealed = self._cipher.encrypt(_nonce(_FRAMES, ordinal), body, bound)
        digest, fingerprints = proofs(self._keys, plain, kind, page_size)
        self._fingerprints.append(fingerprints)
        self._records.append(_RECORD.pack(self.size, stored, len(plain), kind, codec, pages, 0, digest))
        self._chunks.append(sealed)
        self.size += stored
        return ordinal

    def finish(self) -> list[bytes]:
        """The whole object, as chunks to write one after another."""
        marks = b"".join(self._fingerprints)
        at, count = self.size, len(marks) // _FINGERPRINT
        sealed = (
            self._cipher.encrypt(_nonce(_MARKS, 0), marks, _bound(self._bound, at, count)) if marks else b""
        )
        self.index = at + len(sealed)
        body = _INDEX_HEAD.pack(at, len(sealed), count) + b"".join(self._records)
        index = self._cipher.encrypt(
            _nonce(_INDEX, 0), body, _bound(self._bound, self.index, len(self._records))
        )
        trailer = _TRAILER.pack(self.index, len(index), len(self._records), _END_MAGIC)
        self._chunks += [sealed, index, self._chunks[0], trailer]
        self.size = self.index + len(index) + TAIL_BYTES
        return self._chunks


class Container:
    """An open container: its index is proved, and its frames are read one by one."""

    def __init__(
        self, key: str, keys: ClusterKeys, tail: bytes, read: Callable[[int, int], bytes], size: int
    ) -> None:
        """Open a container and prove its index.

        `tail` is the end of the object, from its index or earlier; `read(offset, length)` fetches the rest. `key` is
        where the object was found. Raises RepositoryDamaged, naming the key, when the object contradicts its key or
        its own seals.
        """
        self._key, self._keys, self._read = key, keys, read
        self.size = size
        header = tail[-TAIL_BYTES : -_TRAILER.size]
        if len(header) < HEADER_BYTES:
            raise self._damaged("is cut short")
        magic, version, type_, flags, generation, cluster, object_id, wrapped = _HEADER.unpack(header)
        offset, length, count, end_magic = _TRAILER.unpack(tail[-_TRAILER.size :])
        if magic != _MAGIC or end_magic != _END_MAGIC:
            raise self._damaged("is not a container, or cut short")
        if version > VERSION or flags:
            raise FormatUnknown(
                f"{key} has format {version}, flags {flags}; this program reads format {VERSION}", key=key
            )
        self.id = uuid.UUID(bytes=object_id)
        try:
            self.type = Type(type_)
        except ValueError:
            raise self._damaged(f"has unknown type {type_}") from None
        if cluster != keys.cluster.bytes or not self._is_at_home():
            raise self._damaged(f"holds another object: {self.type.name} {self.id}")
        if offset + length + TAIL_BYTES != size or length != _INDEX_HEAD.size + count * _RECORD.size + _TAG:
            raise self._damaged("has another length than it was stored with")
        self._bound = header[:_BOUND]
        try:
            self._cipher = AESGCM(keys.unwrap(generation, wrapped, header[:_NAMED]))
        except RepositoryDamaged as error:
            # The fault is in the keys, not in this object.
            raise RepositoryDamaged(f"{key} cannot be opened: {error.message}") from None
        start = len(tail) - (size - offset)
        if start < 0 and length > _MOST_INDEX:  # not proved yet, so it is not read for a stranger's word
            raise self._damaged("has a longer index than any object")
        stored = tail[start : start + length] if start >= 0 else read(offset, length)
        index = self._open(_nonce(_INDEX, 0), stored, _bound(self._bound, offset, count), "index")
        self._marks = _INDEX_HEAD.unpack(index[: _INDEX_HEAD.size])
        self.frames = tuple(self._frames(index))
        end = self.frames[-1].offset + self.frames[-1].stored if self.frames else HEADER_BYTES
        if end != self._marks[0] or end + self._marks[1] != offset:
            raise self._damaged("has bytes that its index does not name")

    def _is_at_home(self) -> bool:
        folder, _, name = self._key.removeprefix(f"c/{self._keys.cluster}/").partition("/")
        try:
            return self.type in KINDS[folder].types and self.id == uuid.UUID(name)
        except (KeyError, ValueError):
            return False

    def _frames(self, index: bytes) -> Iterator[Frame]:
        at = HEADER_BYTES
        for ordinal, row in enumerate(_RECORD.iter_unpack(index[_INDEX_HEAD.size :])):
            offset, stored, plain, kind, codec, pages, _, digest = row
            page_size = plain // pages if pages else 0
            paged = (
                pages * page_size == plain and 1024 <= page_size <= 32768 and page_size & (page_size - 1) == 0
            )
            if (
                offset != at
                or not 0 < plain <= MAX_FRAME
                or codec > _ZSTD
                or kind not in (1, 2, 3)
                or (kind != 2) != paged
            ):
                raise self._damaged(f"frame {ordinal} is of no known kind")
            at += stored
            yield Frame(ordinal, offset, stored, plain, Kind(kind), codec, pages, digest)

    def frame(self, ordinal: int, sealed: Bytes | None = None) -> bytes:
        """The plain bytes of a frame. `sealed` is its stored bytes, if the caller has fetched them already."""
        if not 0 <= ordinal < len(self.frames):
            raise self._damaged(f"has no frame {ordinal}")
        frame = self.frames[ordinal]
        if sealed is None:
            sealed = self._read(frame.offset, frame.stored)
        bound = _frame_bound(
            self._bound, ordinal, frame.plain, frame.stored, frame.pages, frame.kind, frame.codec
        )
        body = self._open(_nonce(_FRAMES, ordinal), sealed, bound, f"frame {ordinal}")
        if frame.codec == _ZSTD:
            body = self._decompressed(body, frame)
        page_size = frame.plain // frame.pages if frame.pages else 0
        if len(body) != frame.plain or proofs(self._keys, body, frame.kind, page_size)[0] != frame.hash:
            raise self._damaged(f"frame {ordinal} is not what was stored")
        return body

    def _decompressed(self, body: bytes, frame: Frame) -> bytes:
        try:
            # zstd prefers the size in its own frame to `max_output_size`, so that size is checked first.
            if zstandard.frame_content_size(body) > frame.plain:
                raise self._damaged(f"frame {frame.ordinal} is not what was stored")
            return _decompressor().decompress(body, max_output_size=frame.plain, allow_extra_data=False)
        except zstandard.ZstdError:
            raise self._damaged(f"frame {frame.ordinal} does not decompress") from None

    def plain(self) -> Iterator[bytes]:
        """All frames in order, as a stream: the body of maps, manifests and roots."""
        for frame in self.frames:
            yield self.frame(frame.ordinal)

    def fingerprints(self) -> bytes:
        """The fingerprints of all pages of all frames, in order, 8 bytes each."""
        offset, length, count = self._marks
        if not length:
            return b""
        return self._open(
            _nonce(_MARKS, 0), self._read(offset, length), _bound(self._bound, offset, count), "fingerprints"
        )

    def _open(self, nonce: bytes, sealed: Bytes, bound: bytes, what: str) -> bytes:
        try:
            return self._cipher.decrypt(nonce, sealed, bound)
        except (InvalidTag, ValueError):
            raise self._damaged(f"{what} does not open") from None

    def _damaged(self, what: str) -> RepositoryDamaged:
        return RepositoryDamaged(f"{self._key} {what}", key=self._key)


def proofs(keys: ClusterKeys, plain: Bytes, kind: Kind, page_size: int) -> tuple[bytes, bytes]:
    """A frame's hash, and the fingerprints of its pages, joined."""
    if kind is Kind.PAGES:
        tags = keys.page_tags(plain, page_size)
        marks = np.frombuffer(tags, np.uint8).reshape(-1, TAG_BYTES)[:, :_FINGERPRINT]
        return blake3(tags).digest(), marks.tobytes()
    hashes = keys.page_hashes(plain, page_size) if kind is Kind.HASHED_PAGES else []
    return blake3(plain).digest(), b"".join(one[:_FINGERPRINT] for one in hashes)


def _decompressor() -> zstandard.ZstdDecompressor:
    """One decompressor per thread: two threads must not share one, but they may share an open container."""
    if not hasattr(_mine, "decompressor"):
        _mine.decompressor = zstandard.ZstdDecompressor()
    mine: zstandard.ZstdDecompressor = _mine.decompressor
    return mine


def open_bytes(key: str, keys: ClusterKeys, stored: bytes) -> Container:
    """Open a container held in memory, found at `key`."""
    if stored[:HEADER_BYTES] != stored[-TAIL_BYTES : -_TRAILER.size]:
        raise RepositoryDamaged(f"{key} has two headers that differ", key=key)
    return Container(key, keys, stored, lambda offset, length: stored[offset : offset + length], len(stored))


def _nonce(space: int, ordinal: int) -> bytes:
    return struct.pack("<IQ", space, ordinal)


def _frame_bound(
    bound: bytes, ordinal: int, plain: int, stored: int, pages: int, kind: int, codec: int
) -> bytes:
    return bound + struct.pack("<QIIHBB", ordinal, plain, stored, pages, kind, codec)


def _bound(bound: bytes, offset: int, count: int) -> bytes:
    return bound + struct.pack("<QQ", offset, count)
