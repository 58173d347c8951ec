"""A capture that reads everything stores only what differs, and takes nothing from a frame that does not open."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.page_choice import Changed
from stillhouse.errors import RepositoryDamaged
from stillhouse.node.capture.base import Source
from stillhouse.node.capture.copying import Copy
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.container import HEADER_BYTES, open_bytes
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import PAGE

TABLE, SMALL, FSM = "base/5/16384", "base/5/16385", "base/5/16384_fsm"
PAGES = 1000


class Bed:
    """A directory with a large file, a small one, a free space map and a file that is not made of pages."""

    def __init__(self, place: Path) -> None:
        self.home, self.place, self.restored = place / "home", place, 0
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        for directory in ("base/5", "global", "pg_xact"):
            (self.home / directory).mkdir(parents=True)
        for path, pages in ((TABLE, PAGES), (SMALL, 2), (FSM, 3)):
            (self.home / path).write_bytes(os.urandom(pages * PAGE))
        with (self.home / TABLE).open("r+b") as file:
            file.truncate((PAGES + 5) * PAGE)  # with pages of zeros at its end
        (self.home / "pg_xact/0000").write_bytes(b"x" * PAGE)
        self.first = self.capture()[0]
        self.pack = self.packs(self.first)[
            0
        ]  # that of the pages: files of bytes and the control file come later

    def capture(
        self, base: Stored | None = None, *, reads_all: bool = False, changes: Changes | None = None
    ) -> tuple[Stored, Copy]:
        sources = [Source(base, 1000, changes or Changes())] if base else []
        stored, _, copy = fake_tree.capture(
            self.home, self.store, self.keys, 1, sources=sources, reads_all=reads_all
        )
        return stored, copy

    def packs(self, stored: Stored) -> list[str]:
        return [line["id"] for line in manifest.read(self.store, self.keys, stored) if line["t"] == "pack"]

    def maps(self, stored: Stored) -> list[str]:
        return [line["id"] for line in manifest.read(self.store, self.keys, stored) if line["t"] == "map"]

    def change(self, *numbers: int) -> None:
        with (self.home / TABLE).open("r+b") as file:
            for number in numbers:
                file.seek(number * PAGE)
                file.write(os.urandom(PAGE))

    def rot(self, key: str, at: int) -> None:
        content = bytearray(self.store.get(key))
        content[at] ^= 1
        self.store.put(key, [bytes(content)])

    def comes_back(self, stored: Stored) -> bool:
        self.restored += 1
        clone = self.place / f"clone{self.restored}"
        return fake_tree.comes_back(self.home, clone, stored, self.store, self.keys)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_all_is_read_and_no_page_that_is_there_is_stored_again(bed: Bed) -> None:
    again, copy = bed.capture(bed.first, reads_all=True)
    assert copy.tally.bytes_read == sum(path.stat().st_size for path in bed.home.rglob("*") if path.is_file())
    assert copy.tally.pages_stored == 0
    assert bed.comes_back(again)


def test_a_change_that_nobody_listed_is_found(bed: Bed) -> None:
    bed.change(7, PAGES + 2)
    again, copy = bed.capture(bed.first, reads_all=True)
    assert copy.tally.pages_stored == 2
    assert bed.comes_back(again)


def test_pages_of_a_frame_that_has_rotted_since_are_stored_anew(bed: Bed) -> None:
    """Every later snapshot would share it, and no scrub has seen it."""
    bed.rot(layout.pack(str(bed.keys.cluster), bed.pack), HEADER_BYTES + 100)
    shared, _ = bed.capture(bed.first)
    with pytest.raises(RepositoryDamaged):
        bed.comes_back(shared)
    again, copy = bed.capture(shared, reads_all=True)
    assert 0 < copy.tally.pages_stored <= 128, "one frame"
    assert bed.comes_back(again)


def test_no_file_is_spared_if_all_frames_have_rotted(bed: Bed) -> None:
    key = layout.pack(str(bed.keys.cluster), bed.pack)
    for frame in open_bytes(key, bed.keys, bed.store.get(key)).frames:
        bed.rot(key, frame.offset)
    again, copy = bed.capture(bed.first, reads_all=True)
    assert copy.tally.pages_stored == PAGES + 5
    assert bed.comes_back(again)


@pytest.mark.parametrize("harm", ["index", "gone"])
def test_a_pack_that_cannot_be_opened_is_done_without(bed: Bed, harm: str) -> None:
    key = layout.pack(str(bed.keys.cluster), bed.pack)
    if harm == "gone":
        bed.store.delete(key)
    else:
        bed.rot(key, len(bed.store.get(key)) - 200)
    again, copy = bed.capture(bed.first, reads_all=True)
    assert copy.tally.pages_stored == PAGES + 5
    assert bed.pack not in bed.packs(again)
    assert bed.comes_back(again)


@pytest.mark.parametrize("harm", [lambda bed, key: bed.rot(key, 150), lambda bed, key: bed.store.delete(key)])
def test_a_map_that_cannot_be_read_is_done_without(bed: Bed, harm: Callable[[Bed, str], None]) -> None:
    for one in bed.maps(bed.first):
        harm(bed, layout.map_(str(bed.keys.cluster), one))
    again, copy = bed.capture(bed.first, reads_all=True)
    assert copy.tally.pages_stored == PAGES + 5
    assert bed.comes_back(again)


def test_pages_that_came_to_lie_scattered_are_brought_together_once(bed: Bed) -> None:
    """Those of three incrementals: a frame holds some pages from all over the file."""
    stored = bed.first
    for turn in range(3):
        listed = np.arange(turn, PAGES, 50, dtype=np.uint32)
        bed.change(*listed.tolist())
        changes = Changes()
        changes.add(1663, 5, 16384, Changed(None, listed))
        stored, copy = bed.capture(stored, changes=changes)
        assert copy.tally.pages_stored == 20
    again, copy = bed.capture(stored, reads_all=True)
    assert copy.tally.pages_stored == 60
    assert bed.comes_back(again)
    settled, copy = bed.capture(again, reads_all=True)
    assert copy.tally.pages_stored == 0
    assert bed.comes_back(settled)
