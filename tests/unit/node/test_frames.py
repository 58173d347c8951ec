"""Frames come in the order of their use, each fetched and decoded once, and several ranges are asked for at once."""

import os
import threading
from collections import Counter
from contextlib import closing

import pytest

from stillhouse.compiled import Bytes
from stillhouse.domain.ids import new_uuid
from stillhouse.node import frames
from stillhouse.node.capture.pack_writer import PackWriter, StoredPack
from stillhouse.node.frames import Packs
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.container import Container, Kind
from stillhouse.repository.format.maps import FrameRef
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.stores.counting import Counting

FRAMES, FRAME = 40, 1000
STORED = FRAME + 16  # with its tag


class Bed:
    """One pack of frames that do not compress."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.keys: ClusterKeys = create_or_open(store, Kek(bytes(32)), new_uuid())
        stored: list[StoredPack] = []
        writer = PackWriter(store, self.keys, stored.append)
        plains = [os.urandom(FRAME) for _ in range(FRAMES)]
        self.refs = [writer.add(plain, Kind.BYTES) for plain in plains]
        self.plains = dict(zip(self.refs, plains, strict=True))
        writer.finish()
        (self.pack,) = stored

    def packs(self) -> Packs:
        packs = Packs(self.store, self.keys)
        packs.expect(self.pack.id, self.pack.size, self.pack.index)
        return packs

    def check(self, uses: list[FrameRef]) -> None:
        with closing(self.packs()) as packs:
            assert list(packs.frames(uses)) == [(ref, self.plains[ref]) for ref in uses]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    counted: Counter[int] = Counter()
    real = Container.frame

    def counting(container: Container, ordinal: int, sealed: Bytes | None = None) -> bytes:
        counted[ordinal] += 1
        return real(container, ordinal, sealed)

    monkeypatch.setattr(Container, "frame", counting)
    return counted


def test_a_frame_that_many_files_use_is_decoded_once(decoded: Counter[int]) -> None:
    bed = Bed(memory_store())
    shared, own = bed.refs[:20], bed.refs[20:]
    bed.check([ref for one in own for ref in (*shared, one)])
    assert decoded == Counter(range(FRAMES))


def test_as_many_frames_wait_for_their_next_use_as_memory_allows(
    decoded: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bed(memory_store())
    monkeypatch.setattr(frames, "_KEPT_FRAMES", 2)
    bed.check(bed.refs[:4] * 3)
    assert max(decoded.values()) > 1
    decoded.clear()
    bed.check([*bed.refs[:2], *bed.refs[:2], *bed.refs[:2]])
    assert max(decoded.values()) == 1


@pytest.mark.parametrize(("gap", "requests"), [(8 * STORED, 1), (7 * STORED, 2)])
def test_frames_with_a_small_gap_between_them_come_by_one_request(
    monkeypatch: pytest.MonkeyPatch, gap: int, requests: int
) -> None:
    counting = Counting(memory_store())
    bed = Bed(counting)
    monkeypatch.setattr(frames, "_GAP_BYTES", gap)
    counting.calls.clear()
    bed.check([bed.refs[0], bed.refs[1], bed.refs[10], bed.refs[11]])
    assert counting.calls["get_range"] == 1 + requests, "the pack's index, and the frames"


def test_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(memory_store())
    bed = Bed(counting)
    monkeypatch.setattr(frames, "_RANGE_BYTES", 10 * STORED)
    counting.calls.clear()
    bed.check(bed.refs)
    assert counting.calls["get_range"] == 1 + FRAMES // 10


class Together(Counting):
    """Answers requests for frames only when so many wait for their answers at the same time."""

    gate: threading.Barrier | None = None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if self.gate is not None and length == STORED:
            self.gate.wait(timeout=60)
        return super().get_range(key, start, length)


def test_a_store_with_long_ways_is_asked_for_several_ranges_at_once() -> None:
    store = Together(memory_store())
    bed = Bed(store)
    store.gate = threading.Barrier(4)
    bed.check(bed.refs[::-1])  # backwards, each is a range of its own
