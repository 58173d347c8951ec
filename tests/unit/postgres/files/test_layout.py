"""What each file of a data directory is, and what a capture takes of it."""

import os
import tracemalloc
from pathlib import Path

import pytest

from stillhouse.domain import relation_files
from stillhouse.domain.relation_files import Kind, RelationFile
from stillhouse.postgres.files import layout
from stillhouse.postgres.readers.local import LocalReader


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("base/5/1259", RelationFile(Kind.MAIN, 1663, 5, 1259, 0)),
        ("base/5/1259.3", RelationFile(Kind.MAIN, 1663, 5, 1259, 3)),
        ("base/5/1259_fsm", RelationFile(Kind.FORK, 1663, 5, 1259, 0)),
        ("base/5/1259_vm.1", RelationFile(Kind.FORK, 1663, 5, 1259, 1)),
        ("base/5/16400_init", RelationFile(Kind.FORK, 1663, 5, 16400, 0)),
        ("global/1262", RelationFile(Kind.MAIN, 1664, 0, 1262, 0)),
        ("pg_tblspc/16500/PG_18_202506291/5/16600", RelationFile(Kind.MAIN, 16500, 5, 16600, 0)),
    ],
)
def test_relations_are_known_by_their_place_and_name(path: str, expected: RelationFile) -> None:
    assert relation_files.relation_file(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "base/5/pg_filenode.map",
        "base/5/PG_VERSION",
        "base/5/1259.old",
        "base/5/1259_tmp",
        "base/5/t3_1259",
        "base/1259",
        "pg_xact/0000",
        "pg_multixact/offsets/0000",
        "global/pg_control",
        "1259",
        "pg_tblspc/16500/16600",
        "pg_tblspc/16500/PG_18_202506291/16600",
        "base/5/sub/1259",
    ],
)
def test_anything_else_holds_no_pages(path: str) -> None:
    assert relation_files.relation_file(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "postmaster.pid",
        "postmaster.opts",
        "backup_label",
        "backup_label.old",
        "tablespace_map",
        "backup_manifest",
        "current_logfiles",
        "postgresql.auto.conf.tmp",
        "recovery.signal",
        "standby.signal",
        "base/pgsql_tmp",
        "base/5/pg_internal.init",
        "global/pg_internal.init.123",
        "base/5/t3_16600",
        "base/5/t3_16600_fsm.1",
        "pg_tblspc/16500/PG_18_202506291/pgsql_tmp",
        "pg_tblspc/16500/PG_18_202506291/5/t12_7",
    ],
)
def test_what_belongs_to_the_running_server_is_skipped(path: str) -> None:
    assert layout.is_skipped(path)


@pytest.mark.parametrize(
    "path",
    [
        "postgresql.conf",
        "postgresql.auto.conf",
        "base/5/1259",
        "base/5/table3_1",
        "pg_xact/t3_1",
        "log/backup_label",
    ],
)
def test_all_else_is_kept(path: str) -> None:
    assert not layout.is_skipped(path)


def test_of_unlogged_relations_only_the_init_fork_is_kept() -> None:
    names = ["16400", "16400.1", "16400_fsm", "16400_init", "164000", "1640", "1640_vm", "PG_VERSION"]
    assert set(layout.without_unlogged(names)) == {"16400_init", "164000", "1640", "1640_vm", "PG_VERSION"}


def test_segments_of_a_relation_are_read_ascending() -> None:
    names = [*(f"7.{number}" for number in range(12, 0, -1)), "7_fsm", "7", "10", "pg_filenode.map"]
    kept = layout.without_unlogged(names)
    assert list(kept) == ["pg_filenode.map", "7", *(f"7.{number}" for number in range(1, 13)), "7_fsm", "10"]


def test_names_that_no_relation_of_ours_has_come_out_as_they_are() -> None:
    names = ["4294967296", "007", "7.0", "5.1073741824", "4294967295.1073741823", "6_vm.3"]
    kept = list(layout.without_unlogged(names))
    assert kept == ["007", "4294967296", "5.1073741824", "7.0", "6_vm.3", "4294967295.1073741823"]


def test_no_directories_names_are_held_as_strings() -> None:
    count = 20_000
    tracemalloc.start()
    kept = layout.without_unlogged(str(10**8 + number) for number in range(count))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(1 for _ in kept) == count
    assert peak < 40 * count, "a string alone is 58 bytes"


def _reader(pgdata: Path) -> LocalReader:
    return LocalReader(pgdata, "PG_18_202506291")


def _make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def test_directories_come_before_what_lies_in_them_and_emptied_ones_are_empty(tmp_path: Path) -> None:
    kept = ["base/5/1259", "pg_xact/0000", "pg_logical/snapshots/0-1.snap", "global/1262", "PG_VERSION"]
    left = [f"{name}/content" for name in sorted(layout.EMPTIED)] + ["global/pg_control", "postmaster.pid"]
    _make(tmp_path, *kept, *left)
    found = list(_reader(tmp_path).list())
    assert {entry.path for entry in found if entry.size is not None} == set(kept)
    directories = [entry.path for entry in found if entry.size is None]
    assert layout.EMPTIED.issubset(directories)
    seen = {""}
    for entry in found:
        assert entry.path.rpartition("/")[0] in seen
        if entry.size is None:
            seen.add(entry.path)


def test_a_tablespace_is_a_link_and_only_our_part_of_it_is_taken(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    _make(elsewhere, "PG_18_202506291/5/16600", "PG_15_202209061/5/16600", "lost+found")
    pgdata = tmp_path / "pgdata"
    (pgdata / "pg_tblspc").mkdir(parents=True)
    (pgdata / "pg_tblspc/16500").symlink_to(elsewhere)
    below = [entry for entry in _reader(pgdata).list() if entry.path.startswith("pg_tblspc/")]
    assert [(entry.path, entry.target) for entry in below] == [
        ("pg_tblspc/16500", str(elsewhere)),
        ("pg_tblspc/16500/PG_18_202506291", None),
        ("pg_tblspc/16500/PG_18_202506291/5", None),
        ("pg_tblspc/16500/PG_18_202506291/5/16600", None),
    ]


def test_a_tablespace_in_place_is_a_directory(tmp_path: Path) -> None:
    _make(tmp_path, "pg_tblspc/16500/PG_18_202506291/5/16600")
    assert [entry.path for entry in _reader(tmp_path).list() if entry.target] == []
    assert "pg_tblspc/16500/PG_18_202506291/5/16600" in {entry.path for entry in _reader(tmp_path).list()}


def test_what_is_neither_file_nor_directory_is_not_taken_nor_is_a_link_and_each_is_named(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "postgresql.conf").symlink_to("real")
    reader = _reader(tmp_path)
    assert [entry.path for entry in reader.list()] == ["real"]
    links = dict.fromkeys(("broken", "postgresql.conf"), "a symbolic link")
    assert reader.skipped.reasons == {**links, "pipe": "a named pipe"}
