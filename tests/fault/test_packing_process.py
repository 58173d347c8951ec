"""Packing in processes of their own: the same bytes, and nothing left behind when one of the parties is gone."""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.throttle import Care
from stillhouse.errors import CaptureInterrupted, StoreUnavailable
from stillhouse.node.capture.base import Base
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.node.capture.packing import Batch, PageRun
from stillhouse.node.capture.packing_process import PackerPlan, PackingProcess, packing_crew
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import FACTS, PAGE
from support.databases.writers import until


@pytest.fixture
def home(tmp_path: Path) -> Path:
    fake_tree.make(tmp_path / "home", seed=1)
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "repository")


@pytest.fixture
def keys(store: ObjectStore) -> ClusterKeys:
    return create_or_open(store, Kek(bytes(32)), new_uuid())


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    until(lambda: not multiprocessing.active_children(), 10)


def plan_for(home: Path, store: ObjectStore, keys: ClusterKeys) -> PackerPlan:
    return PackerPlan(LocalReader(home, FACTS.tablespace_directory), store, keys, PAGE, 1, checksums=False)


def a_batch() -> Batch:
    return Batch(runs=(PageRun(0, "base/1/20000", np.arange(3, dtype=np.uint32), 0),))


def test_what_processes_pack_comes_back_byte_for_byte(
    tmp_path: Path, home: Path, store: ObjectStore, keys: ClusterKeys
) -> None:
    stored, ledger, _ = fake_tree.capture(home, store, keys, in_processes=True)
    assert len(ledger.packs) >= 2, "each process wrote packs of its own"
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    rebuilt = fake_tree.tree(tmp_path / "clone" / "pgdata")
    assert {path: rebuilt.get(path) for path in fake_tree.tree(home)} == fake_tree.tree(home)


def test_a_packing_process_that_is_killed_ends_the_attempt_and_the_others(
    home: Path, store: ObjectStore, keys: ClusterKeys
) -> None:
    reader, ledger = LocalReader(home, FACTS.tablespace_directory), PackLedger()
    with (
        closing(ManifestWriter()) as writer,
        closing(Base(store, keys, PAGE, ())) as base,
        packing_crew(2) as crew,
    ):
        copy = Copy(reader, FACTS, 1, store, keys, writer, ledger, 2, base, Care(), crew)

        def kill_one(done: int) -> None:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

        with pytest.raises(CaptureInterrupted, match="a packing process ended"):
            copy.run(kill_one)


def test_a_packing_process_ends_when_nobody_asks_any_more(
    home: Path, store: ObjectStore, keys: ClusterKeys
) -> None:
    packs: list[StoredPack] = []
    process = PackingProcess().begin(plan_for(home, store, keys), packs.append)
    process.pack(a_batch())
    process._pipe.close()  # as the kernel does when whoever asked was killed
    until(lambda: not multiprocessing.active_children(), 10)


def test_a_failing_store_is_told_as_what_it_is(
    tmp_path: Path, home: Path, store: ObjectStore, keys: ClusterKeys
) -> None:
    process = PackingProcess().begin(plan_for(home, store, keys), lambda pack: None)
    (home / "base/1/20000").write_bytes(os.urandom(3 * PAGE))
    process.pack(a_batch())
    shutil.rmtree(tmp_path / "repository")
    with pytest.raises(StoreUnavailable):
        process.finish()
    process.end()


def test_two_who_share_a_packing_process_each_get_their_own_answers(
    home: Path, store: ObjectStore, keys: ClusterKeys
) -> None:
    """An error is an answer too: it goes to whoever asked for what failed."""
    process = PackingProcess().begin(plan_for(home, store, keys), lambda pack: None)
    (home / "base/1/30000").write_bytes(os.urandom(100 * PAGE))
    start = threading.Barrier(2)

    def good(number: int) -> int:
        pages = np.arange(1 + number % 100, dtype=np.uint32)
        packed = process.pack(Batch(runs=(PageRun(number, "base/1/30000", pages, 0),)))
        return packed.runs[0].run.file

    def ask_for_good() -> list[int]:
        start.wait()
        return [good(number) for number in range(200)]

    def ask_for_bad() -> int:
        start.wait()
        for _ in range(200):
            with pytest.raises(OSError, match="too long"):
                process.pack(Batch(runs=(PageRun(0, "x" * 300, np.arange(1, dtype=np.uint32), 0),)))
        return 200

    with ThreadPoolExecutor(2) as pool:
        answers, errors = pool.submit(ask_for_good), pool.submit(ask_for_bad)
        assert answers.result() == list(range(200))
        assert errors.result() == 200
    process.finish()
    process.end()
