"""A restore refuses what its manifest cannot mean, in words that name the object."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.errors import RepositoryDamaged
from stillhouse.node.capture.pack_writer import PackWriter, StoredPack
from stillhouse.node.restore import unpacking
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.container import Kind
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import HOLE, Extent, FrameRef, MapBuilder, PlacedPages
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.repositories.crafted_lines import Line


class Bed:
    """One pack of one frame, one map, and a manifest of whatever lines a test gives it."""

    def __init__(self, place: Path) -> None:
        self.place = place / "clone"
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        self.packs: list[StoredPack] = []
        writer = PackWriter(self.store, self.keys, self.packs.append)
        self.frame = writer.add(b"0123456789", Kind.BYTES)
        writer.finish()
        self.map = self.stored_map([Extent(self.frame, 0, 10)])

    def stored_map(self, extents: list[Extent]) -> Stored:
        builder = MapBuilder()
        builder.add_bytes(extents)
        return builder.store(self.store, self.keys)

    def file(self, path: str, **changed: Any) -> Line:
        return {
            "t": "file",
            "path": path,
            "mode": 0o600,
            "size": 10,
            "map": self.map.id,
            "entry": 0,
            **changed,
        }

    def map_line(self, stored: Stored | None = None) -> Line:
        stored = stored or self.map
        return {"t": "map", "id": stored.id, "size": stored.size, "hash": stored.hash, "packs": [0]}

    def rebuild(self, *lines: Line) -> None:
        writer = ManifestWriter()
        for line in lines:
            writer.add(line)
        head: list[Line] = [{"t": "node", "pg_version_num": 180006}]
        head += [{"t": "pack", **vars(pack)} for pack in self.packs]
        stored = writer.store(self.store, self.keys, head, lambda line: False)
        writer.close()
        fake_tree.rebuild(self.place, stored, self.store, self.keys)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def refused(bed: Bed, named: str, *lines: Line) -> None:
    with pytest.raises(RepositoryDamaged, match=named):
        bed.rebuild(*lines)
    assert not (bed.place / "pgdata").exists()


def test_the_bed_itself_is_sound(bed: Bed) -> None:
    bed.rebuild(bed.map_line(), bed.file("a"))
    assert (bed.place / "pgdata/a").read_bytes() == b"0123456789"


def test_a_path_given_twice_is_refused(bed: Bed) -> None:
    refused(bed, "names a twice", bed.map_line(), bed.file("a"), bed.file("a"))
    empty = bed.file("a", map=None, size=0)
    refused(bed, "names a twice", empty, empty)


@pytest.mark.parametrize("path", ["missing/a", "pg_tblspc/16500/PG_18_202506291/5/1"])
def test_a_file_without_its_directory_is_refused(bed: Bed, path: str) -> None:
    refused(bed, "names no directory", bed.map_line(), bed.file(path))
    refused(bed, "names no directory", {"t": "dir", "path": path, "mode": 0o700})


def test_a_file_that_does_not_follow_its_map_is_refused(bed: Bed) -> None:
    refused(bed, "does not follow its map", bed.file("a"))
    refused(bed, "does not follow its map", bed.map_line(), bed.file("a", map=new_hex()))


def test_a_file_of_another_size_than_its_map_says_is_refused(bed: Bed) -> None:
    refused(bed, bed.map.id, bed.map_line(), bed.file("a", size=11))


def test_an_entry_that_the_map_does_not_have_is_refused(bed: Bed) -> None:
    refused(bed, bed.map.id, bed.map_line(), bed.file("a", entry=1))


@pytest.mark.parametrize(
    "extent",
    [
        lambda frame: Extent(frame, 5, 10),
        lambda frame: Extent(frame, 0xFFFFFFF0, 10),
        lambda frame: Extent(FrameRef(frame.pack, 1), 0, 10),
        lambda frame: Extent(FrameRef(new_hex(), 0), 0, 10),
    ],
    ids=["beyond its end", "far beyond its end", "no such frame", "no such pack"],
)
def test_bytes_that_no_frame_holds_are_refused(bed: Bed, extent: Callable[[FrameRef], Extent]) -> None:
    bed.map = bed.stored_map([extent(bed.frame)])
    refused(bed, "pack", bed.map_line(), bed.file("a"))


@pytest.mark.parametrize("folder", ["packs", "maps"])
def test_an_object_that_is_gone_is_named(bed: Bed, folder: str) -> None:
    name = bed.packs[0].id if folder == "packs" else bed.map.id
    bed.store.delete(f"c/{bed.keys.cluster}/{folder}/{name}")
    refused(bed, f"{folder}/{name} is gone", bed.map_line(), bed.file("a"))


def test_a_pack_cut_short_is_named(bed: Bed) -> None:
    key = layout.pack(str(bed.keys.cluster), bed.packs[0].id)
    bed.store.put(key, [bed.store.get(key)[:-1]])
    refused(bed, bed.packs[0].id, bed.map_line(), bed.file("a"))


def test_holes_within_a_file_are_zeros(bed: Bed) -> None:
    bed.map = bed.stored_map([Extent(None, 0, 3), Extent(bed.frame, 2, 4), Extent(None, 0, 3)])
    bed.rebuild(bed.map_line(), bed.file("a"))
    assert (bed.place / "pgdata/a").read_bytes() == b"\0\0\0" + b"2345" + b"\0\0\0"
    assert HOLE == 2**32 - 1


def test_a_write_that_is_cut_short_goes_on(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, content, at: whole(descriptor, content[:3], at))
    bed.rebuild(bed.map_line(), bed.file("a"))
    assert (bed.place / "pgdata/a").read_bytes() == b"0123456789"


def test_a_tablespace_lies_below_the_new_node_wherever_it_was(bed: Bed, tmp_path: Path) -> None:
    old = tmp_path / "live"
    old.mkdir()
    directory = {"t": "dir", "path": "pg_tblspc", "mode": 0o700}
    link = {"t": "link", "oid": 16500, "target": str(old)}
    below = {"t": "dir", "path": "pg_tblspc/16500/PG_18_202506291", "mode": 0o700}
    bed.rebuild(directory, link, below, bed.map_line(), bed.file("pg_tblspc/16500/PG_18_202506291/1"))
    assert list(old.iterdir()) == []
    assert (bed.place / "tablespaces/16500/PG_18_202506291/1").read_bytes() == b"0123456789"
    assert (bed.place / "pgdata/tablespace_map").read_text() == f"16500 {bed.place}/tablespaces/16500\n"


def test_the_disk_gets_parts_of_a_file_that_are_complete(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a base that lie side by side, and of a later snapshot all over the file: each part is written once."""
    page, part, parts = 8192, 16, 4
    pages = part * parts
    scattered = np.arange(3, pages, 5)
    content = [bytes([1 + number % 250]) * page for number in range(pages)]
    writer = PackWriter(bed.store, bed.keys, bed.packs.append)
    base = [
        writer.add(b"".join(content[at : at + 8]), Kind.PAGES, page) for at in range(0, pages, 8)
    ]  # its own version of the scattered pages is never read
    later = writer.add(b"".join(content[number] for number in scattered), Kind.PAGES, page)
    writer.finish()
    frame, slot = (np.arange(pages) // 8).astype(np.uint32), (np.arange(pages) % 8).astype(np.uint16)
    frame[scattered], slot[scattered] = len(base), np.arange(len(scattered))
    builder = MapBuilder()
    builder.add_pages(page, PlacedPages([*base, later], frame, slot))
    stored = builder.store(bed.store, bed.keys)
    pushed: list[tuple[int, int]] = []
    complete: list[bool] = []

    def fadvise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        if length < part * page:  # there is no part before the first
            return
        pushed.append((start, length))
        there = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        assert there[start : start + length] == b"".join(content)[start : start + length]
        complete.append(there == b"".join(content))

    monkeypatch.setattr(unpacking, "_PUSH_BYTES", part * page)
    monkeypatch.setattr(os, "posix_fadvise", fadvise)
    size = pages * page
    bed.rebuild({**bed.map_line(stored), "packs": [0, 1]}, bed.file("a", map=stored.id, size=size))
    assert (bed.place / "pgdata/a").read_bytes() == b"".join(content)
    assert {start for start, _ in pushed} == {number * part * page for number in range(parts)}
    assert not complete[0], "the disk waits until the end"
