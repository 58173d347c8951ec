"""Files that an incremental capture carries over from its base without looking into them, and those it may not."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.page_choice import Changed
from stillhouse.node.capture.base import Source
from stillhouse.node.capture.copying import Copy
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import file_index, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.fields import encode_line
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.upkeep.reach import reached
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import PAGE
from support.repositories.crafted_lines import Line

DIRECTORY = "base/5"
FIRST = 20_000


class Bed:
    """A database directory of many small relations, some with a map of visibility, some empty."""

    def __init__(self, home: Path, files: int) -> None:
        self.home, self.files = home, files
        self.store: ObjectStore = memory_store()
        self.keys: ClusterKeys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        (home / DIRECTORY).mkdir(parents=True)
        (home / "global").mkdir()
        (home / DIRECTORY / "PG_VERSION").write_bytes(b"18\n")
        for number in range(files):
            content = b"" if number % 5 == 4 else bytes([number % 250 + 1]) * PAGE
            self.path(number).write_bytes(content)
            if number % 3 == 0:
                self.path(number, "_vm").write_bytes(b"vm" * (PAGE // 2))

    def path(self, number: int, fork: str = "") -> Path:
        return self.home / f"{DIRECTORY}/{FIRST + number}{fork}"

    def capture(self, *sources: Source) -> tuple[Stored, Copy]:
        stored, _, copy = fake_tree.capture(self.home, self.store, self.keys, workers=1, sources=sources)
        return stored, copy

    def lines(self, stored: Stored) -> list[Line]:
        return list(manifest.read(self.store, self.keys, stored))

    def files_of(self, stored: Stored) -> dict[str, Line]:
        return {line["path"]: line for line in self.lines(stored) if line["t"] == "file"}


def since(stored: Stored, *changed: int) -> Source:
    changes = Changes()
    for number in changed:
        changes.add(1663, 5, FIRST + number, Changed(None, np.array([0], np.uint32)))
    return Source(stored, 1000, changes)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path / "home", 60)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count how often a line is parsed, one is encoded, and a file is opened."""
    counts: Counter[str] = Counter()

    def counted(name: str, real: Any) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            counts[name] += 1
            return real(*values, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json, "loads", counted("parsed", json.loads))
        patch.setattr(json, "dumps", counted("encoded", json.dumps))
        patch.setattr(LocalReader, "open", counted("opened", LocalReader.open))
        yield counts


def test_no_line_is_parsed_and_no_file_opened_for_what_has_not_changed(tmp_path: Path) -> None:
    """Whatever the number of files: the costs of each are its place in the listing, and bytes of text."""
    costs = []
    for files in (30, 900):
        bed = Bed(tmp_path / str(files), files)
        base, _ = bed.capture()
        again, copy = bed.capture(since(base))
        assert copy.tally.files["kept"] == files + len(range(0, files, 3))
        with counting() as counts:
            bed.capture(since(again))
        costs.append(counts)
    assert costs[0] == costs[1]
    assert costs[0]["opened"] == 1, "PG_VERSION"


def test_no_line_of_an_unchanged_file_is_parsed_to_publish_it(tmp_path: Path) -> None:
    """Before it creates the root, the service asks the manifest for its packs and maps, while it answers requests."""
    parsed = []
    for files in (30, 900):
        bed = Bed(tmp_path / str(files), files)
        stored, _ = bed.capture()
        with counting() as counts:
            found = [key for key, _ in reached(bed.store, bed.keys, stored)]
        objects = [line["t"] for line in bed.lines(stored) if line["t"] in ("pack", "map")]
        assert len(found) == 1 + len(objects)
        parsed.append(counts["parsed"])
    assert parsed[0] == parsed[1]


def test_carried_lines_are_those_of_the_base_but_say_that_nothing_was_read(bed: Bed) -> None:
    base, first = bed.capture()
    again, copy = bed.capture(since(base))
    before, after = bed.files_of(base), bed.files_of(again)
    assert before.keys() == after.keys()
    for path in before.keys() - {f"{DIRECTORY}/PG_VERSION", "global/pg_control"}:
        assert after[path] == {**before[path], "how": "kept"}, path
    assert bed.lines(again)[-1] == bed.lines(base)[-1]
    assert copy.tally.live_bytes == first.tally.live_bytes
    third = bed.files_of(bed.capture(since(again))[0])
    del third["global/pg_control"], after["global/pg_control"]  # added anew by each capture
    assert third == after


def test_the_text_that_a_line_begins_with_is_what_a_manifest_holds(bed: Bed) -> None:
    """Else nothing would ever be carried over, and nobody would see why incrementals are slow."""
    line = bed.files_of(bed.capture()[0])[f"{DIRECTORY}/{FIRST}"]
    known = file_index.beginning(line["path"], line["mode"], line["mtime_ns"], line["size"])
    assert encode_line(line).startswith(known)


@pytest.mark.parametrize("fork", ["", "_vm"])
def test_a_file_whose_relation_a_summary_names_is_looked_at_though_its_times_have_not_changed(
    bed: Bed, fork: str
) -> None:
    base, _ = bed.capture()
    path = bed.path(3, fork)
    then = path.stat()
    path.write_bytes(b"new" * PAGE)
    os.truncate(path, PAGE)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    again, _ = bed.capture(since(base, 3))
    assert bed.files_of(again)[f"{DIRECTORY}/{path.name}"]["how"] in ("pages", "whole", "same")
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


