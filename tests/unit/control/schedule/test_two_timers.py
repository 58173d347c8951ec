"""Timers that look at the same catalog at the same moment, on both databases and with real flows: one snapshot."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.schedule.automated import start_due_retention, start_due_snapshots
from stillhouse.control.schedule.snapshot_policies import Strategy, set_policies
from stillhouse.control.snapshots.requests import list_snapshots
from stillhouse.domain.snapshot_policies import BackupType, Outcome
from support.control.automated_bed import ended_runs
from support.control.requests_bed import PROJECT, available_cluster, enqueued, finish_snapshot, requests_bed

TIMERS = 4


@pytest.fixture(params=["sqlite", "postgresql"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(request.param, tmp_path) as bed:
        yield bed


def test_timers_that_look_together_take_and_expire_each_thing_once(control: Control) -> None:
    cluster = available_cluster(control)
    for name, schedule in (("nightly", "0 0 2 ? * *"), ("weekly", "0 0 2 ? * 1-7")):
        strategy = Strategy(name=name, schedule=schedule, backup_type=BackupType.INCREMENT)
        set_policies(control, PROJECT, cluster, [strategy])
    nothing = cast(Any, None)
    place = FlowContext(control, nothing, nothing, "0" * 8)
    tomorrow = control.clock.now() + timedelta(days=1)

    def all_look(days: int) -> None:
        together = threading.Barrier(TIMERS)

        def look(_number: int) -> None:
            together.wait()
            start_due_snapshots(place, tomorrow + timedelta(days=days))
            start_due_retention(place, tomorrow + timedelta(days=days))

        with ThreadPoolExecutor(TIMERS) as pool:
            list(pool.map(look, range(TIMERS)))

    all_look(0)
    (first,) = list_snapshots(control, PROJECT)
    with control.database.reading() as reading:
        outcomes = sorted(each.outcome for each in ended_runs(reading, cluster))
    assert outcomes == [Outcome.SKIPPED, Outcome.TAKEN]
    finish_snapshot(control, first.id)
    all_look(8)
    (second,) = [each for each in list_snapshots(control, PROJECT) if each.id != first.id]
    finish_snapshot(control, second.id)
    with control.database.transaction() as transaction:
        transaction.exec_driver_sql("DELETE FROM sh_policies")
    all_look(9)
    flows = [name for name, _ in enqueued(control)]
    assert flows.count("create_snapshot") == 2
    assert [subject for name, subject in enqueued(control) if name == "delete_snapshot"] == [first.id]
