"""A container opens only as what it was written as, where it was written, every byte of it."""

import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import container
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, ContainerWriter, Kind, open_bytes

CLUSTER = uuid.UUID("6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4")
KEYS = ClusterKeys(CLUSTER, {1: bytes(32), 2: bytes(range(32))}, b"f" * 32)
ID = uuid.UUID("00112233445566778899aabbccddeeff")
KEY = f"c/{CLUSTER}/packs/{ID.hex}"


def small() -> bytes:
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    writer.add(b"a" * 2048 + os.urandom(2048), Kind.PAGES, 2048)
    writer.add(b"some bytes", Kind.BYTES)
    return b"".join(writer.finish())


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=8))
@settings(max_examples=60, deadline=None)
def test_frames_come_back(frames: list[bytes]) -> None:
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    assert [writer.add(frame, Kind.BYTES) for frame in frames] == list(range(len(frames)))
    opened = open_bytes(KEY, KEYS, b"".join(writer.finish()))
    assert list(opened.plain()) == frames


def test_pages_have_fingerprints_that_tell_them_apart() -> None:
    pages = [bytes([number]) * 8192 for number in (1, 2, 1)]
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    writer.add(b"".join(pages), Kind.PAGES, 8192)
    marks = open_bytes(KEY, KEYS, b"".join(writer.finish())).fingerprints()
    tags = KEYS.page_tags(b"".join(pages), 8192)
    assert [marks[at : at + 8] for at in range(0, 24, 8)] == [tags[at : at + 8] for at in range(0, 48, 16)]
    assert marks[:8] == marks[16:] != marks[8:16]


def _read_all(stored: bytes) -> None:
    opened = open_bytes(KEY, KEYS, stored)
    list(opened.plain())
    opened.fingerprints()


def test_every_flipped_bit_is_found() -> None:
    stored = small()
    for at in range(len(stored)):
        damaged = bytearray(stored)
        damaged[at] ^= 1
        with pytest.raises(RepositoryDamaged, match=ID.hex):
            _read_all(bytes(damaged))


def test_every_truncation_is_found() -> None:
    stored = small()
    for length in range(len(stored)):
        with pytest.raises(RepositoryDamaged, match=ID.hex):
            open_bytes(KEY, KEYS, stored[:length])


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_noise_is_no_container(noise: bytes) -> None:
    for stored in (noise, small()[:96] + noise, noise + small()[-120:]):
        with pytest.raises(RepositoryDamaged, match=ID.hex):
            open_bytes(KEY, KEYS, stored)


def test_anothers_header_does_not_fit() -> None:
    """Of the same id, type and length, so that only the object key differs."""
    one, other = bytearray(small()), small()
    one[:96], one[-120:-24] = other[:96], other[-120:-24]
    with pytest.raises(RepositoryDamaged, match="index does not open"):
        open_bytes(KEY, KEYS, bytes(one))


@pytest.mark.parametrize("type_", [each for each in Type if each is not Type.PACK])
def test_another_type_at_the_same_key_is_refused(type_: Type) -> None:
    writer = ContainerWriter(KEYS, type_, ID)
    writer.add(b"x", Kind.BYTES)
    with pytest.raises(RepositoryDamaged, match=f"another object: {type_.name}"):
        open_bytes(KEY, KEYS, b"".join(writer.finish()))


@pytest.mark.parametrize(("at", "value"), [(8, 2), (9, 1), (11, 1)], ids=["version", "high version", "flags"])
def test_what_a_later_program_wrote_is_refused_by_name(at: int, value: int) -> None:
    stored = bytearray(small())
    stored[at] = stored[len(stored) - 120 + at] = value
    with pytest.raises(RepositoryDamaged, match="this program reads format 1"):
        open_bytes(KEY, KEYS, bytes(stored))


def test_a_nonce_serves_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[bytes, bytes]] = []

    class Recording:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, body: bytes, bound: bytes) -> bytes:
            used.append((self._key, nonce))
            return self._cipher.encrypt(nonce, body, bound)

    monkeypatch.setattr(container, "AESGCM", Recording)
    for _ in range(20):
        writer = ContainerWriter(KEYS, Type.PACK, ID)
        for number in range(20):
            writer.add(bytes([number]) * 2048, Kind.PAGES, 1024)
        writer.finish()
    assert len(used) == len(set(used)) == 20 * 22
    assert len({key for key, _ in used}) == 20


def test_an_object_lying_at_anothers_key_is_refused() -> None:
    other = uuid.uuid4()
    with pytest.raises(RepositoryDamaged, match="another object"):
        open_bytes(f"c/{CLUSTER}/packs/{other.hex}", KEYS, small())
    with pytest.raises(RepositoryDamaged, match="another object"):
        open_bytes(f"c/{CLUSTER}/maps/{ID.hex}", KEYS, small())


def test_another_clusters_object_is_refused() -> None:
    stranger = ClusterKeys(uuid.uuid4(), KEYS.generations, KEYS.fingerprint_key)
    with pytest.raises(RepositoryDamaged):
        open_bytes(f"c/{stranger.cluster}/packs/{ID.hex}", stranger, small())


def test_frames_cannot_change_places() -> None:
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    for letter in (b"a", b"b"):
        writer.add(letter * 100, Kind.BYTES)
    stored = b"".join(writer.finish())
    first, second = open_bytes(KEY, KEYS, stored).frames
    swapped = bytearray(stored)
    swapped[first.offset : first.offset + first.stored] = stored[
        second.offset : second.offset + second.stored
    ]
    swapped[second.offset : second.offset + second.stored] = stored[
        first.offset : first.offset + first.stored
    ]
    with pytest.raises(RepositoryDamaged, match="frame 0"):
        open_bytes(KEY, KEYS, bytes(swapped)).frame(0)


def test_an_unknown_generation_is_named() -> None:
    with pytest.raises(RepositoryDamaged, match="generation 2"):
        open_bytes(KEY, ClusterKeys(CLUSTER, {1: bytes(32)}, KEYS.fingerprint_key), small())


def test_the_same_content_is_never_sealed_alike() -> None:
    assert small()[48:88] != small()[48:88], "each container has an object key of its own"
    assert len({small()[96:200] for _ in range(5)}) == 5


def test_a_frame_has_a_largest_size() -> None:
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    for size in (0, MAX_FRAME + 1):
        with pytest.raises(ValueError, match="a frame holds"):
            writer.add(bytes(size), Kind.BYTES)


def test_keys_are_not_shown() -> None:
    assert "\\x" not in repr(KEYS)
    assert bytes(range(32)).hex() not in repr(KEYS)


def test_frames_of_one_container_may_be_opened_by_many_threads_at_once() -> None:
    draw = random.Random(1)
    words = [draw.randbytes(draw.randrange(3, 9)) for _ in range(3000)]
    plain = [b"".join(draw.choices(words, k=100_000)) for _ in range(4)]
    writer = ContainerWriter(KEYS, Type.PACK, ID)
    for piece in plain:
        writer.add(piece, Kind.BYTES)
    opened = open_bytes(KEY, KEYS, b"".join(writer.finish()))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(opened.frame, list(range(4)) * 40))
    assert found == plain * 40
