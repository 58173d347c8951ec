"""A capture takes nothing from where the repository is known to be damaged: the next snapshot heals."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.page_choice import Changed
from stillhouse.node.capture import deferred_writes, pack_writer, packing
from stillhouse.node.capture.base import Source
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.sealed import Stored
from support.data_directories import fake_tree
from support.data_directories.fake_tree import PAGE
from support.repositories.crafted_lines import Line
from support.stores.dict_store import DictStore

START = 1000
OLD, NEW = 500, 2000
TABLE, FSM, SLRU = "base/5/16384", "base/5/16384_fsm", "pg_xact/0000"
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))

Mode = Callable[[Stored, Changes], Source]


def page(content: int, lsn: int = OLD) -> bytes:
    return lsn.to_bytes(8, "little")[4:] + lsn.to_bytes(4, "little") + content.to_bytes(4, "little") * 2046


def by_summaries(stored: Stored, changes: Changes) -> Source:
    return Source(stored, START, changes)


def by_scan(stored: Stored, changes: Changes) -> Source:
    return Source(stored, START, None)


MODES = pytest.mark.parametrize("mode", [by_summaries, by_scan])


class Bed:
    """A data directory, and a repository of small packs and maps, some of which are lost."""

    def __init__(self, place: Path) -> None:
        self.home, self.place, self.restored = place / "home", place, 0
        self.store = DictStore()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        self.lost: set[str] = set()
        for directory in ("base/5", "global", "pg_xact"):
            (self.home / directory).mkdir(parents=True)
        self.write("base/5/PG_VERSION", b"18\n")

    def write(self, path: str, content: bytes) -> None:
        (self.home / path).write_bytes(content)

    def change(self, path: str, number: int, content: bytes) -> None:
        with (self.home / path).open("r+b") as file:
            file.seek(number * PAGE)
            file.write(content)

    def capture(self, *sources: Source) -> Stored:
        stored, _, _ = fake_tree.capture(self.home, self.store, self.keys, sources=sources, damaged=self.lost)
        return stored

    def lines(self, stored: Stored) -> list[Line]:
        return list(manifest.read(self.store, self.keys, stored))

    def file(self, stored: Stored, path: str) -> Line:
        return next(line for line in self.lines(stored) if line["t"] == "file" and line["path"] == path)

    def named(self, stored: Stored, kind: str) -> list[str]:
        make = layout.pack if kind == "pack" else layout.map_
        return [make(str(self.keys.cluster), line["id"]) for line in self.lines(stored) if line["t"] == kind]

    def lose(self, *keys: str) -> None:
        """Record the damage, and remove the object so that any read of it would fail."""
        for key in keys:
            self.lost.add(key)
            self.store.delete(key)

    def comes_back(self, stored: Stored) -> bool:
        """Whether the capture names nothing that is lost, and restores to the directory as it is now."""
        assert self.lost.isdisjoint([*self.named(stored, "pack"), *self.named(stored, "map")])
        self.restored += 1
        clone = self.place / f"clone{self.restored}"
        return fake_tree.comes_back(self.home, clone, stored, self.store, self.keys)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    monkeypatch.setattr(packing, "MAX_FRAME", 4 * PAGE)
    monkeypatch.setattr(pack_writer, "PACK_FRAMES", 2)
    return Bed(tmp_path)


@MODES
def test_pages_in_a_damaged_pack_are_read_anew_and_no_others(bed: Bed, mode: Mode) -> None:
    bed.write(TABLE, b"".join(page(number) for number in range(64)))
    base = bed.capture()
    bed.lose(bed.named(base, "pack")[2])
    stored, _, copy = fake_tree.capture(
        bed.home, bed.store, bed.keys, sources=[mode(base, Changes())], damaged=bed.lost
    )
    assert bed.comes_back(stored)
    assert copy.tally.pages_stored == 8, "as many as a pack holds"
    assert bed.comes_back(bed.capture(mode(stored, Changes())))


@MODES
def test_a_page_that_is_all_zeros_by_now_is_not_looked_for_in_the_damaged_pack(bed: Bed, mode: Mode) -> None:
    bed.write(TABLE, b"".join(page(number) for number in range(8)))
    base, changes = bed.capture(), Changes()
    bed.change(TABLE, 3, bytes(PAGE))
    changes.add(1663, 5, 16384, Changed(None, np.array([3], np.uint32)))
    bed.lose(*bed.named(base, "pack"))
    assert bed.comes_back(bed.capture(mode(base, changes)))


@MODES
def test_a_file_cut_before_the_damage_needs_nothing_of_it(bed: Bed, mode: Mode) -> None:
    bed.write(TABLE, b"".join(page(number) for number in range(20)))
    base, changes = bed.capture(), Changes()
    os.truncate(bed.home / TABLE, 16 * PAGE)
    changes.add(1663, 5, 16384, Changed(16, np.empty(0, np.uint32)))
    # The last four pages have a pack to themselves, half as large; packs come in the order in which they are full.
    bed.lose(min(bed.named(base, "pack"), key=lambda key: len(bed.store.objects[key][0])))
    again = bed.capture(mode(base, changes))
    assert bed.comes_back(again) and bed.file(again, TABLE)["how"] != "whole"


@MODES
@pytest.mark.parametrize("path", [FSM, SLRU])
def test_what_is_read_whole_anyway_is_stored_anew(bed: Bed, mode: Mode, path: str) -> None:
    bed.write(path, page(1) + page(2) + page(3))
    base = bed.capture()
    bed.lose(*bed.named(base, "pack"))
    again = bed.capture(mode(base, Changes()))
    assert bed.comes_back(again) and bed.file(again, path)["how"] == "whole"


@MODES
def test_files_of_a_damaged_map_are_read_anew(bed: Bed, mode: Mode) -> None:
    for path in (TABLE, FSM, SLRU):
        bed.write(path, page(1) + page(2))
    base = bed.capture()
    bed.lose(*bed.named(base, "map"))
    again = bed.capture(mode(base, Changes()))
    assert bed.comes_back(again)
    assert {bed.file(again, path)["how"] for path in (TABLE, FSM, SLRU)} == {"whole"}


def test_a_map_that_names_a_damaged_pack_is_not_named_again(bed: Bed) -> None:
    """Most of its files are kept, and their entries alone move to another map: a map brings all its packs along."""
    for number in range(9):
        bed.write(f"base/5/{20000 + number}", b"".join(page(number) for _ in range(8)))
    base = bed.capture()
    assert len(bed.named(base, "map")) == 1 < len(bed.named(base, "pack"))
    bed.lose(bed.named(base, "pack")[0])
    again = bed.capture(by_summaries(base, Changes()))
    assert bed.comes_back(again)
    kept = [line for line in bed.lines(again) if line["t"] == "file" and line["how"] == "kept"]
    assert len(kept) >= 7


@MODES
def test_whatever_is_lost_of_a_past_the_next_capture_is_whole_without_it(
    bed: Bed, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds of change, capture and loss; each capture builds on the one before."""
    monkeypatch.setattr(deferred_writes, "_MAP_BYTES", 300)
    draw = random.Random(SEED)
    for number in range(8):
        bed.write(f"base/5/{16384 + number}", b"".join(page(draw.randrange(9)) for _ in range(12)))
        bed.write(f"pg_xact/{number:04}", draw.randbytes(draw.randrange(6 * PAGE)))
    bed.write(FSM, page(1) + page(2))
    last = bed.capture()
    for turn in range(8):
        changes = Changes()
        for relation in draw.sample(range(16384, 16392), 3):
            blocks = sorted(draw.sample(range(12), 2))
            for block in blocks:
                bed.change(f"base/5/{relation}", block, page(draw.randrange(1 << 20), NEW))
            changes.add(1663, 5, relation, Changed(None, np.array(blocks, np.uint32)))
        bed.change(FSM, 1, page(turn))
        there = [*bed.named(last, "pack"), *bed.named(last, "map")]
        bed.lose(*draw.sample(there, min(3, len(there))))
        last = bed.capture(mode(last, changes))
        assert bed.comes_back(last), f"SEED={SEED}, round {turn}"
