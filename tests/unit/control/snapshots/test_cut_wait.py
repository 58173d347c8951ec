"""The deadline of a cut is the snapshot's: one account of waiting for all its attempts, whatever ends the service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.catalog import captures
from stillhouse.control.snapshots.cut_wait import CutWait, check_deadline
from stillhouse.control.snapshots.requests import request_snapshot
from stillhouse.errors import CutFailed
from support.control.automated_bed import PROJECT, Bed, automated_bed

DEADLINE = 1800


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with automated_bed(tmp_path) as bed:
        assert bed.control.settings.cut_deadline_seconds == DEADLINE
        yield bed


@pytest.fixture
def snapshot(bed: Bed) -> str:
    return request_snapshot(bed.control, PROJECT, name="waiting", cluster_id=bed.cluster())


def begin_attempt(bed: Bed, snapshot: str) -> None:
    with bed.control.database.transaction() as transaction:
        captures.begin_attempt(transaction, snapshot, ["n"], bed.clock.time)


def waited(bed: Bed, snapshot: str) -> float:
    with bed.control.database.reading() as reading:
        return captures.cut_waited(reading, snapshot)


def test_all_attempts_wait_on_one_account(bed: Bed, snapshot: str) -> None:
    for attempt in range(3):
        begin_attempt(bed, snapshot)
        bed.later(hours=10)  # copying is no waiting
        waiting = CutWait(bed.control, snapshot)
        assert waiting.before == 500 * attempt
        for _ in range(5):
            bed.later(seconds=100)
            waiting.note()
    assert waited(bed, snapshot) == 1500


def test_what_was_noted_outlives_the_service_and_its_absence_does_not_count(bed: Bed, snapshot: str) -> None:
    begin_attempt(bed, snapshot)
    killed = CutWait(bed.control, snapshot)
    bed.later(seconds=900)
    killed.note()
    bed.later(days=3)
    begin_attempt(bed, snapshot)
    assert CutWait(bed.control, snapshot).before == 900


def test_another_attempt_begins_only_while_something_of_the_deadline_is_left(bed: Bed, snapshot: str) -> None:
    begin_attempt(bed, snapshot)
    waiting = CutWait(bed.control, snapshot)
    bed.later(seconds=DEADLINE - 1)
    waiting.note()
    check_deadline(bed.control, snapshot)
    waiting.use_up()
    with pytest.raises(CutFailed, match="within 1800 s of waiting, over 1 attempts"):
        check_deadline(bed.control, snapshot)


def test_the_first_attempt_begins_whatever_the_deadline(bed: Bed, snapshot: str) -> None:
    CutWait(bed.control, snapshot).use_up()
    check_deadline(bed.control, snapshot)
