"""A second reader of repositories, written from docs/format.md alone: nothing of the product is imported here.

It reads a directory of objects and a KEK, proves every step as the document asks, and yields what a node held.
"""

import base64
import json
import os
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

HOLE = 0xFFFFFFFF
TYPES = {
    "packs": (1,),
    "maps": (2,),
    "manifests": (3,),
    "roots": (4, 5),
    "trash": (6,),
    "endings": (10,),
    "pins": (7,),
    "marks": (8,),
    "findings": (11,),
    "reach": (12,),
}

Line = dict[str, Any]


@dataclass
class Node:
    """What one node held; paths as the manifest has them, names as the file system's bytes have them."""

    head: Line
    directories: dict[str, int] = field(default_factory=dict)
    links: dict[int, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    wal: dict[str, bytes] = field(default_factory=dict)
    rotten: list[tuple[str, int]] = field(default_factory=list)
    others: list[Line] = field(default_factory=list)


class Repository:
    def __init__(self, objects: Path, kek: bytes, cluster: str) -> None:
        self._objects, self._kek, self._cluster = objects, kek, cluster
        self._place = f"c/{cluster}"
        self._generations: dict[int, bytes] = {}
        self._fingerprint_keys: set[bytes] = set()
        self._read_keys()

    def _get(self, key: str) -> bytes:
        return (self._objects / self._place / key).read_bytes()

    def _names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self._objects / self._place / folder).iterdir())

    def _read_keys(self) -> None:
        """Section 2."""
        kek_id = blake3(self._kek, derive_key_context="stillhouse kek id v1").digest()[:8].hex()
        for name in self._names("keys"):
            stored = self._get(f"keys/{name}/{kek_id}")
            fields = _fields(stored)
            assert len(stored) <= 4096
            assert fields["format"] == 1 and fields["wrap"] == "aes-256-gcm"
            assert fields["cluster"] == self._cluster and fields["kek_id"] == kek_id
            generation = fields["generation"]
            assert name == f"{generation:08d}"
            bound = b"stillhouse keys 1" + uuid.UUID(self._cluster).bytes + struct.pack("<I", generation)
            wrapped = base64.b64decode(fields["wrapped"])
            assert len(wrapped) == 80
            secret = AESGCM(self._kek).decrypt(base64.b64decode(fields["nonce"]), wrapped, bound)
            self._generations[generation] = secret[:32]
            self._fingerprint_keys.add(secret[32:])
        assert len(self._fingerprint_keys) == 1, "the same in every generation"

    def _open(self, key: str) -> "_Container":
        (fingerprint_key,) = self._fingerprint_keys
        return _Container(key, self._get(key), self._cluster, self._generations, fingerprint_key)

    def root(self, snapshot: str) -> Line | None:
        """Section 8, step 1; None for a tombstone."""
        container = self._open(f"roots/{snapshot}")
        return None if container.type == 5 else _fields(container.body())

    def sealed(self, key: str) -> Line:
        """The one JSON object of a tombstone, trash mark or pin."""
        return _fields(self._open(key).body())

    def mark(self, key: str) -> list[Line]:
        """Section 6: what a collection found unreachable, or what is known to be damaged, line by line."""
        text = self._open(key).body()
        assert text.endswith(b"\n")
        return [_fields(line) for line in text.split(b"\n")[:-1]]

    def node(self, named: Line) -> Node:
        """Section 8, step 2 to 4: all that the manifest which a root names holds."""
        key = f"manifests/{named['manifest']}"
        assert len(self._get(key)) == named["size"]
        assert blake3(self._get(key)).hexdigest() == named["hash"]
        text = self._open(key).body()
        assert text.endswith(b"\n")
        lines = [_fields(line) for line in text.split(b"\n")[:-1]]
        assert lines[0]["t"] == "node"
        node, packs, maps = Node(lines[0]), [], {}
        for line in lines[1:-1]:
            path = line.get("path", "")
            if "path_b64" in line:
                path = os.fsdecode(base64.b64decode(line["path_b64"]))
            match line["t"]:
                case "pack":
                    packs.append(line["id"])
                    self._prove_pack(line)
                case "map":
                    names = [packs[ordinal] for ordinal in line["packs"]]
                    maps[line["id"]] = self._map(line, names)
                case "dir":
                    node.directories[path] = line["mode"]
                case "link":
                    node.links[line["oid"]] = line["target"]
                case "file" | "wal":
                    content = b"" if line["map"] is None else maps[line["map"]][line["entry"]]
                    assert len(content) == line["size"]
                    into = node.wal if line["t"] == "wal" else node.files
                    assert path not in into
                    into[path] = content
                    if line["t"] == "file":
                        node.modes[path] = line["mode"]
                case "rotten":
                    node.rotten.append((path, line["block"]))
                case other:
                    assert not other[0].isupper()
                    node.others.append(line)
        sizes = sum(map(len, node.files.values()))
        assert lines[-1] == {"t": "end", "files": len(node.files), "bytes": sizes, "wal": len(node.wal)}
        return node

    def _prove_pack(self, line: Line) -> None:
        stored = self._get(f"packs/{line['id']}")
        assert len(stored) == line["size"] and blake3(stored).hexdigest() == line["hash"]
        assert struct.unpack_from("<Q", stored, len(stored) - 24)[0] == line["index"]
        self._open(f"packs/{line['id']}").prove_fingerprints()

    def _map(self, line: Line, packs: list[str]) -> list[bytes]:
        """Section 4: the bytes of each of the map's files."""
        stored = self._get(f"maps/{line['id']}")
        assert len(stored) == line["size"] and blake3(stored).hexdigest() == line["hash"]
        body = _Bytes(self._open(f"maps/{line['id']}").body())
        (count,) = body.take("<I")
        named = [body.raw(16).hex() for _ in range(count)]
        assert sorted(named) == sorted(packs)
        (count,) = body.take("<I")
        frames = [body.take("<II") for _ in range(count)]
        opened = [self._open(f"packs/{pack}") for pack in named]
        plains = [opened[pack].frame(ordinal) for pack, ordinal in frames]
        (count,) = body.take("<I")
        files = [b"".join(_entry(body, plains)) for _ in range(count)]
        body.end()
        return files


