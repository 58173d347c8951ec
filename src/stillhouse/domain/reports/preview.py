"""Foretells the next runs of a cluster's policies, and when each automated snapshot goes, and why. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby, islice

from stillhouse.domain import retention
from stillhouse.domain.retention import Fate
from stillhouse.domain.schedule import parse
from stillhouse.domain.snapshot import Snapshot
from stillhouse.domain.snapshot_policies import (
    BackupSettings,
    Decision,
    Outcome,
    Policy,
    Run,
    Situation,
    decide,
)

MOST_RUNS = 100
_LOOKS_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class NextRun:
    """A run to come. `begins` is when its snapshot is taken, `None` if it is skipped, and `reason` says why it is late
    or skipped. `expires` is when the snapshot goes.
    """

    policy: Policy
    due: datetime
    begins: datetime | None
    reason: str
    expires: datetime | None


@dataclass(frozen=True)
class Preview:
    runs: tuple[NextRun, ...]
    snapshots: tuple[tuple[Snapshot, Fate], ...]


def preview(
    policies: Sequence[Policy],
    settings: BackupSettings,
    snapshots: Sequence[Snapshot],
    ended: datetime | None,
    now: datetime,
    number: int,
) -> Preview:
    """Foretell the next runs, and the fates of a cluster's automated snapshots, as if every run to come succeeded.

    `ended` is when the newest usable automated snapshot ended. Runs are taken as if the cluster were at rest and a
    snapshot took no time.
    """
    due = list(islice(_due(policies, now), number)) if settings.auto_backup else []
    runs = _runs(due, ended, timedelta(days=settings.keep_day))
    newer = next((run.begins for run in runs if run.begins), None)
    return Preview(tuple(runs), tuple((one, _fate(one, snapshots, newer, now)) for one in snapshots))


def _due(policies: Sequence[Policy], now: datetime) -> Iterator[tuple[datetime, Policy]]:
    """Yield the due times of all policies in their order."""
    return merge(*(_due_of(policy, now) for policy in policies), key=lambda one: (one[0], one[1].id))


def _due_of(policy: Policy, now: datetime) -> Iterator[tuple[datetime, Policy]]:
    schedule, due = parse(policy.schedule), now
    while (run := schedule.next_after(due)) is not None:
        due = run
        yield due, policy


def _runs(due: Sequence[tuple[datetime, Policy]], ended: datetime | None, keeps: timedelta) -> list[NextRun]:
    """Decide on each due time, as the timer will at the same moments."""
    found: list[NextRun] = []
    for moment, at_once in groupby(due, key=lambda one: one[0]):
        policies = {policy.id: policy for _, policy in at_once}
        waiting, look = [Run.of(policy, moment, moment) for policy in policies.values()], moment
        while waiting:
            decisions = decide(waiting, Situation("", ended, False), look)
            for one in decisions:
                if one.outcome is Outcome.TAKEN:
                    ended = look
                if one.outcome is not Outcome.WAITING:
                    found.append(_decided(policies[one.run.policy_id], one, look, keeps))
            waiting = [one.run for one in decisions if one.outcome is Outcome.WAITING]
            look += _LOOKS_EVERY
    return sorted(found, key=lambda run: (run.due, run.policy.name))


def _decided(policy: Policy, decision: Decision, look: datetime, keeps: timedelta) -> NextRun:
    due = decision.run.due
    if decision.outcome is Outcome.SKIPPED:
        return NextRun(policy, due, None, decision.reason, None)
    late = f"it waits until {look:%H:%M} UTC, 4 hours after the snapshot before it" if look > due else ""
    return NextRun(policy, due, look, late, look + keeps)


def _fate(one: Snapshot, snapshots: Sequence[Snapshot], newer: datetime | None, now: datetime) -> Fate:
    """The newest good one goes too, once a newer one is there and its days are over."""
    if one.id != retention.last_good_of(snapshots, now) or one.keep_day is None:
        return retention.fate(one, now, is_last_good=False)
    if newer is None:
        return retention.fate(one, now, is_last_good=True)
    over = retention.fate(one, now, is_last_good=False)
    return (
        over if over.expires is None else Fate(max(over.expires, newer), retention.of_last_good(one.keep_day))
    )
