"""Page checks over batches agree with the rules of PostgreSQL, applied to one page at a time in plain Python: with the
compiled loops, where there are any, and without.
"""

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stillhouse import compiled
from stillhouse.postgres.files import pages


@pytest.fixture(autouse=True, scope="module", params=["compiled", "NumPy"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Which implementation is tried."""
    if request.param == "compiled" and compiled.loops is None:
        pytest.skip("the loops are not compiled")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "NumPy":
            patch.setattr(compiled, "loops", None)
        yield


# src/include/storage/checksum_impl.h, checksumBaseOffsets
_SEEDS = [
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
]  # fmt: skip


def model_checksum(page: bytes, block: int) -> int:
    """pg_checksum_page(), word by word."""
    page = page[:8] + b"\0\0" + page[10:]
    sums = list(_SEEDS)
    words = struct.unpack(f"<{len(page) // 4}I", page)
    for at in range(0, len(words) + 64, 32):
        for lane in range(32):
            word = words[at + lane] if at < len(words) else 0
            mixed = sums[lane] ^ word
            sums[lane] = (mixed * 16777619 & 0xFFFFFFFF) ^ (mixed >> 17)
    folded = 0
    for one in sums:
        folded ^= one
    return (folded ^ block) % 65535 + 1


def batch(*images: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(images), np.uint8).reshape(len(images), -1)


def sealed(page: bytes, block: int, lsn: int) -> bytes:
    """The page as the server would write it: with an LSN and the checksum that fits."""
    page = struct.pack("<II", lsn >> 32, lsn & 0xFFFFFFFF) + page[8:]
    return page[:8] + struct.pack("<H", model_checksum(page, block)) + page[10:]


noise = st.tuples(st.integers(0, 2**32), st.sampled_from([1024, 2048, 8192])).map(
    lambda seeded: np.random.default_rng(seeded[0]).bytes(seeded[1])
)
blocks = st.one_of(st.integers(0, 300_000), st.integers(2**31, 2**32 - 2))
lsns = st.integers(0, 2**64 - 1)


@given(noise, st.lists(blocks, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_checksums_are_postgresqls(page: bytes, numbers: list[int]) -> None:
    images = batch(*[page[number % 7 :] + page[: number % 7] for number in numbers])
    found = pages.checksums(images, np.array(numbers, np.uint32))
    expected = [model_checksum(images[i].tobytes(), number) for i, number in enumerate(numbers)]
    assert found.tolist() == expected


@given(st.lists(lsns, min_size=1, max_size=5))
def test_lsns_are_two_halves_the_high_one_first(numbers: list[int]) -> None:
    images = batch(*[struct.pack("<II", lsn >> 32, lsn & 0xFFFFFFFF) + bytes(1016) for lsn in numbers])
    assert pages.lsns(images).tolist() == numbers


@given(st.lists(st.one_of(st.none(), st.integers(0, 1023)), min_size=1, max_size=8))
def test_a_page_is_zero_only_if_all_of_it_is(places: list[int | None]) -> None:
    images = np.zeros((len(places), 1024), np.uint8)
    for page, at in enumerate(places):
        if at is not None:
            images[page, at] = 1
    assert pages.is_zero(images).tolist() == [at is None for at in places]


# What may befall a page: (what it holds, is it to be judged as failing).
START = 0x5_0000_0000
kinds = st.sampled_from(
    ["good", "zero", "rotten", "rotten high", "at start", "above start", "zero but one byte"]
)


@given(st.lists(kinds, min_size=1, max_size=12), st.integers(0, 2**32 - 20), noise)
@settings(max_examples=40, deadline=None)
def test_only_old_pages_that_hold_something_are_judged(
    befallen: list[str], first: int, content: bytes
) -> None:
    def image(kind: str, block: int) -> bytes:
        if kind == "zero":
            return bytes(len(content))
        if kind == "zero but one byte":
            return bytes(len(content) - 1) + b"\1"
        lsn = {"at start": START, "above start": START + 8, "rotten high": START - 1}.get(kind, 0x1000)
        page = bytearray(sealed(content, block, lsn))
        if kind != "good":
            page[500] ^= 0x10
        return bytes(page)

    numbers = np.arange(first, first + len(befallen), dtype=np.uint32)
    images = batch(*[image(kind, first + i) for i, kind in enumerate(befallen)])
    found = pages.failing(images, numbers, START)
    wrong = {"rotten", "rotten high", "zero but one byte"}
    assert found.tolist() == [i for i, kind in enumerate(befallen) if kind in wrong]


@given(noise, blocks)
@settings(max_examples=20, deadline=None)
def test_a_page_at_anothers_place_fails(content: bytes, block: int) -> None:
    images = batch(sealed(content, block, 0x1000))
    assert not len(pages.failing(images, np.array([block], np.uint32), START))
    assert len(pages.failing(images, np.array([block + 1], np.uint32), START)) == 1
