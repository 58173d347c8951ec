"""What a capture decides at its end, from what the catalog and the WAL have shown meanwhile."""

import pytest

from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import CaptureInterrupted
from stillhouse.node.capture.session import Dropped, check_still_true
from stillhouse.postgres.wal.backup import Places
from stillhouse.postgres.wal.segments import FilesCopied, Finding, Prepared, StorageCreated
from support.data_directories.fake_tree import FACTS
from support.repositories.crafted_lines import Line

CUT = 1000
POINT = RestorePoint("n", "cut", CUT, FACTS.timeline)
PLACES = Places({1: 1663, 5: 1663}, frozenset({1663, 1664, 16400}))


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (Places({1: 1663, 5: 16400}, PLACES.tablespaces), "database 5 was moved to tablespace 16400"),
        (Places(PLACES.databases, PLACES.tablespaces | {16500}), "tablespace 16500 was created"),
        (Places({1: 1663, 5: 1663, 9: 16400}, PLACES.tablespaces), ""),
        (Places({1: 1663}, PLACES.tablespaces - {16400}), ""),
        (PLACES, ""),
    ],
    ids=[
        "a move",
        "a tablespace",
        "a new database: the WAL tells how it was made",
        "things dropped",
        "nothing",
    ],
)
def test_what_moves_files_under_a_copy_is_told(later: Places, told: str) -> None:
    assert later.moved_since(PLACES) == told


def test_a_capture_during_which_files_were_moved_is_given_up() -> None:
    check_still_true(FACTS, POINT, "", [])
    with pytest.raises(CaptureInterrupted, match="database 5 was moved"):
        check_still_true(FACTS, POINT, "database 5 was moved", [])


def test_a_capture_during_which_the_server_was_promoted_is_given_up() -> None:
    with pytest.raises(CaptureInterrupted, match="timeline 2"):
        check_still_true(FACTS, RestorePoint("n", "cut", CUT, 2), "", [])


@pytest.mark.parametrize(("lsn", "is_given_up"), [(CUT - 1, True), (CUT, False)])
def test_files_copied_behind_the_cut_do_no_harm(lsn: int, is_given_up: bool) -> None:
    found: list[tuple[int, Finding]] = [(lsn, FilesCopied("a tablespace was created"))]
    if not is_given_up:
        check_still_true(FACTS, POINT, "", found)
        return
    with pytest.raises(CaptureInterrupted, match="a tablespace was created"):
        check_still_true(FACTS, POINT, "", found)


FOUND: list[tuple[int, Finding]] = [
    (CUT - 1, StorageCreated(1663, 5, 16384, 3)),
    (CUT - 1, StorageCreated(1663, 5, 16385, 0)),
    (CUT, StorageCreated(1663, 5, 16386, 3)),
    (CUT - 1, Prepared(77)),
    (CUT, Prepared(78)),
]


@pytest.mark.parametrize(
    ("path", "is_dropped"),
    [
        ("base/5/16384", True),
        ("base/5/16384.1", True),
        ("base/5/16384_fsm", True),
        ("base/5/16384_vm", True),
        ("base/5/16384_init", False),
        ("base/6/16384", False),
        ("pg_tblspc/16400/PG_18_1/5/16384", False),
        ("base/5/16385", False),
        ("base/5/16386", False),
        ("base/5/PG_VERSION", False),
        ("pg_twophase/000000000000004D", True),
        ("pg_twophase/0000004D", True),
        ("pg_twophase/000000000000004E", False),
        ("postgresql.conf", True),
        ("pg_hba.conf", False),
    ],
)
def test_what_is_in_recoverys_way_is_left_out_and_nothing_else(path: str, is_dropped: bool) -> None:
    """An init fork made, a transaction prepared before the cut; configuration that the server reads elsewhere."""
    dropped = Dropped(FOUND, CUT, ["postgresql.conf"])
    file: Line = {"t": "file", "path": path}
    directory: Line = {"t": "dir", "path": path}
    assert dropped(file) is is_dropped
    assert not dropped(directory)
