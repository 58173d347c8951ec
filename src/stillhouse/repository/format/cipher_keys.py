"""The key hierarchy: KEK > cluster keys > object keys (docs/format.md, section 2)."""

import base64
import hmac
import json
import os
import re
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from stillhouse import atomic_file, compiled
from stillhouse.compiled import Bytes
from stillhouse.domain.object_kinds import KINDS
from stillhouse.errors import InvalidInput, ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.fields import parse
from stillhouse.storage.store import ObjectStore

KEY_BYTES = 32
TAG_BYTES = 16
_TAGS_NONCE = bytes(12)
_GENERATION = re.compile(r"[0-9]{8}")
_MAX_OBJECT = KINDS["keys"].most or 0


@dataclass(frozen=True)
class Kek:
    """The key-encryption key. With it and the bucket, anyone has the data; without it the bucket is noise."""

    secret: bytes

    @property
    def id(self) -> str:
        return blake3(self.secret, derive_key_context="stillhouse kek id v1").hexdigest(8)

    @property
    def for_secrets(self) -> bytes:
        """The key under which the catalog keeps the service's key of secrets."""
        return blake3(self.secret, derive_key_context="stillhouse key of secrets v1").digest()

    def __repr__(self) -> str:
        return f"Kek({self.id})"


def load_or_create_kek(path: Path) -> tuple[Kek, bool]:
    """The KEK in `path` (64 hex digits), and whether it was made now because the file did not exist.

    Raises InvalidInput when the file holds anything else: a guessed key would make unreadable snapshots.
    """
    created = not path.exists() and write_kek(Kek(os.urandom(KEY_BYTES)), path)
    return read_kek(path), created


def read_kek(path: Path) -> Kek:
    """The KEK in `path`. Raises InvalidInput when the file is missing or holds anything else."""
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise InvalidInput(
            f"no key-encryption key at {path}", hint="without it nothing can be read"
        ) from None
    except ValueError:
        secret = b""
    except OSError as error:
        raise InvalidInput(f"the key in {path} cannot be read: {error.strerror}") from error
    if len(secret) != KEY_BYTES:
        raise InvalidInput(f"{path} is not a key: 64 hex digits expected")
    return Kek(secret)


def write_kek(kek: Kek, path: Path) -> bool:
    """Write the KEK unless the file exists; False when it does. The file appears whole or not at all.

    Raises InvalidInput where the directory does not exist.
    """
    if not path.parent.is_dir():
        raise InvalidInput(f"there is no directory {path.parent}")
    # The key must be durable before anything is encrypted with it: if a power cut lost the key, every snapshot would
    # be lost too.
    return atomic_file.create(path, f"{kek.secret.hex()}\n".encode())


@dataclass(frozen=True)
class ClusterKeys:
    """A cluster's keys, opened. `generations` maps each generation to its cluster key."""

    cluster: uuid.UUID
    generations: dict[int, bytes]
    fingerprint_key: bytes

    def __repr__(self) -> str:
        return f"ClusterKeys({self.cluster}, generations={sorted(self.generations)})"

    @property
    def newest(self) -> int:
        return max(self.generations)

    def wrap(self, object_key: bytes, named: bytes) -> bytes:
        """Wrap an object key with the newest generation.

        The 40 bytes are valid only for the header that `named` begins.
        """
        return aes_key_wrap(self._wrapping(self.newest, named), object_key)

    def unwrap(self, generation: int, wrapped: bytes, named: bytes) -> bytes:
        """Unwrap an object key. Raises RepositoryDamaged when the generation is unknown or the bytes were altered."""
        if generation not in self.generations:
            raise RepositoryDamaged(f"cluster {self.cluster} has no keys of generation {generation}")
        try:
            return aes_key_unwrap(self._wrapping(generation, named), wrapped)
        except InvalidUnwrap:
            raise RepositoryDamaged(f"an object key of cluster {self.cluster} does not unwrap") from None

    def _wrapping(self, generation: int, named: bytes) -> bytes:
        return blake3(b"stillhouse wrap 1" + named, key=self.generations[generation]).digest()

    def page_tags(self, plain: Bytes, page_size: int) -> bytes:
        """Tags of TAG_BYTES for each page, joined. They tell pages apart, the same in every pack of the cluster.

        The tag is AES-GMAC: for so few bytes at a time it is more than twice as fast as BLAKE3. Its nonce is always
        the same. That would help an attacker who sees tags, but they are only ever stored sealed.
        """
        key = blake3(b"stillhouse page tags 1", key=self.fingerprint_key).digest()
        if compiled.loops is not None and compiled.loops.has_tags:
            # NIST SP 800-38D, section 7.1, wants AES of zeros, and of the nonce with the counter 1. The nonce is zeros,
            # so these are the first two blocks of AES in counter mode.
            blocks = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(32))
            return compiled.loops.tags(plain, page_size, blocks[:16], blocks[16:])
        cipher, view = AESGCM(key), memoryview(plain)
        starts = range(0, len(plain), page_size)
        return b"".join(cipher.encrypt(_TAGS_NONCE, b"", view[at : at + page_size]) for at in starts)

    def page_hashes(self, plain: Bytes, page_size: int) -> list[bytes]:
        """The hashes that the first packs had in place of tags."""
        view = memoryview(plain)
        return [
            blake3(view[at : at + page_size], key=self.fingerprint_key).digest()
            for at in range(0, len(plain), page_size)
        ]

    def digest(self, piece: bytes | memoryview) -> str:
        """Sixteen bytes, in hex, that tell pieces of a file apart, the same in every manifest of the cluster."""
        return blake3(piece, key=self.fingerprint_key).hexdigest(16)


