"""Large objects of the directory store, which go past the page cache where the file system has such a thing."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.clock import SystemClock
from stillhouse.errors import StoreUnavailable
from stillhouse.storage.local import TEMPORARY, LocalStore

MIB = 1 << 20
CONTENT = os.urandom(9 * MIB)


@pytest.fixture(scope="module", params=["disk", "memory", "refusing", "refusing late"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """On the file system of the tests, on one in memory, and on two that know no O_DIRECT: one says so when it is
    asked for, the other when it is used."""
    if request.param == "memory":
        if not os.access("/dev/shm", os.W_OK):
            pytest.skip("no file system in memory here")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
            yield Path(place)
        return
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "refusing":
            patch.setattr(fcntl, "fcntl", _refusing(fcntl.fcntl))
        if request.param == "refusing late":
            patch.setattr(os, "writev", _refusing_late(os.writev))
        yield tmp_path_factory.mktemp("large")


def _refusing(real: Any) -> Any:
    def call(descriptor: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        answer: int = real(descriptor, command, flags)
        return answer

    return call


def _refusing_late(real: Any) -> Any:
    def call(descriptor: int, views: list[memoryview]) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT and os.lseek(descriptor, 0, os.SEEK_CUR):
            raise OSError(errno.EINVAL, "Invalid argument")  # not the first write: what it wrote stands there
        written: int = real(descriptor, views)
        return written

    return call


@pytest.fixture(scope="module")
def store(root: Path) -> LocalStore:
    return LocalStore(root, SystemClock())


def chunks_of(size: int, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, size, *(cut % size for cut in cuts)})
    return [CONTENT[first:last] for first, last in pairwise(ends)]


def holds(store: LocalStore, key: str, size: int) -> bool:
    """Compared here: to show how megabytes differ would take pytest minutes."""
    return store.get(key) == CONTENT[:size]


@given(
    near=st.sampled_from([MIB, 4 * MIB, 8 * MIB]),
    beside=st.one_of(st.sampled_from([-4096, -1, 0, 1, 4096]), st.integers(-5000, 5000)),
    cuts=st.lists(st.integers(0, 9 * MIB), max_size=40),
)
@settings(max_examples=20, deadline=None)
def test_a_large_object_is_its_chunks_byte_for_byte(
    store: LocalStore, near: int, beside: int, cuts: list[int]
) -> None:
    size = near + beside
    store.put("object", chunks_of(size, cuts))
    assert holds(store, "object", size)


def test_a_large_write_that_the_system_takes_in_pieces_is_whole(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda at, views: real(at, [views[0][: 96 << 10]]))
    store.put("object", chunks_of(4 * MIB + 777, [1, 65_537, 3 * MIB]))
    assert holds(store, "object", 4 * MIB + 777)


def test_a_disk_that_runs_full_in_the_middle_leaves_no_object(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [2 * MIB]
    real = os.writev

    def fill(descriptor: int, views: list[memoryview]) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, [views[0][: room[0]]])
        room[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", fill)
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            store.create("full", chunks_of(6 * MIB, [5]))
    assert store.size("full") is None
    assert list((root / TEMPORARY).iterdir()) == []
    assert store.create("full", chunks_of(6 * MIB + 5, [5]))
    assert holds(store, "full", 6 * MIB + 5)
    store.delete("full")
