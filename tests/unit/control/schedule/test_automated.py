"""The timer's duties, scene by scene: what falls due is taken once, and what has had its days goes once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.control.clusters.requests import delete_cluster
from stillhouse.control.schedule import automated
from stillhouse.control.schedule.snapshot_policies import Strategy, delete_policy, list_policies, set_policies
from stillhouse.control.snapshots.requests import request_copy, request_snapshot
from stillhouse.domain.cluster import Task
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import BackupSettings, BackupType
from stillhouse.errors import ClusterBusy, StateForbids, WrongKind
from support.control.automated_bed import PROJECT, Bed, automated_bed

EIGHT_HOURLY = "0 7 2/8 ? * *"
WEEKLY = "0 0 2 ? * 1"


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with automated_bed(tmp_path) as bed:
        yield bed


@pytest.fixture
def cluster(bed: Bed) -> str:
    """Policies are made on 25 November 2026, a Wednesday, at noon."""
    return bed.cluster()


# --- taking -------------------------------------------------------------------------------------------


def test_a_new_cluster_has_the_policies_that_dws_gives_it(bed: Bed) -> None:
    cluster = bed.cluster("defaults", with_defaults=True)
    settings, policies = list_policies(bed.control, PROJECT, cluster)
    assert settings == BackupSettings(keep_day=7, auto_backup=True)
    assert {policy.name: (policy.schedule, policy.backup_type) for policy in policies} == {
        "default-full": ("0 0 2 ? * 1", "full"),
        "default-increment": ("0 7 2/8 ? * 2,3,4,5,6,7", "increment"),
    }


def test_a_due_run_becomes_a_snapshot_and_its_flow_in_one(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY, name="nightly")
    bed.at("2026-11-25T18:06:59").tick()
    assert bed.snapshots(cluster) == []
    bed.at("2026-11-25T18:07:08").tick()
    (made,) = bed.snapshots(cluster)
    assert (made.type, made.status, made.name) == (
        SnapshotType.AUTO,
        SnapshotStatus.CREATING,
        "sales-auto-20261125180700",
    )
    assert (made.schedule, made.keep_day, made.is_full) == (EIGHT_HOURLY, 7, False)
    assert made.due is not None and made.due.isoformat() == "2026-11-25T18:07:00+00:00"
    assert bed.flows("create_snapshot") == [made.id]
    assert bed.audit("CreateSnapshot")[-1].detail == "policy nightly, due at 2026-11-25T18:07:00Z"
    request_snapshot(bed.control, PROJECT, name="manual", cluster_id=cluster)
    assert bed.flows("create_snapshot") == [made.id], "the manual one waits"


def test_a_run_waits_until_no_snapshot_that_was_asked_for_waits(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    for name in ("running", "waiting"):
        request_snapshot(bed.control, PROJECT, name=name, cluster_id=cluster)
    bed.at("2026-11-25T18:07:01").tick()
    bed.finish(cluster)
    bed.later(minutes=5).tick()
    running = bed.running(cluster)
    assert running is not None and running.name == "waiting"
    request_snapshot(bed.control, PROJECT, name="later", cluster_id=cluster)
    bed.finish(cluster)
    bed.finish(cluster)
    bed.later(minutes=5).tick()
    assert bed.taken(cluster) == ["11-25T18:07"]


def test_a_run_that_meets_a_queue_for_an_hour_is_skipped_and_says_so(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    for name in ("running", "waiting"):
        request_snapshot(bed.control, PROJECT, name=name, cluster_id=cluster)
    bed.at("2026-11-25T18:07:01").tick()
    bed.later(minutes=61).tick()
    busy = "the cluster is busy: SNAPSHOTTING, and snapshots that were asked for wait: 1"
    assert bed.skipped(cluster) == {"11-25T18:07": busy}


def test_a_full_policy_reads_everything_anew(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, WEEKLY, "full")
    assert bed.at("2026-11-29T02:00:03").take(cluster).is_full


def test_a_due_time_is_taken_once_however_often_it_is_looked_at(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.at("2026-11-25T18:07:01").take(cluster)
    for _ in range(3):
        bed.later(minutes=1).tick()
    assert bed.taken(cluster) == ["11-25T18:07"]
    assert len(bed.flows("create_snapshot")) == 1


def test_a_refused_transaction_takes_nothing_and_the_next_look_takes_it_once(
    bed: Bed, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the run's end and the snapshot's row, say: the transaction is gone as a whole."""
    bed.policy(cluster, EIGHT_HOURLY)

    def die(*_args: object, **_more: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(automated, "take", die)
        bed.at("2026-11-25T18:07:01").tick()
    assert (bed.snapshots(cluster), bed.taken(cluster), bed.flows("create_snapshot")) == ([], [], [])
    bed.later(seconds=10).tick()
    assert bed.taken(cluster) == ["11-25T18:07"]


def test_a_cluster_that_fails_keeps_no_other_from_its_schedule(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = bed.cluster("first"), bed.cluster("second")
    for cluster in (first, second):
        bed.policy(cluster, EIGHT_HOURLY)
    name = automated._name

    def fail_for_one(transaction: object, cluster: object, *more: object) -> str:
        if cluster.name == "first":  # type: ignore[attr-defined]
            raise StateForbids("planted")
        return name(transaction, cluster, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(automated, "_name", fail_for_one)
    bed.at("2026-11-25T18:07:01").tick()
    assert (bed.taken(first), bed.taken(second)) == ([], ["11-25T18:07"])


def test_a_policy_that_cannot_be_read_keeps_no_other_cluster_from_its_schedule(bed: Bed) -> None:
    first, second = bed.cluster("first"), bed.cluster("second")
    for cluster in (first, second):
        bed.policy(cluster, EIGHT_HOURLY)
    for broken in (first, second):
        with bed.control.database.transaction() as transaction:
            transaction.exec_driver_sql("UPDATE sh_policies SET schedule = '0 7 2/8 ? * *'")
            transaction.exec_driver_sql(
                "UPDATE sh_policies SET schedule = 'x' WHERE cluster_id = ?", (broken,)
            )
        bed.at("2026-11-25T18:07:01").tick()
    assert (bed.taken(first), bed.taken(second)) == (["11-25T18:07"], ["11-25T18:07"])


def test_a_name_that_is_taken_gets_something_added(bed: Bed) -> None:
    cluster = bed.cluster("c" * 64)
    bed.policy(cluster, EIGHT_HOURLY)
    wanted = f"{'c' * 40}-auto-20261125180700"
    request_snapshot(bed.control, PROJECT, name=wanted.upper(), cluster_id=cluster)
    bed.finish(cluster)
    made = bed.at("2026-11-25T18:07:01").take(cluster)
    assert made.name != wanted and made.name.startswith(wanted[:59]) and len(made.name) == 64


# --- missed, busy, collisions -------------------------------------------------------------------------


def test_what_was_missed_while_the_service_was_down_is_taken_once(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.at("2026-12-24T09:00:00").take(cluster)
    assert bed.taken(cluster) == ["12-24T02:07"]
    bed.at("2026-12-24T18:07:05").take(cluster)
    assert bed.taken(cluster) == ["12-24T02:07", "12-24T18:07"]
    assert list(bed.skipped(cluster)) == []


def test_a_missed_one_off_run_is_taken_once(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, "2026-11-26T03:00:00")
    bed.at("2027-01-01T00:00:00").take(cluster)
    bed.at("2028-01-01T00:00:00").tick()
    assert bed.taken(cluster) == ["11-26T03:00"]


def test_a_run_on_a_busy_cluster_waits_and_is_taken_once(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.hold(cluster)
    bed.at("2026-11-25T18:07:01").tick()
    bed.later(minutes=50).tick()
    assert (bed.snapshots(cluster), bed.runs(cluster)) == ([], [])
    bed.free(cluster)
    bed.later(minutes=5).take(cluster)
    bed.later(minutes=5).tick()
    assert bed.taken(cluster) == ["11-25T18:07"]


def test_a_collection_gives_way_to_a_due_run(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.hold(cluster, Task.COLLECTING)
    bed.at("2026-11-25T18:07:01").take(cluster)
    assert bed.taken(cluster) == ["11-25T18:07"]


def test_a_run_whose_cluster_stays_busy_is_skipped_with_the_reason(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY, name="nightly")
    bed.hold(cluster)
    bed.at("2026-11-25T18:07:01").tick()
    bed.later(minutes=61).tick()
    assert bed.skipped(cluster) == {"11-25T18:07": "the cluster is busy: REBOOTING"}
    record = bed.audit("CreateSnapshot")[-1]
    assert record.outcome == "skipped"
    assert record.detail == "policy nightly, due at 2026-11-25T18:07:00Z: the cluster is busy: REBOOTING"
    bed.free(cluster)
    bed.later(minutes=1).tick()
    assert bed.taken(cluster) == []


def test_of_full_and_increment_at_the_same_minute_the_full_one_is_taken(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, "0 0 2 ? * *", "increment")
    bed.policy(cluster, WEEKLY, "full")
    assert bed.at("2026-11-29T02:00:04").take(cluster).is_full
    assert list(bed.skipped(cluster)) == ["11-29T02:00"]
    assert "another automated snapshot" in bed.skipped(cluster)["11-29T02:00"]


def test_a_waiting_run_gives_way_to_its_policys_next(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.hold(cluster)
    bed.at("2026-11-25T18:07:01").tick()
    bed.free(cluster)  # the service was down from here on
    bed.at("2026-11-26T10:07:01").take(cluster)
    assert bed.taken(cluster) == ["11-26T10:07"]
    assert bed.skipped(cluster) == {
        "11-25T18:07": "missed: the run due at 2026-11-26T10:07:00Z stands for it"
    }


# --- clocks -------------------------------------------------------------------------------------------


def test_a_clock_set_back_takes_nothing_twice(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.at("2026-11-25T18:07:01").take(cluster)
    bed.at("2026-11-25T17:00:00").tick()
    bed.at("2026-11-25T18:07:01").tick()
    bed.at("2026-11-26T02:07:01").take(cluster)
    assert bed.taken(cluster) == ["11-25T18:07", "11-26T02:07"]


def test_a_clock_that_was_years_ahead_does_not_silence_a_policy(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.at("2026-11-25T18:07:01").take(cluster)
    bed.at("2036-06-01T12:00:00").take(cluster)
    assert bed.taken(cluster) == ["11-25T18:07", "06-01T10:07"]
    bed.at("2026-11-25T18:10:00").tick()
    bed.at("2026-11-26T02:07:01").take(cluster)
    assert bed.taken(cluster) == ["11-25T18:07", "11-26T02:07", "06-01T10:07"]


def test_a_policy_made_under_a_clock_that_was_ahead_begins_when_that_is_put_right(
    bed: Bed, cluster: str
) -> None:
    bed.at("2036-06-01T12:00:00").policy(cluster, EIGHT_HOURLY)
    bed.at("2026-11-25T18:10:00").tick()
    bed.at("2026-11-26T02:07:01").take(cluster)
    assert bed.taken(cluster) == ["11-26T02:07"]


def test_a_snapshot_of_a_wrong_clock_does_not_stand_in_for_the_newest_good_one(
    bed: Bed, cluster: str
) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    good = bed.at("2026-11-25T18:07:01").take(cluster)
    ahead = bed.at("2036-06-01T12:00:00").take(cluster)
    bed.at("2026-12-30T00:00:00")
    set_policies(bed.control, PROJECT, cluster, auto_backup=False)
    bed.tick()
    assert [each.id for each in bed.snapshots(cluster)] == [good.id, ahead.id]


# --- changes ------------------------------------------------------------------------------------------


def test_what_fell_due_before_a_policy_was_made_is_not_made_up_for(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.tick()
    assert (bed.snapshots(cluster), bed.runs(cluster)) == ([], [])


def test_switching_off_stops_it_and_switching_on_makes_up_for_nothing(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.hold(cluster)
    bed.at("2026-11-25T18:07:01").tick()
    set_policies(bed.control, PROJECT, cluster, auto_backup=False)
    bed.free(cluster)
    bed.at("2026-11-28T12:00:00").tick()
    assert bed.skipped(cluster) == {"11-25T18:07": "automated snapshots were switched off"}
    set_policies(bed.control, PROJECT, cluster, auto_backup=True)
    bed.tick()
    assert bed.taken(cluster) == []
    bed.at("2026-11-28T18:07:01").tick()
    assert bed.taken(cluster) == ["11-28T18:07"]


def test_a_deleted_policy_takes_its_waiting_run_along_and_leaves_its_snapshots(
    bed: Bed, cluster: str
) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    bed.at("2026-11-25T18:07:01").take(cluster)
    bed.hold(cluster)
    bed.at("2026-11-26T02:07:01").tick()
    (policy,) = list_policies(bed.control, PROJECT, cluster)[1]
    delete_policy(bed.control, PROJECT, cluster, policy.id)
    bed.free(cluster)
    bed.at("2026-12-24T02:07:01").tick()
    assert bed.taken(cluster) == ["11-25T18:07"]
    assert bed.skipped(cluster) == {"11-26T02:07": "its policy was deleted"}
    assert [each.schedule for each in bed.snapshots(cluster)] == [EIGHT_HOURLY]


def test_a_new_schedule_counts_from_when_it_was_given(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    (policy,) = list_policies(bed.control, PROJECT, cluster)[1]
    bed.at("2026-11-25T18:30:00")
    set_policies(bed.control, PROJECT, cluster, [Strategy(policy_id=policy.id, schedule="0 15 18 ? * *")])
    bed.tick()
    assert bed.runs(cluster) == []
    set_policies(bed.control, PROJECT, cluster, [Strategy(policy_id=policy.id, backup_type=BackupType.FULL)])
    assert bed.at("2026-11-26T18:15:00").take(cluster).is_full


# --- retention ----------------------------------------------------------------------------------------


def test_a_snapshot_goes_to_the_trash_when_its_days_are_over_and_the_audit_says_why(
    bed: Bed, cluster: str
) -> None:
    bed.policy(cluster, "0 0 2 ? * *")
    for day in range(26, 31):
        bed.at(f"2026-11-{day}T02:00:01").take(cluster)
    set_policies(bed.control, PROJECT, cluster, keep_day=2)
    first, second, third, _, _ = bed.snapshots(cluster)
    bed.tick()
    assert {each.name for each in bed.snapshots(cluster)} == {
        f"sales-auto-202611{day}020000" for day in (29, 30)
    }
    assert bed.flows("delete_snapshot") == [third.id, second.id, first.id]
    assert [(record.resource, record.detail) for record in bed.audit("ExpireSnapshot")] == [
        (f"cluster/{cluster}/snapshot/{third.id}", "its 2 days are over: it is 2 days old"),
        (f"cluster/{cluster}/snapshot/{second.id}", "its 2 days are over: it is 3 days old"),
        (f"cluster/{cluster}/snapshot/{first.id}", "its 2 days are over: it is 4 days old"),
    ]
    bed.tick()
    assert len(bed.flows("delete_snapshot")) == 3


def test_manual_ones_and_copies_outlive_every_retention(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, "0 0 2 ? * *")
    source = bed.at("2026-11-26T02:00:01").take(cluster)
    manual = request_snapshot(bed.control, PROJECT, name="manual", cluster_id=cluster)
    bed.finish(cluster)
    copy = request_copy(bed.control, PROJECT, source.id, name="month-end")
    bed.finish(cluster)
    for day in (27, 28):
        bed.at(f"2026-11-{day}T02:00:01").take(cluster)
    delete_policy(bed.control, PROJECT, cluster, list_policies(bed.control, PROJECT, cluster)[1][0].id)
    bed.at("2036-01-01T00:00:00").tick()
    assert {each.id for each in bed.snapshots(cluster)} >= {manual, copy}
    assert [each.name for each in bed.snapshots(cluster) if each.type is SnapshotType.AUTO] == [
        "sales-auto-20261128020000"
    ]


def test_a_cluster_whose_retention_nobody_has_set_loses_nothing(bed: Bed, cluster: str) -> None:
    """As after its catalog was made anew from the bucket: how long they were to be kept is not known."""
    bed.policy(cluster, EIGHT_HOURLY)
    for hour in ("02", "10", "18"):
        bed.at(f"2026-11-26T{hour}:07:01").take(cluster)
    with bed.control.database.transaction() as transaction:
        for table in ("sh_backup_settings", "sh_policies", "sh_policy_runs"):
            transaction.exec_driver_sql(f"DELETE FROM {table}")
    bed.at("2036-01-01T00:00:00").tick()
    assert len(bed.snapshots(cluster)) == 3


# --- copies -------------------------------------------------------------------------------------------


def test_a_copy_is_readable_at_once_and_shows_its_sources_data(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    source = bed.at("2026-11-25T18:07:01").take(cluster)
    copy_id = request_copy(bed.control, PROJECT, source.id, name="month-end", description="kept")
    copy = next(each for each in bed.snapshots(cluster) if each.id == copy_id)
    assert (copy.name, copy.description, copy.type, copy.copied_from) == (
        "month-end",
        "kept",
        "MANUAL",
        source.id,
    )
    assert (copy.status, copy.plain_bytes, copy.stored_bytes) == (SnapshotStatus.CREATING, 10 * 2**30, 0)
    assert (copy.started, copy.backup_key) == (source.started, source.backup_key)
    assert (copy.keep_day, copy.schedule, copy.due) == (None, "", None)
    assert bed.flows("copy_snapshot") == [copy_id]


def test_only_an_automated_snapshot_at_rest_is_copied_and_once(bed: Bed, cluster: str) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    manual = request_snapshot(bed.control, PROJECT, name="manual", cluster_id=cluster)
    bed.finish(cluster)
    with pytest.raises(WrongKind):
        request_copy(bed.control, PROJECT, manual, name="copy-1")
    bed.at("2026-11-25T18:07:01").tick()
    running = bed.running(cluster)
    assert running is not None
    with pytest.raises(StateForbids, match="CREATING"):
        request_copy(bed.control, PROJECT, running.id, name="copy-1")
    bed.finish(cluster)
    first = request_copy(bed.control, PROJECT, running.id, name="copy-1")
    with pytest.raises(StateForbids, match="has a copy"):
        request_copy(bed.control, PROJECT, running.id, name="copy-2")
    bed.finish(cluster, failure="planted")  # a failed copy does not count
    second = request_copy(bed.control, PROJECT, running.id, name="copy-2")
    with pytest.raises(WrongKind):
        request_copy(bed.control, PROJECT, second, name="copy-3")
    assert bed.flows("copy_snapshot") == [first, second]


def test_what_is_being_copied_is_taken_neither_by_retention_nor_with_its_cluster(
    bed: Bed, cluster: str
) -> None:
    bed.policy(cluster, EIGHT_HOURLY)
    old = bed.at("2026-11-25T18:07:01").take(cluster)
    bed.at("2026-12-10T10:07:01").take(cluster)
    bed.at("2026-12-10T12:00:00")
    assert bed.snapshots(cluster)[0].id == old.id, "no tick has come since its days were over"
    request_copy(bed.control, PROJECT, old.id, name="month-end")
    bed.tick()
    assert old.id in {each.id for each in bed.snapshots(cluster)}
    with pytest.raises(ClusterBusy, match="being copied"):
        delete_cluster(bed.control, PROJECT, cluster, keep_last_manual=0)
    bed.finish(cluster)
    bed.tick()
    assert old.id not in {each.id for each in bed.snapshots(cluster)}