def _entry(body: "_Bytes", plains: list[bytes]) -> Iterator[bytes]:
    kind, log_size, zero, count = body.take("<BBHI")
    assert zero == 0
    if kind == 1:
        size = 1 << log_size
        frames = np.frombuffer(body.raw(4 * count), "<u4")
        slots = np.frombuffer(body.raw(2 * count), "<u2")
        for frame, slot in zip(frames.tolist(), slots.tolist(), strict=True):
            if frame == HOLE:
                assert slot == 0
                yield bytes(size)
            else:
                yield _cut(plains[frame], slot * size, size)
        return
    assert (kind, log_size) == (2, 0)
    for _ in range(count):
        frame, offset, length = body.take("<III")
        yield bytes(length) if frame == HOLE else _cut(plains[frame], offset, length)


def _cut(plain: bytes, offset: int, length: int) -> bytes:
    assert offset + length <= len(plain)
    return plain[offset : offset + length]


class _Container:
    """Section 3."""

    def __init__(
        self, key: str, stored: bytes, cluster: str, generations: dict[int, bytes], fingerprint_key: bytes
    ) -> None:
        self._stored, self._fingerprint_key = stored, fingerprint_key
        header = stored[-120:-24]
        assert stored[:96] == header
        magic, version, self.type, flags, generation, owner, object_id, wrapped = struct.unpack(
            "<8sHBBI16s16s40s8x", header
        )
        assert (magic, version, flags) == (b"STILLHSE", 1, 0)
        folder, name = key.split("/")
        assert self.type in TYPES[folder]
        assert owner == uuid.UUID(cluster).bytes and object_id == uuid.UUID(name).bytes
        index, length, count, end_magic = struct.unpack("<QII8s", stored[-24:])
        assert end_magic == b"STILLEND"
        assert index + length + 120 == len(stored) and length <= 16 + 56 * count + 16
        wrapping = blake3(b"stillhouse wrap 1" + header[:48], key=generations[generation]).digest()
        self._cipher, self._bound = AESGCM(aes_key_unwrap(wrapping, wrapped)), header[:88]
        plain = _Bytes(self._unseal(1, 0, index, length, struct.pack("<QQ", index, count)))
        self._marks = plain.take("<QII")
        self._records = [plain.take("<QIIBBHI32s") for _ in range(count)]
        plain.end()
        at = 96
        for offset, stored_length, plain_length, kind, _, pages, _, _ in self._records:
            assert offset == at and 1 <= plain_length <= 1 << 20
            at += stored_length
            if kind in (1, 3):
                size = plain_length // pages
                assert pages * size == plain_length and size in {1 << log for log in range(10, 16)}
            else:
                assert (kind, pages) == (2, 0)
        assert (at, at + self._marks[1]) == (self._marks[0], index)

    def _unseal(self, space: int, ordinal: int, at: int, length: int, bound: bytes) -> bytes:
        nonce = struct.pack("<IQ", space, ordinal)
        return self._cipher.decrypt(nonce, self._stored[at : at + length], self._bound + bound)

    def frame(self, ordinal: int) -> bytes:
        offset, stored, plain, kind, codec, pages, _, digest = self._records[ordinal]
        bound = struct.pack("<QIIHBB", ordinal, plain, stored, pages, kind, codec)
        body = self._unseal(0, ordinal, offset, stored, bound)
        if codec == 1:
            body = zstandard.ZstdDecompressor().decompress(
                body, max_output_size=plain, allow_extra_data=False
            )
        else:
            assert codec == 0
        hashed = b"".join(self._tags(body, plain // pages)) if kind == 3 else body
        assert len(body) == plain and blake3(hashed).digest() == digest
        return body

    def _tags(self, body: bytes, size: int) -> list[bytes]:
        key = blake3(b"stillhouse page tags 1", key=self._fingerprint_key).digest()
        pieces = [body[i : i + size] for i in range(0, len(body), size)]
        return [AESGCM(key).encrypt(bytes(12), b"", piece) for piece in pieces]

    def body(self) -> bytes:
        return b"".join(map(self.frame, range(len(self._records))))

    def prove_fingerprints(self) -> None:
        at, length, count = self._marks
        marks = self._unseal(2, 0, at, length, struct.pack("<QQ", at, count)) if length else b""
        expected = []
        for ordinal, (_, _, plain, kind, _, pages, _, _) in enumerate(self._records):
            if kind == 1:
                body, size = self.frame(ordinal), plain // pages
                pieces = [body[i : i + size] for i in range(0, plain, size)]
                expected += [blake3(one, key=self._fingerprint_key).digest()[:8] for one in pieces]
            if kind == 3:
                expected += [tag[:8] for tag in self._tags(self.frame(ordinal), plain // pages)]
        assert marks == b"".join(expected) and count == len(expected)


class _Bytes:
    """Bytes taken one field after another."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def raw(self, length: int) -> bytes:
        assert self._at + length <= len(self._content)
        self._at += length
        return self._content[self._at - length : self._at]

    def take(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.raw(struct.calcsize(layout)))

    def end(self) -> None:
        assert self._at == len(self._content)


def _fields(text: bytes) -> Line:
    fields: Line = json.loads(text)
    assert not any(name[:1].isupper() for name in fields)
    return fields
