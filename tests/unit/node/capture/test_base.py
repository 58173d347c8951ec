"""What a capture takes from earlier manifests and what it reads anew, file by file; no server is needed."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.page_choice import Changed
from stillhouse.node.capture.base import Source
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import Entry
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import PAGE
from support.repositories.crafted_lines import Line

START = 1000
OLD, NEW = 500, 2000  # LSNs before and after the base began
TABLE, FSM, VM, SLRU = "base/5/16384", "base/5/16384_fsm", "base/5/16384_vm", "pg_xact/0000"


def page(content: int, lsn: int = OLD) -> bytes:
    return lsn.to_bytes(8, "little")[4:] + lsn.to_bytes(4, "little") + bytes([content]) * (PAGE - 8)


class Bed:
    """A data directory that is captured again and again."""

    def __init__(self, place: Path) -> None:
        self.home, self.place, self.restored = place / "home", place, 0
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        for directory in ("base/5", "global", "pg_xact", "pg_tblspc/16500/PG_18_202506291/5"):
            (self.home / directory).mkdir(parents=True)
        self.write("base/5/PG_VERSION", b"18\n")
        self.write(TABLE, b"".join(page(number) for number in range(10)))

    def write(self, path: str, content: bytes) -> None:
        (self.home / path).write_bytes(content)

    def change(self, path: str, number: int, content: bytes) -> None:
        with (self.home / path).open("r+b") as file:
            file.seek(number * PAGE)
            file.write(content)

    def capture(self, *sources: Source) -> Stored:
        stored, _, _ = fake_tree.capture(self.home, self.store, self.keys, sources=sources)
        return stored

    def files(self, stored: Stored) -> dict[str, Line]:
        found = manifest.read(self.store, self.keys, stored)
        return {line["path"]: line for line in found if line["t"] == "file"}

    def comes_back(self, stored: Stored) -> bool:
        """Whether a restore is what the directory is now."""
        self.restored += 1
        clone = self.place / f"clone{self.restored}"
        return fake_tree.comes_back(self.home, clone, stored, self.store, self.keys)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def scan(stored: Stored, start: int = START) -> Source:
    return Source(stored, start, None)


def summaries(stored: Stored, changes: Changes | None = None) -> Source:
    return Source(stored, START, changes or Changes())


MODES = pytest.mark.parametrize("mode", [scan, summaries])
Mode = Callable[[Stored], Source]


def test_without_a_change_nothing_of_a_relation_is_read_by_summaries(bed: Bed) -> None:
    base = bed.capture()
    again = bed.capture(summaries(base))
    assert bed.files(again)[TABLE]["how"] == "kept"
    assert bed.files(again)[TABLE]["map"] == bed.files(base)[TABLE]["map"]


def test_2_after_a_copy_of_the_databases_files_its_relations_are_read_whole(bed: Bed) -> None:
    """No summary lists what was copied, and the pages bear the LSNs of the template."""
    base = bed.capture()
    bed.write(TABLE, page(77) * 10)
    changes = Changes()
    changes.add(1663, 5, 0, Changed(0, np.empty(0, np.uint32)))
    again = bed.capture(summaries(base, changes))
    assert bed.comes_back(again)
    line = bed.files(again)[TABLE]
    assert (line["how"], line["why"]) == ("whole", "its database was copied there")


def test_2_a_copy_elsewhere_does_not_count(bed: Bed) -> None:
    base, changes = bed.capture(), Changes()
    changes.add(16500, 5, 0, Changed(0, np.empty(0, np.uint32)))
    changes.add(1663, 6, 0, Changed(0, np.empty(0, np.uint32)))
    assert bed.files(bed.capture(summaries(base, changes)))[TABLE]["how"] == "kept"


@pytest.mark.parametrize("sign", ["inode", "mtime", "new"])
def test_2_in_a_scan_another_pg_version_file_tells_of_a_copy(bed: Bed, sign: str) -> None:
    version = bed.home / "base/5/PG_VERSION"
    if sign == "new":
        version.unlink()
    base = bed.capture()
    before = version.stat() if version.exists() else None
    if sign == "mtime":
        os.utime(version, ns=(1, 1))
    else:
        fresh = bed.home / "fresh"
        fresh.write_bytes(b"18\n")
        if before:
            os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
        fresh.rename(version)
    bed.write(TABLE, page(77) * 10)
    again = bed.capture(scan(base))
    assert bed.comes_back(again)
    assert bed.files(again)[TABLE]["why"] == "its database was copied there"


def test_2_in_a_scan_over_parts_the_sign_is_looked_for_in_the_files_own_manifest(bed: Bed) -> None:
    """The database was copied after the base; the part has seen that, but has saved none of its relations."""
    base = bed.capture()
    (bed.home / "base/5/PG_VERSION").unlink()
    bed.write("base/5/PG_VERSION", b"18\n")
    (bed.home / TABLE).rename(bed.place / "aside")
    part = bed.capture()
    (bed.place / "aside").rename(bed.home / TABLE)
    bed.write(TABLE, page(77) * 10)
    assert bed.comes_back(bed.capture(scan(base), scan(part, START + 100)))


def test_2_in_a_scan_over_parts_that_saw_no_copy_the_base_still_serves(bed: Bed) -> None:
    base = bed.capture()
    part = bed.capture(scan(base))
    again = bed.capture(scan(base), scan(part, START + 100))
    assert bed.files(again)[TABLE]["how"] == "scan" and bed.comes_back(again)


def test_5_in_a_scan_a_page_of_zeros_is_never_the_bases(bed: Bed) -> None:
    base = bed.capture()
    bed.change(TABLE, 4, bytes(PAGE))
    bed.change(TABLE, 6, page(66, NEW))
    again = bed.capture(scan(base))
    assert bed.files(again)[TABLE]["how"] == "scan"
    assert bed.comes_back(again)


@MODES
@pytest.mark.parametrize("path", [FSM, VM, "base/5/16384_init"])
def test_forks_other_than_the_main_one_are_read_whole(bed: Bed, mode: Mode, path: str) -> None:
    """Their pages change without WAL, or without an LSN of their own."""
    if path.endswith("_init"):
        (bed.home / TABLE).unlink()
    bed.write(path, page(1) + bytes(PAGE) + page(3))
    base = bed.capture()
    bed.change(path, 0, page(9))
    bed.change(path, 1, page(8, 0))
    again = bed.capture(mode(base))
    assert bed.files(again)[path]["how"] == "same"
    assert bed.comes_back(again)


@MODES
def test_files_without_pages_are_read_to_their_end_and_only_their_new_pieces_stored(
    bed: Bed, mode: Mode
) -> None:
    bed.write(SLRU, os.urandom(3 << 20))
    base = bed.capture()
    bed.change(SLRU, 200, b"changed")  # within the second MiB
    with (bed.home / SLRU).open("ab") as file:
        file.write(b"grown")
    counted = fake_tree.capture(bed.home, bed.store, bed.keys, sources=[mode(base)])
    assert bed.comes_back(counted[0])
    assert 1 << 20 < counted[2].tally.bytes_packed < (1 << 20) + 100_000
    assert bed.files(counted[0])[SLRU]["how"] == "same"


@MODES
def test_a_segment_whose_name_comes_again_is_read_and_one_that_is_gone_is_not_there(
    bed: Bed, mode: Mode
) -> None:
    """As when transaction ids have gone round: names are used again, the oldest files are removed."""
    for name in ("0000", "0001"):
        bed.write(f"pg_xact/{name}", os.urandom(PAGE))
    base = bed.capture()
    (bed.home / "pg_xact/0000").unlink()
    bed.write("pg_xact/0001", os.urandom(PAGE))
    again = bed.capture(mode(base))
    assert bed.comes_back(again)
    assert [path for path in bed.files(again) if path.startswith("pg_xact")] == ["pg_xact/0001"]


@MODES
@pytest.mark.parametrize("path", [TABLE, FSM])
def test_a_file_of_odd_size_that_was_whole_when_read_is_a_base_for_nothing(
    bed: Bed, mode: Mode, path: str
) -> None:
    """It was being extended: listed with half a page at its end, it was stored as bytes."""
    bed.write(path, (page(1) + page(2))[: PAGE + 4096])

    class Reader(LocalReader):
        def list(self) -> list[Entry]:  # type: ignore[override]
            entries = [*super().list()]
            bed.write(path, page(1) + page(2))
            return entries

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_tree, "LocalReader", Reader)
        base = bed.capture()
    changes = Changes()
    changes.add(1663, 5, 16384, Changed(None, np.array([1], np.uint32)))
    bed.change(path, 1, page(7, NEW))
    source = mode(base)
    again = bed.capture(source if source.changes is None else replace(source, changes=changes))
    assert bed.comes_back(again)
    bed.change(path, 1, page(8, NEW))
    assert bed.comes_back(bed.capture(replace(source, manifest=again, changes=source.changes and changes)))


def test_a_part_is_a_base_under_its_own_start(bed: Bed) -> None:
    """What changed between the base's start and the part's is in the part; what changed since is read."""
    base = bed.capture()
    bed.change(TABLE, 2, page(22, START + 50))
    since_base, since_part = Changes(), Changes()
    since_base.add(1663, 5, 16384, Changed(None, np.array([2, 3], np.uint32)))
    since_part.add(1663, 5, 16384, Changed(None, np.array([3], np.uint32)))
    part = bed.capture(Source(base, START, since_base))
    bed.change(TABLE, 3, page(33, NEW))
    again = bed.capture(Source(base, START, since_base), Source(part, START + 100, since_part))
    assert bed.comes_back(again)
    scanned = bed.capture(scan(base), scan(part, START + 100))
    assert bed.comes_back(scanned)
    bed.change(TABLE, 4, page(44, START + 70))  # not seen by the part's start, but by the base's
    assert bed.comes_back(bed.capture(scan(base)))


def test_a_relation_in_a_tablespace_is_looked_up_by_the_tablespaces_oid(bed: Bed) -> None:
    path = "pg_tblspc/16500/PG_18_202506291/5/16384"
    bed.write(path, page(1) * 4)
    base, changes = bed.capture(), Changes()
    bed.change(path, 2, page(9, NEW))
    changes.add(16500, 5, 16384, Changed(None, np.array([2], np.uint32)))
    again = bed.capture(summaries(base, changes))
    assert bed.comes_back(again)
    assert (bed.files(again)[path]["how"], bed.files(again)[TABLE]["how"]) == ("pages", "kept")
