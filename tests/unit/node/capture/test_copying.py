"""A copy of files that change under it, and the bounds of its memory; no server is needed for either."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.throttle import Care
from stillhouse.errors import StoreUnavailable
from stillhouse.node.capture import pack_writer
from stillhouse.node.capture.base import Base
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.packing import Batch, Packed
from stillhouse.postgres.files import pages
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import Entry
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import FACTS, PAGE
from support.repositories.crafted_lines import Line

START = 1 << 32


class Reader(LocalReader):
    """The real one; `listed` runs between the listing and the first read, `opening` before each file is opened."""

    listed: Callable[[], object] = staticmethod(lambda: None)
    opening: Callable[[str], None] = staticmethod(lambda path: None)

    def list(self) -> Iterator[Entry]:
        entries = [*super().list()]
        self.listed()
        yield from entries

    def open(self, path: str) -> int:
        self.opening(path)
        return super().open(path)


class Bed:
    """A data directory, a store, and a copy of the one into the other."""

    def __init__(self, place: Path) -> None:
        self.home, self.clone = place / "home", place / "clone"
        (self.home / "base/5").mkdir(parents=True)
        (self.home / "global").mkdir()
        self.reader = Reader(self.home, FACTS.tablespace_directory)
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        self.ledger = PackLedger()
        self.facts, self.workers, self.care = FACTS, 2, Care()
        self.copier: type[Copy] = Copy

    def write(self, path: str, content: bytes) -> Path:
        (self.home / path).write_bytes(content)
        return self.home / path

    def copy(
        self, on_progress: Callable[[int], None] = lambda done: None, *, rebuild: bool = True
    ) -> list[Line]:
        """The manifest's lines; the clone is rebuilt from them."""
        with closing(ManifestWriter()) as writer, closing(Base(self.store, self.keys, PAGE, ())) as base:
            copy = self.copier(
                self.reader,
                self.facts,
                START,
                self.store,
                self.keys,
                writer,
                self.ledger,
                self.workers,
                base,
                self.care,
            )
            copy.run(on_progress)
            copy.finish()
            head: list[Line] = [{"t": "node", "pg_version_num": 180006}]
            head += [{"t": "pack", **vars(pack)} for pack in self.ledger.packs.values()]
            stored = writer.store(self.store, self.keys, head, lambda line: False)
        if rebuild:
            fake_tree.rebuild(self.clone, stored, self.store, self.keys)
        return list(manifest.read(self.store, self.keys, stored))

    def restored(self, path: str) -> bytes | None:
        file = self.clone / "pgdata" / path
        return file.read_bytes() if file.exists() else None


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def noise(pages: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(pages * PAGE)


def overwrite(file: Path, content: bytes) -> None:
    file.write_bytes(content)


@pytest.mark.parametrize("left", [0, 1, 511, 512, 513, 1200])
def test_a_relation_that_shrinks_is_taken_as_far_as_it_went(bed: Bed, left: int) -> None:
    """It spans three batches, so that the cut may fall into any of them."""
    content = noise(1300)
    file = bed.write("base/5/16384", content)
    other = bed.write("base/5/16385", noise(3, 1))
    bed.reader.listed = lambda: os.truncate(file, left * PAGE + 100)
    bed.copy()
    assert bed.restored("base/5/16384") == content[: left * PAGE]
    assert bed.restored("base/5/16385") == other.read_bytes()


def test_a_relation_that_grows_is_taken_as_it_was_listed(bed: Bed) -> None:
    content = noise(5)
    file = bed.write("base/5/16384", content)
    bed.reader.listed = lambda: overwrite(file, content + noise(700, 1))
    bed.copy()
    assert bed.restored("base/5/16384") == content


@pytest.mark.parametrize("change", [b"", b"shorter", b"longer " * 400_000])
def test_any_other_file_is_read_to_its_present_end(bed: Bed, change: bytes) -> None:
    file = bed.write("base/5/PG_VERSION", b"at first\n")
    bed.reader.listed = lambda: overwrite(file, change)
    (line,) = [line for line in bed.copy() if line.get("path") == "base/5/PG_VERSION"]
    assert bed.restored("base/5/PG_VERSION") == change
    assert line["size"] == len(change)


@pytest.mark.parametrize("length", [3, 600])
@pytest.mark.parametrize("path", ["base/5/16384", "base/5/16384_fsm", "base/5/PG_VERSION", "global/odd"])
def test_a_file_that_vanishes_is_left_out(bed: Bed, path: str, length: int) -> None:
    gone = bed.write(path, noise(length))
    bed.write("base/5/20000", noise(2, 1))
    bed.reader.listed = gone.unlink
    lines = bed.copy()
    assert bed.restored(path) is None
    assert bed.restored("base/5/20000") == noise(2, 1)
    assert lines[-1]["files"] == 1


def test_a_relation_that_vanishes_between_two_batches_is_cut_there(bed: Bed) -> None:
    content, opened = noise(1300), []
    file = bed.write("base/5/16384", content)
    bed.workers = 1

    def opening(path: str) -> None:
        opened.append(path)
        if len(opened) == 2:
            file.unlink()

    bed.reader.opening = opening
    bed.copy()
    assert bed.restored("base/5/16384") == content[: 512 * PAGE]


def test_a_relation_that_shrinks_and_grows_again_is_cut_where_it_ended(bed: Bed) -> None:
    content, opened = noise(1300), []
    file = bed.write("base/5/16384", content)
    bed.workers = 1

    def opening(path: str) -> None:
        opened.append(path)
        if len(opened) == 2:
            os.truncate(file, 600 * PAGE)
        if len(opened) == 3:
            file.write_bytes(content)

    bed.reader.opening = opening
    bed.copy()
    assert bed.restored("base/5/16384") == content[: 600 * PAGE]


def test_a_directory_that_vanishes_is_no_error(bed: Bed) -> None:
    listed = LocalReader.list(bed.reader)
    bed.write("base/5/16384", noise(1))
    for entry in listed:
        if entry.path == "base/5":
            (bed.home / "base/5/16384").unlink()
            (bed.home / "base/5").rmdir()


def test_pages_of_zeros_are_stored_nowhere(bed: Bed) -> None:
    bed.write("base/5/16384", bytes(1000 * PAGE))
    bed.write("base/5/16385", bytes(PAGE) + b"x" * PAGE + bytes(PAGE))
    bed.copy()
    assert bed.restored("base/5/16384") == bytes(1000 * PAGE)
    assert (bed.clone / "pgdata/base/5/16384").stat().st_blocks == 0, "they are holes again"
    assert bed.restored("base/5/16385") == bytes(PAGE) + b"x" * PAGE + bytes(PAGE)
    assert sum(pack.size for pack in bed.ledger.packs.values()) < 1500


def test_names_that_are_not_utf8_and_modes_come_back(bed: Bed) -> None:
    odd = os.fsdecode(b"odd\xff\nname")
    bed.write(f"global/{odd}", b"content").chmod(0o640)
    (bed.home / "global").chmod(0o750)
    before = os.umask(0o077)
    try:
        bed.copy()
    finally:
        os.umask(before)
    assert bed.restored(f"global/{odd}") == b"content"
    assert (bed.clone / f"pgdata/global/{odd}").stat().st_mode & 0o7777 == 0o640
    assert (bed.clone / "pgdata/global").stat().st_mode & 0o7777 == 0o750


def page(block: int, fill: int, lsn: int = 0x1000) -> bytes:
    """A page with the checksum that fits."""
    image = np.full((1, PAGE), fill, np.uint8)
    image[0, :8] = np.frombuffer(np.array([lsn >> 32, lsn & 0xFFFFFFFF], "<u4").tobytes(), np.uint8)
    total = pages.checksums(image, np.array([block], np.uint32))
    image[0, 8:10] = total.astype("<u2").view(np.uint8)
    return image.tobytes()


def torn(block: int, lsn: int = 0x1000) -> bytes:
    """The first half of one version of the page, the second of another."""
    return page(block, 1, lsn)[:4096] + page(block, 2, lsn)[4096:]


@pytest.fixture
def checked(bed: Bed) -> Bed:
    bed.facts = replace(FACTS, checksum_version=1, segment_blocks=4)
    return bed


def rotten(lines: list[Line]) -> list[tuple[str, int]]:
    return [(line["path"], line["block"]) for line in lines if line["t"] == "rotten"]


def test_a_rotten_page_is_taken_and_named(checked: Bed) -> None:
    content = page(8, 1) + torn(9) + bytes(PAGE) + torn(11, START)
    checked.write("base/5/16384.2", content)
    assert rotten(checked.copy()) == [("base/5/16384.2", 1)], "a page as young as the backup is not judged"
    assert checked.restored("base/5/16384.2") == content


def test_a_page_of_a_later_segment_is_judged_by_its_place_in_the_relation(checked: Bed) -> None:
    checked.write("base/5/16384.1", page(4, 1) + page(5, 2))
    checked.write("base/5/16385.1", page(0, 1) + page(1, 2))
    assert rotten(checked.copy()) == [("base/5/16385.1", 0), ("base/5/16385.1", 1)]


def test_a_torn_page_is_read_again(checked: Bed) -> None:
    file = checked.write("base/5/16384", page(0, 1) + torn(1))
    opened = []

    def opening(path: str) -> None:
        opened.append(path)
        if len(opened) == 2:  # the second time is the re-read
            file.write_bytes(page(0, 7) + page(1, 2))

    checked.reader.opening = opening
    assert rotten(checked.copy()) == []
    assert checked.restored("base/5/16384") == page(0, 1) + page(1, 2)


def test_a_page_that_keeps_moving_is_not_rotten(checked: Bed) -> None:
    file = checked.write("base/5/16384", torn(0))
    opened: list[str] = []

    def opening(path: str) -> None:
        opened.append(path)
        file.write_bytes(torn(0)[:-1] + bytes([len(opened)]))

    checked.reader.opening = opening
    assert rotten(checked.copy()) == []


def test_without_checksums_no_page_is_judged(bed: Bed) -> None:
    bed.write("base/5/16384", torn(1))
    assert rotten(bed.copy()) == []


def test_many_small_files_cost_few_objects(bed: Bed) -> None:
    for number in range(5_000):
        bed.write(f"base/5/{20_000 + number}", b"%07d\n" % number * 1024)
        bed.write(f"global/f{number}", b"%d" % number)
    kinds = [line["t"] for line in bed.copy(rebuild=False)]
    assert kinds.count("file") == 10_000
    assert kinds.count("pack") + kinds.count("map") <= bed.workers + 4


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_in_flight_are_bounded(bed: Bed, workers: int) -> None:
    lock, counts = threading.Lock(), {"begun": 0, "joined": 0, "most": 0}

    class Counting(Copy):
        def _pack(self, batch: Batch) -> Packed:
            with lock:
                counts["begun"] += 1
                counts["most"] = max(counts["most"], counts["begun"] - counts["joined"])
            return super()._pack(batch)

    def joined(done: int) -> None:
        with lock:
            counts["joined"] += 1

    for number in range(30):
        bed.write(f"base/5/{20_000 + number}", bytes(512 * PAGE))
    bed.copier, bed.workers = Counting, workers
    bed.copy(joined)
    assert counts["begun"] == counts["joined"] == 30
    assert workers <= counts["most"] <= 2 * workers


def test_packs_are_closed_by_size_and_by_number_of_frames(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "PACK_BYTES", 3 << 20)
    monkeypatch.setattr(pack_writer, "PACK_FRAMES", 4)
    bed.workers = 1
    bed.write("base/5/16384", noise(1024))  # 8 MiB that do not compress: packs of 3
    bed.write("base/5/16385", b"x" * PAGE * 1024)  # 8 MiB that do: packs of 4
    lines = bed.copy()
    assert [line["t"] for line in lines].count("pack") == 3 + 2
    assert bed.restored("base/5/16384") == noise(1024)
    assert bed.restored("base/5/16385") == b"x" * PAGE * 1024


def test_a_store_that_fails_ends_the_copy(bed: Bed) -> None:
    class Failing:
        def create(self, key: str, chunks: Any) -> bool:
            raise StoreUnavailable("full")

    bed.write("base/5/16384", noise(600))
    bed.store = Failing()  # type: ignore[assignment]
    with pytest.raises(StoreUnavailable, match="full"):
        bed.copy()


def test_a_conductor_that_raises_stops_the_copy_soon(bed: Bed) -> None:
    for number in range(40):
        bed.write(f"base/5/{20_000 + number}", noise(512, number))
    opened: list[str] = []
    bed.reader.opening = opened.append

    def stop(done: int) -> None:
        raise StoreUnavailable("enough")

    with pytest.raises(StoreUnavailable, match="enough"):
        bed.copy(stop)
    assert len(opened) <= 2 * bed.workers