def create_or_open(store: ObjectStore, kek: Kek, cluster: str) -> ClusterKeys:
    """The cluster's keys. Generation 1 is made on first use; the conditional create decides a race of two first users.

    Raises as `open_keys`, and RepositoryDamaged where the cluster has objects but no keys: new keys would not open
    these objects, but take the place of the lost keys.
    """
    if not _has_keys(store, cluster):
        # Keys are written before all else: if there are other objects but no keys, the keys are lost.
        if any(store.list(layout.all_of(cluster))) and not _has_keys(store, cluster):
            raise RepositoryDamaged(
                f"cluster {cluster} has objects in the repository and no keys", hint="put its keys back"
            )
        store.create(layout.keys(cluster, 1, kek.id), [_seal(kek, cluster, 1, os.urandom(2 * KEY_BYTES))])
    return open_keys(store, kek, cluster)


def _has_keys(store: ObjectStore, cluster: str) -> bool:
    return any(store.list(layout.keys_of(cluster)))


def open_keys(store: ObjectStore, kek: Kek, cluster: str) -> ClusterKeys:
    """All generations of a cluster's keys.

    Raises RepositoryDamaged when a generation is unreadable or missing, InvalidInput when another KEK sealed it. A
    caller with only some generations would take intact snapshots for damaged ones.
    """
    found = wrappings(store, cluster)
    if missing := sorted(generation for generation, keks in found.items() if kek.id not in keks):
        if len(missing) == len(found):
            raise InvalidInput(
                f"cluster {cluster} was sealed with another KEK than {kek.id}: {_named(found, kek)}",
                hint="check the key's file; was the KEK rotated?",
            )
        raise InvalidInput(
            f"generation {missing[0]} of cluster {cluster} was sealed with another KEK than {kek.id}:"
            f" {_named(found, kek)}",
            hint="the KEK is being rotated: use the new one, or rotate again to the end",
        )
    opened = {generation: unwrap(store, kek, cluster, generation) for generation in found}
    if len({secret[KEY_BYTES:] for secret in opened.values()}) != 1:
        raise RepositoryDamaged(f"cluster {cluster} has no keys", hint="shredded, or not in this repository")
    return cluster_keys(cluster, opened)


def _named(found: dict[int, set[str]], kek: Kek) -> str:
    return ", ".join(sorted(set[str]().union(*found.values()) - {kek.id}))


def cluster_keys(cluster: str, opened: dict[int, bytes]) -> ClusterKeys:
    """Build the keys from the secret of each generation. There is at least one, and all share one fingerprint key."""
    generations = {number: secret[:KEY_BYTES] for number, secret in opened.items()}
    return ClusterKeys(uuid.UUID(cluster), generations, opened[min(opened)][KEY_BYTES:])


def wrappings(store: ObjectStore, cluster: str) -> dict[int, set[str]]:
    """The ids of the KEKs that wrap each generation of the cluster's keys."""
    found: dict[int, set[str]] = {}
    for stored in store.list(layout.keys_of(cluster)):
        number, _, kek_id = stored.key.removeprefix(layout.keys_of(cluster)).partition("/")
        if _GENERATION.fullmatch(number):
            found.setdefault(int(number), set()).add(kek_id)
    return found


