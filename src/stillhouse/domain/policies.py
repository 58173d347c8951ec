"""Automated snapshots of a cluster: its policies, and which of the runs that are due is taken, waits or is skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from stillhouse.domain.schedule import Cron, Schedule
from stillhouse.errors import InvalidInput

# DWS's figures (contract, 1.13, 1.14 and 7.2); of the two it gives for the retention that nobody chose, the later.
MOST_OF_CLUSTER, MOST_OF_SCHEMA = 10, 50
LEAST_KEEP_DAY, MOST_KEEP_DAY, DEFAULT_KEEP_DAY = 1, 31, 7
TOLERANCE = timedelta(hours=1)
REST = timedelta(hours=4)


class BackupType(StrEnum):
    """What a run reads: everything anew, or what changed. Either way the snapshot stands alone."""

    FULL = "full"
    INCREMENT = "increment"


# What a new cluster begins with: name, schedule, type (contract, 1.14).
DEFAULTS = (
    ("default-full", "0 0 2 ? * 1", BackupType.FULL),
    ("default-increment", "0 7 2/8 ? * 2,3,4,5,6,7", BackupType.INCREMENT),
)


@dataclass(frozen=True)
class BackupSettings:
    """What holds for all of a cluster's automated snapshots."""

    keep_day: int = DEFAULT_KEEP_DAY
    auto_backup: bool = True


@dataclass(frozen=True)
class Policy:
    """`schedule` is its text as it was given. Only what falls due after `since` is its."""

    id: str
    cluster_id: str
    name: str
    schedule: str
    backup_type: BackupType
    time_zone_offset: int
    since: datetime
    updated: datetime


class Outcome(StrEnum):
    WAITING = "waiting"
    TAKEN = "taken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Run:
    """One due time of one policy. `seen` is when the service found it due: later than `due` when it was down."""

    cluster_id: str
    policy_id: str
    policy_name: str
    schedule: str
    due: datetime
    seen: datetime
    is_full: bool
    is_once: bool


@dataclass(frozen=True)
class Situation:
    """What a run finds. `blocked` says why the cluster cannot be snapshot, and is empty when it can.

    `automated_ended` is when the newest usable automated snapshot was done, `automated_runs` that one is being taken.
    """

    blocked: str
    automated_ended: datetime | None
    automated_runs: bool


@dataclass(frozen=True)
class Decision:
    run: Run
    outcome: Outcome
    reason: str = ""


def check_schedule(schedule: Schedule, now: datetime) -> None:
    """Raises InvalidInput for what will never run, or more often than periodic snapshots may."""
    if schedule.next_after(now) is None:
        raise InvalidInput(
            "backup_strategy: it would never run, for all of its times are past or no day has them"
        )
    if isinstance(schedule, Cron) and schedule.least_gap() < REST:
        raise InvalidInput("backup_strategy: its runs must be at least 4 hours apart")


def decide(runs: Sequence[Run], situation: Situation, now: datetime) -> list[Decision]:
    """What becomes of each waiting run of one cluster; at most one is taken.

    One-off runs come before periodic ones, full before incremental. A run is skipped only when it cannot be taken now
    and an hour has passed since it was seen: so one that fell into a time when the service was down is made up for.
    """
    decisions: list[Decision] = []
    taken = False
    for run in sorted(runs, key=lambda run: (not run.is_once, not run.is_full, run.due, run.policy_id)):
        obstacle, ends = _obstacle(run, situation, now, taken=taken)
        if not obstacle:
            taken = True
            decisions.append(Decision(run, Outcome.TAKEN))
        elif max(now, ends) > run.seen + TOLERANCE:
            decisions.append(Decision(run, Outcome.SKIPPED, obstacle))
        else:
            decisions.append(Decision(run, Outcome.WAITING, obstacle))
    return decisions


def _obstacle(run: Run, situation: Situation, now: datetime, *, taken: bool) -> tuple[str, datetime]:
    """Why the run cannot be taken now, and until when that will be so at least."""
    if not run.is_once:
        if taken or situation.automated_runs:
            return (
                "another automated snapshot is taken at this time, and the next one comes 4 hours later at the soonest",
                (now + REST),
            )
        ended = situation.automated_ended
        # One that ended in the future was taken under a wrong clock.
        if ended is not None and ended <= now < ended + REST:
            return (
                f"the automated snapshot before it ended less than 4 hours ago, at {ended:%Y-%m-%dT%H:%M:%SZ}",
                (ended + REST),
            )
    if situation.blocked:
        return situation.blocked, now
    if taken:
        return "another automated snapshot is taken at this time", now
    return "", now