@pytest.mark.parametrize("sign", ["mtime", "mode"])
def test_a_file_that_is_listed_otherwise_than_in_the_base_gets_a_line_of_its_own(bed: Bed, sign: str) -> None:
    base, _ = bed.capture()
    if sign == "mtime":
        os.utime(bed.path(6), ns=(1, 1))
    else:
        bed.path(6).chmod(0o640)
    again, _ = bed.capture(since(base))
    lines = [line for line in bed.lines(again) if line["t"] == "file" and line["map"] is not None]
    (line,) = (line for line in lines if line["path"].endswith(f"/{FIRST + 6}"))
    assert (line["mtime_ns"] == 1) if sign == "mtime" else (line["mode"] == 0o640)
    for map_id in {line["map"] for line in lines}:
        entries = [line["entry"] for line in lines if line["map"] == map_id]
        assert entries == sorted(entries), "files stand by ascending entry"
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


def test_an_init_fork_is_always_read(bed: Bed) -> None:
    """Summaries are asked for main forks, and an init fork has no other sign of a change than its time."""
    path = bed.path(100, "_init")
    path.write_bytes(b"a" * PAGE)
    then = path.stat()
    base, _ = bed.capture()
    path.write_bytes(b"b" * PAGE)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    again, _ = bed.capture(since(base))
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


def test_a_file_of_a_database_that_was_copied_there_is_read_though_its_times_have_not_changed(
    bed: Bed,
) -> None:
    """A copy of files may bring their times along, and no summary names its relations."""
    base, _ = bed.capture()
    then = bed.path(0).stat()
    bed.path(0).write_bytes(b"c" * PAGE)
    os.utime(bed.path(0), ns=(then.st_atime_ns, then.st_mtime_ns))
    source = since(base)
    assert source.changes is not None
    source.changes.add(1663, 5, 0, Changed(0, np.empty(0, np.uint32)))
    again, copy = bed.capture(source)
    assert copy.tally.files["kept"] == 0
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


def test_a_rotten_page_is_named_again(bed: Bed) -> None:
    lines = bed.lines(bed.capture()[0])
    rotten: Line = {"t": "rotten", "path": f"{DIRECTORY}/{FIRST}", "block": 0}
    with closing(manifest.ManifestWriter()) as writer:
        for line in lines[1:-1]:
            if line["t"] != "pack":
                writer.add(line)
        writer.add(rotten)
        head = [line for line in lines if line["t"] in ("node", "pack")]
        base = writer.store(bed.store, bed.keys, head, lambda line: False)
    again, copy = bed.capture(since(base))
    assert [line for line in bed.lines(again) if line["t"] == "rotten"] == [rotten]
    assert copy.tally.rotten == 1


def test_in_a_scan_nothing_is_carried_over(bed: Bed) -> None:
    base, _ = bed.capture()
    then = bed.path(0).stat()
    bed.path(0).write_bytes((1).to_bytes(4, "little") + b"n" * (PAGE - 4))
    os.utime(bed.path(0), ns=(then.st_atime_ns, then.st_mtime_ns))
    again, copy = bed.capture(Source(base, 1000, None))
    assert copy.tally.files["kept"] == 0
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


def test_a_map_with_few_files_left_is_not_named_again(bed: Bed) -> None:
    base, _ = bed.capture()
    for number in range(60):
        if number % 4:
            bed.path(number).unlink()
            bed.path(number, "_vm").unlink(missing_ok=True)
    again, _ = bed.capture(since(base))
    named = {line["map"] for line in bed.files_of(base).values()}
    assert not named & {line["map"] for line in bed.files_of(again).values() if line["map"]}
    assert fake_tree.comes_back(bed.home, bed.home.parent / "clone", again, bed.store, bed.keys)


def test_a_map_that_two_sources_name_is_named_once(bed: Bed) -> None:
    base, _ = bed.capture()
    part, _ = bed.capture(since(base))
    again, copy = bed.capture(since(base), since(part))
    maps = [line["id"] for line in bed.lines(again) if line["t"] == "map"]
    assert len(maps) == len(set(maps))
    assert copy.tally.files["kept"] == 80
    found, expected = bed.files_of(again), bed.files_of(part)
    del found["global/pg_control"], expected["global/pg_control"]
    assert found == expected


def test_a_carried_file_that_would_disturb_recovery_is_dropped(bed: Bed) -> None:
    base, _ = bed.capture()
    gone = f"{DIRECTORY}/{FIRST + 7}"
    with pytest.MonkeyPatch.context() as patch:
        real = manifest.ManifestWriter.store

        def store(self: Any, store: Any, keys: Any, head: Any, drop: Any, **other: Any) -> Stored:
            return real(self, store, keys, head, lambda line: line.get("path") == gone)

        patch.setattr(manifest.ManifestWriter, "store", store)
        again, _ = bed.capture(since(base))
    assert bed.files_of(base).keys() - bed.files_of(again).keys() == {gone}
    assert bed.lines(again)[-1]["files"] == bed.lines(base)[-1]["files"] - 1
