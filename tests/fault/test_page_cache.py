"""A capture leaves the page cache as it found it: the warehouse's own pages stay, and none of ours take their place."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.node.packing import Batch, PageRun
from stillhouse.node.packing_process import PackerPlan
from stillhouse.postgres.reader import LocalReader
from stillhouse.repository.keys import Kek, create_or_open
from stillhouse.storage.objects import memory_store
from support.fake_tree import FACTS, PAGE

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


def capture(home: Path) -> int:
    """Bytes that a packer read of the one relation."""
    store = memory_store()
    keys = create_or_open(store, Kek(bytes(32)), new_uuid())
    plan = PackerPlan(LocalReader(home, FACTS.tablespace_directory), store, keys, PAGE, 1, checksums=False)
    run = PageRun(0, "16384", np.arange(PAGES, dtype=np.uint32), 0)
    return plan.packer(lambda pack: None).pack(Batch(runs=(run,))).bytes_read


@pytest.fixture
def relation(tmp_path: Path) -> Path:
    path = tmp_path / "16384"
    path.write_bytes(os.urandom(PAGES * PAGE))
    return path


def test_what_was_not_cached_is_not_cached_afterwards(relation: Path) -> None:
    evict(relation)
    assert capture(relation.parent) == PAGES * PAGE
    assert resident(relation) == 0


def test_what_was_cached_stays(relation: Path) -> None:
    evict(relation)
    relation.read_bytes()
    assert capture(relation.parent) == PAGES * PAGE
    assert resident(relation) == OS_PAGES