def unwrap(store: ObjectStore, kek: Kek, cluster: str, generation: int) -> bytes:
    """The secret of one generation: cluster key and fingerprint key. Raises RepositoryDamaged."""
    key = layout.keys(cluster, generation, kek.id)
    try:
        size = store.size(key)
        if size is not None and size > _MAX_OBJECT:
            raise RepositoryDamaged(f"{key} has {size} bytes, more than an object of keys", key=key)
        return open_object(kek, cluster, key, generation, store.get(key))
    except ObjectMissing:
        raise RepositoryDamaged(f"{key} is gone", hint="is the KEK being rotated?") from None


def wrap(store: ObjectStore, kek: Kek, cluster: str, generation: int, secret: bytes) -> bool:
    """Wrap a generation with this KEK too, and prove it by reading it back. Returns False if it was there already.

    Raises RepositoryDamaged when the object that is there holds other keys. Then each of the two has containers that
    only it opens, and neither may ever be removed.
    """
    key = layout.keys(cluster, generation, kek.id)
    created = store.create(key, [_seal(kek, cluster, generation, secret)])
    if not hmac.compare_digest(unwrap(store, kek, cluster, generation), secret):
        raise RepositoryDamaged(f"{key} holds other keys of that generation", hint="keep both KEKs")
    return created


def new_generation(store: ObjectStore, kek: Kek, cluster: str) -> int:
    """Draw another cluster key for new containers; existing containers stay readable. Returns its number.

    Work that opened its keys earlier keeps using these until it ends. Raises InvalidInput while other KEKs wrap the
    cluster's keys: a generation that only one KEK wraps would close the cluster to the other.
    """
    keys = open_keys(store, kek, cluster)
    if set[str]().union(*wrappings(store, cluster).values()) != {kek.id}:
        raise InvalidInput(
            f"the keys of cluster {cluster} are wrapped by other KEKs too", hint="rotate to the end first"
        )
    secret = os.urandom(KEY_BYTES) + keys.fingerprint_key
    generation = keys.newest + 1
    # If two calls run at once, the loser finds the winner's key, which serves both.
    store.create(layout.keys(cluster, generation, kek.id), [_seal(kek, cluster, generation, secret)])
    return open_keys(store, kek, cluster).newest


def _bound_to(cluster: str, generation: int) -> bytes:
    return b"stillhouse keys 1" + uuid.UUID(cluster).bytes + struct.pack("<I", generation)


def _seal(kek: Kek, cluster: str, generation: int, secret: bytes) -> bytes:
    nonce = os.urandom(12)
    wrapped = AESGCM(kek.secret).encrypt(nonce, secret, _bound_to(cluster, generation))
    return json.dumps(
        {
            "format": 1,
            "generation": generation,
            "cluster": cluster,
            "kek_id": kek.id,
            "wrap": "aes-256-gcm",
            "nonce": base64.b64encode(nonce).decode(),
            "wrapped": base64.b64encode(wrapped).decode(),
        }
    ).encode()


def open_object(kek: Kek, cluster: str, key: str, generation: int, stored: bytes) -> bytes:
    """Cluster key and fingerprint key of one generation, joined. Raises RepositoryDamaged for any other object."""
    if len(stored) > _MAX_OBJECT:
        raise RepositoryDamaged(f"{key} is larger than an object of keys can be")
    fields = parse(key, stored)
    told = {
        "format": 1,
        "generation": generation,
        "cluster": cluster,
        "kek_id": kek.id,
        "wrap": "aes-256-gcm",
    }
    if any(fields.get(name) != value for name, value in told.items()):
        raise RepositoryDamaged(f"{key} holds other keys than its name says")
    try:
        nonce, wrapped = _decoded(fields["nonce"]), _decoded(fields["wrapped"])
        return AESGCM(kek.secret).decrypt(nonce, wrapped, _bound_to(cluster, generation))
    except (ValueError, KeyError, TypeError, InvalidTag):
        raise RepositoryDamaged(f"{key} does not open with KEK {kek.id}") from None


def _decoded(text: str) -> bytes:
    """Decode base64, but only the exact text that an encoder writes.

    Decoders also accept other texts for the same bytes.
    """
    plain = base64.b64decode(text, validate=True)
    if base64.b64encode(plain).decode() != text:
        raise ValueError("not base64 as it is written")
    return plain
