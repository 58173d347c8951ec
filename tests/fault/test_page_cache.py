"""A capture leaves the page cache as it found it: the warehouse's own pages stay, and none of ours take their place."""

import ctypes
import errno
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.node.capture.packing import Batch, Packer, PageRun
from stillhouse.node.capture.packing_process import PackerPlan
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.storage.object_stores import memory_store
from support.data_directories.fake_tree import FACTS, PAGE

PAGES = 512
OS_PAGES = PAGES * PAGE // mmap.PAGESIZE


def resident(path: Path) -> int:
    """How many of the file's pages are in the page cache (mincore(2)); to look does not bring them there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        vector = (ctypes.c_ubyte * (len(mapped) // mmap.PAGESIZE))()
        here = ctypes.c_char.from_buffer(mapped)
        assert (
            libc.mincore(ctypes.c_void_p(ctypes.addressof(here)), ctypes.c_size_t(len(mapped)), vector) == 0
        )
        del here
        return sum(flag & 1 for flag in vector)


def evict(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if resident(path):
        pytest.skip("this file system keeps files in memory whatever it is told")


def packer_of(home: Path) -> Packer:
    store = memory_store()
    keys = create_or_open(store, Kek(bytes(32)), new_uuid())
    plan = PackerPlan(LocalReader(home, FACTS.tablespace_directory), store, keys, PAGE, 1, checksums=False)
    return plan.packer(lambda pack: None)


def batch_of(name: str) -> Batch:
    return Batch(runs=(PageRun(0, name, np.arange(PAGES, dtype=np.uint32), 0),))


def capture(home: Path) -> int:
    """Bytes that a packer read of the one relation."""
    return packer_of(home).pack(batch_of("16384")).bytes_read


@pytest.fixture
def relation(tmp_path: Path) -> Path:
    path = tmp_path / "16384"
    path.write_bytes(os.urandom(PAGES * PAGE))
    return path


@pytest.fixture
def following(tmp_path: Path) -> Path:
    """Of the batch after that of `relation`; in no cache."""
    path = tmp_path / "16385"
    path.write_bytes(os.urandom(PAGES * PAGE))
    evict(path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the disk was asked for ahead of its being read: offsets and lengths."""
    asked = []
    real = os.posix_fadvise

    def noting(descriptor: int, at: int, length: int, advice: int) -> None:
        if advice == os.POSIX_FADV_WILLNEED:
            asked.append((at, length))
        real(descriptor, at, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", noting)
    return asked


def test_what_was_not_cached_is_not_cached_afterwards(relation: Path) -> None:
    evict(relation)
    assert capture(relation.parent) == PAGES * PAGE
    assert resident(relation) == 0


def test_what_was_cached_stays(relation: Path) -> None:
    evict(relation)
    relation.read_bytes()
    assert capture(relation.parent) == PAGES * PAGE
    assert resident(relation) == OS_PAGES


def test_the_next_batch_is_asked_for_when_this_one_had_to_wait_for_the_disk(
    relation: Path, following: Path, asked: list[tuple[int, int]]
) -> None:
    evict(relation)
    packer = packer_of(relation.parent)
    packer.pack(batch_of(relation.name))
    asked.clear()
    packer.foresee(batch_of(following.name))
    # The kernel may read a little further than it was asked, and what is there already is not asked for.
    assert PAGES * PAGE // 2 <= sum(length for _, length in asked) <= PAGES * PAGE


def test_nothing_is_asked_for_ahead_while_all_is_cached(
    relation: Path, following: Path, asked: list[tuple[int, int]]
) -> None:
    relation.read_bytes()
    packer = packer_of(relation.parent)
    packer.pack(batch_of(relation.name))
    packer.foresee(batch_of(following.name))
    assert asked == []


def test_what_was_asked_for_ahead_is_not_cached_afterwards_and_what_was_cached_stays(
    relation: Path, following: Path, asked: list[tuple[int, int]]
) -> None:
    half = PAGES * PAGE // 2
    evict(relation)
    packer = packer_of(relation.parent)
    packer.pack(batch_of(relation.name))
    descriptor = os.open(following, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(descriptor, half, 0)  # the warehouse's, and not a page more
    os.close(descriptor)
    assert resident(following) == OS_PAGES // 2
    asked.clear()
    packer.foresee(batch_of(following.name))
    assert min(at for at, _ in asked) == half
    following.read_bytes()  # until all that was asked for has come
    assert resident(following) == OS_PAGES
    assert packer.pack(batch_of(following.name)).bytes_read == PAGES * PAGE
    # The kernel does not drop a large page that it holds itself at that moment.
    assert OS_PAGES // 2 <= resident(following) < OS_PAGES * 3 // 4


def test_a_file_that_goes_after_it_was_asked_for_is_told_as_gone(relation: Path, following: Path) -> None:
    evict(relation)
    packer = packer_of(relation.parent)
    packer.pack(batch_of(relation.name))
    packer.foresee(batch_of(following.name))
    following.unlink()
    assert packer.pack(batch_of(following.name)).runs[0].placed is None


@pytest.mark.parametrize("call", ["open", "preadv", "posix_fadvise"])
def test_an_error_while_asking_ahead_is_told_when_that_batch_is_packed(
    relation: Path, following: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    evict(relation)
    packer = packer_of(relation.parent)
    packer.pack(batch_of(relation.name))

    def broken(*arguments: object, **options: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, broken)
        packer.foresee(batch_of(following.name))
        with pytest.raises(OSError, match="Input/output error"):
            packer.pack(batch_of(following.name))
    assert packer.pack(batch_of(following.name)).bytes_read == PAGES * PAGE
