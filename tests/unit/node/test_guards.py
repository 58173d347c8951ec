"""What captures and restores cost, without a clock: calls, bytes, memory. None may grow with what it should not."""

import multiprocessing
import os
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from stillhouse.node.capture import pack_writer
from stillhouse.repository.format.container import Kind
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.costs import MIB, fill, keys_in, peaks
from support.data_directories.fake_tree import PAGE
from support.stores.counting import Counting
from support.stores.dict_store import DictStore


def measured(place: Path, *, mib: int, files: int) -> tuple[int, int]:
    """In a process of its own, since the peak of one never goes down."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peaks, place, mib, files).result()


def test_memory_grows_neither_with_the_size_nor_with_the_number_of_files(tmp_path: Path) -> None:
    """Beyond two packs of each worker, which the smaller of the two sizes fills as well."""
    small = measured(tmp_path, mib=24, files=0)
    large = measured(tmp_path, mib=72, files=0)
    many = measured(tmp_path, mib=24, files=3_000)
    for which, name in enumerate(("capture", "restore")):
        assert large[which] - small[which] < 16 * MIB, (name, small, large)
        assert many[which] - small[which] < 16 * MIB, (name, small, many)


def test_packing_makes_no_more_than_one_copy_of_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live at once: the open pack, the one that is being stored, and a frame on its way; not a byte twice."""
    monkeypatch.setattr(pack_writer, "PACK_BYTES", 4 * MIB)
    store: ObjectStore = Nowhere()
    writer = pack_writer.PackWriter(store, keys_in(memory_store()), lambda pack: None)
    plain = memoryview(os.urandom(MIB))
    writer.add(plain, Kind.PAGES, PAGE)
    tracemalloc.start()
    try:
        for _ in range(32):
            writer.add(plain, Kind.PAGES, PAGE)
        writer.finish()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < (2 * 4 + 4) * MIB


class Nowhere(DictStore):
    """Takes everything and keeps nothing."""

    def create(self, key: str, chunks: object) -> bool:
        return True


def test_a_capture_stores_by_the_pack_and_a_restore_fetches_by_the_run(tmp_path: Path) -> None:
    """Calls follow the bytes, 32 MiB to a pack and 4 MiB to a fetch, whatever the number of files."""
    few, many = tmp_path / "few", tmp_path / "many"
    fill(few, 64)
    fill(many, 64, files=2_000)
    calls = {}
    for root in (few, many):
        store = Counting(memory_store())
        keys = keys_in(store)
        store.calls.clear()
        stored, ledger, copy = fake_tree.capture(root, store, keys, workers=1)
        packs = len(ledger.packs)
        assert packs <= 64 // 32 + 3
        assert store.calls["create"] + store.calls["put"] <= packs + 3, "maps and the manifest beside them"
        assert store.calls["get"] == 0
        assert store.calls["get_range"] == store.calls["create"] - packs - 1, "each new map is read back once"
        assert store.calls["list"] == 0
        assert copy.tally.bytes_read == copy.tally.planned == copy.expected_bytes(0)
        taken = store.calls.total()
        fake_tree.rebuild(tmp_path / f"{root.name}-clone", stored, store, keys)
        calls[root.name] = (taken, store.calls.total() - taken)
    assert calls["many"][0] <= calls["few"][0] + 4
    assert calls["many"][1] <= calls["few"][1] + 2_000 // 100, calls


def test_a_capture_reads_and_stores_each_page_once(tmp_path: Path) -> None:
    fill(tmp_path, 16, files=100)
    store = memory_store()
    _, _, copy = fake_tree.capture(tmp_path, store, keys_in(store))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert copy.tally.bytes_read == size
    assert copy.tally.pages_stored == 16 * MIB // PAGE + 100
