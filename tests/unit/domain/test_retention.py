"""Which snapshots go, and the words for it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.retention import of_last_good, plan
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEEP_DAY = 7


def snapshot(days_old: float, name: str = "one", **changed: object) -> Snapshot:
    started = NOW - timedelta(days=days_old)
    made = Snapshot(
        id=new_uuid(),
        project="0" * 32,
        cluster_id=new_uuid(),
        cluster_name="sales",
        name=name,
        description="",
        status=SnapshotStatus.AVAILABLE,
        type=SnapshotType.AUTO,
        started=started,
        updated=started,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def verdicts(*snapshots: Snapshot) -> dict[str, tuple[bool, str]]:
    return {each.snapshot.name: (each.expires, each.why) for each in plan(snapshots, KEEP_DAY, NOW)}


def test_an_automated_snapshot_goes_when_its_days_are_over_and_not_a_moment_before() -> None:
    said = verdicts(
        snapshot(0.1, "newest"),
        snapshot(KEEP_DAY, "over"),
        replace(
            snapshot(KEEP_DAY, "nearly"), started=NOW - timedelta(days=KEEP_DAY) + timedelta(microseconds=1)
        ),
    )
    assert said["over"] == (True, "its 7 days are over: it is 7 days old")
    assert said["nearly"] == (False, "its 7 days are not over")


@pytest.mark.parametrize("status", SnapshotStatus)
def test_a_manual_snapshot_stays_for_ever(status: SnapshotStatus) -> None:
    manual = snapshot(4000, "manual", type=SnapshotType.MANUAL, status=status)
    copy = replace(manual, name="copy", copied_from=new_uuid())
    said = verdicts(snapshot(0.1, "newest"), manual, copy)
    assert said["manual"] == said["copy"] == (False, "it is a manual one and stays until it is deleted")


def test_the_newest_good_one_stays_while_those_after_it_fail() -> None:
    failed = {"status": SnapshotStatus.UNAVAILABLE}
    said = verdicts(
        snapshot(40, "older"),
        snapshot(30, "last good"),
        snapshot(20, "failed long ago", **failed),
        snapshot(1, "failed", **failed),
        snapshot(0, "running", status=SnapshotStatus.CREATING),
    )
    assert said["last good"] == (False, of_last_good(7))
    assert said["older"] == (True, "its 7 days are over: it is 40 days old")
    assert said["failed long ago"] == (True, "it failed, and its 7 days are over: it is 20 days old")
    assert said["failed"] == (False, "its 7 days are not over")
    assert said["running"] == (False, "it is being taken")


def test_a_newer_manual_one_does_not_stand_in_for_the_newest_good() -> None:
    said = verdicts(snapshot(30, "good"), snapshot(1, "manual", type=SnapshotType.MANUAL))
    assert not said["good"][0]


def test_what_is_being_restored_or_copied_waits() -> None:
    said = verdicts(
        snapshot(1, "new"), snapshot(9, "restored", restoring=True), snapshot(9, "copied", copying=True)
    )
    assert said["restored"] == (False, "it is being restored, and goes when that is over")
    assert said["copied"] == (False, "it is being copied, and goes when that is over")


def test_one_from_the_future_stays_and_does_not_stand_in_for_the_newest_good() -> None:
    said = verdicts(snapshot(-1000, "future"), snapshot(30, "good"), snapshot(31, "older"))
    assert {name for name, (expires, _) in said.items() if expires} == {"older"}


def test_of_futures_alone_none_goes() -> None:
    said = verdicts(snapshot(-1000, "one"), snapshot(-2000, "other"))
    assert not any(expires for expires, _ in said.values())


def test_the_plan_is_the_same_whatever_the_order() -> None:
    some = [snapshot(days, f"{days}") for days in range(20)]
    assert verdicts(*some) == verdicts(*reversed(some))
