"""What policies will do next, and when automated snapshots go: foretold as it will be decided."""

from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.domain import retention
from stillhouse.domain.reports.preview import preview
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import BackupSettings, BackupType, Policy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def policy(name: str, schedule: str, kind: BackupType = BackupType.INCREMENT) -> Policy:
    return Policy(name, "c", name, schedule, kind, 0, NOW - 30 * DAY, NOW - 30 * DAY)


def taken(days: int, status: SnapshotStatus = SnapshotStatus.AVAILABLE, keep_day: int | None = 7) -> Snapshot:
    started = NOW - days * DAY
    return Snapshot(
        id=f"{days}-{status}",
        project="p",
        cluster_id="c",
        cluster_name="sales",
        name=f"auto-{days}",
        description="",
        status=status,
        type=SnapshotType.AUTO,
        started=started,
        updated=started,
        keep_day=keep_day,
    )


def test_the_next_runs_of_all_policies_come_in_their_order_with_their_snapshots_end() -> None:
    found = preview(
        [policy("night", "0 0 2 ? * *"), policy("noon", "0 0 13 ? * *")], BackupSettings(), [], None, NOW, 10
    )
    assert [run.policy.name for run in found.runs] == ["noon", "night"] * 5
    first = found.runs[0]
    assert (first.due, first.begins) == (NOW + timedelta(hours=1),) * 2
    assert first.expires == first.due + 7 * DAY


def test_of_two_runs_at_one_time_the_full_one_is_taken_and_the_other_says_why_not() -> None:
    policies = [policy("whole", "0 0 2 ? * *", BackupType.FULL), policy("changes", "0 0 2 ? * *")]
    changes, whole = preview(policies, BackupSettings(), [], None, NOW, 2).runs
    assert (whole.policy.name, whole.begins) == ("whole", whole.due)
    assert changes.begins is None and changes.expires is None and "4 hours" in changes.reason


def test_a_run_too_soon_after_the_one_before_it_waits_or_is_skipped() -> None:
    policies = [
        policy("first", "0 0 14 ? * *"),
        policy("soon", "0 30 17 ? * *"),
        policy("next", "0 0 16 ? * *"),
    ]
    first, next_, soon = preview(policies, BackupSettings(), [], None, NOW, 3).runs
    assert first.begins == first.due
    assert next_.begins is None and "4 hours" in next_.reason
    assert soon.begins == first.due + timedelta(hours=4) and "18:00 UTC" in soon.reason


def test_policies_that_are_switched_off_take_nothing() -> None:
    off = BackupSettings(auto_backup=False)
    assert preview([policy("night", "0 0 2 ? * *")], off, [], None, NOW, 10).runs == ()


def test_a_one_off_run_comes_once_and_a_schedule_that_is_over_not_at_all() -> None:
    once, past = policy("once", "2026-11-24T02:00:00"), policy("past", "2026-11-20T02:00:00")
    assert [run.policy.name for run in preview([once, past], BackupSettings(), [], None, NOW, 10).runs] == [
        "once"
    ]


def test_the_newest_good_one_goes_when_its_days_are_over_and_a_newer_one_is_there() -> None:
    history = [taken(9), taken(10, SnapshotStatus.UNAVAILABLE)]
    night = [policy("night", "0 0 2 ? * *")]
    good, failed = (fate for _, fate in preview(night, BackupSettings(), history, None, NOW, 10).snapshots)
    assert good.expires == NOW + timedelta(hours=14) and "newer one" in good.why
    assert failed.expires == NOW and "it failed" in failed.why
    (kept, _), *_ = [
        (fate, one) for one, fate in preview([], BackupSettings(), history, None, NOW, 1).snapshots
    ]
    assert kept.expires is None and kept.why == good.why, "the preview adds the day"


@pytest.mark.parametrize("days", [0, 1, 6, 7, 8, 400])
@pytest.mark.parametrize("status", list(SnapshotStatus))
def test_a_fate_agrees_with_the_plan_of_retention(days: int, status: SnapshotStatus) -> None:
    one, newer = taken(days, status), taken(0)
    (verdict, _) = retention.plan([one, newer], 7, NOW)
    fate = retention.fate(one, NOW, is_last_good=retention.last_good_of([one, newer], NOW) == one.id)
    assert verdict.expires == (fate.expires is not None and fate.expires <= NOW)
    assert fate.why


def test_a_manual_one_and_one_without_retention_stay() -> None:
    assert retention.fate(taken(400, keep_day=None), NOW, is_last_good=False).expires is None
