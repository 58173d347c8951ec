"""Automated snapshots of a cluster: its policies, and the decision which due runs are taken, wait or are skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from stillhouse.domain.schedule import Cron, Once, Schedule, parse
from stillhouse.errors import InvalidInput

# The figures of DWS (its CreateSnapshotPolicy and ListSnapshotPolicy pages, and its guide to automated snapshots). It
# gives two for the default retention: this is the later one.
MOST_OF_CLUSTER, MOST_OF_SCHEMA = 10, 50
LEAST_KEEP_DAY, MOST_KEEP_DAY, DEFAULT_KEEP_DAY = 1, 31, 7
TOLERANCE = timedelta(hours=1)
REST = timedelta(hours=4)


class BackupType(StrEnum):
    """Whether a run reads everything or only changes. Either way the snapshot needs no other snapshot."""

    FULL = "full"
    INCREMENT = "increment"


# The policies of a new cluster: name, schedule, type (DWS's ListSnapshotPolicy page).
DEFAULTS = (
    ("default-full", "0 0 2 ? * 1", BackupType.FULL),
    ("default-increment", "0 7 2/8 ? * 2,3,4,5,6,7", BackupType.INCREMENT),
)


@dataclass(frozen=True)
class BackupSettings:
    """The settings for all automated snapshots of a cluster."""

    keep_day: int = DEFAULT_KEEP_DAY
    auto_backup: bool = True


@dataclass(frozen=True)
class Policy:
    """A policy of automated snapshots. `schedule` is the text as it was given. Only runs due after `since` count."""

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
    """One due time of one policy. `seen` is when the service found it due: much later than `due` if it was down."""

    cluster_id: str
    policy_id: str
    policy_name: str
    schedule: str
    due: datetime
    seen: datetime
    is_full: bool
    is_once: bool

    @classmethod
    def of(cls, policy: Policy, due: datetime, seen: datetime) -> "Run":
        return cls(
            cluster_id=policy.cluster_id,
            policy_id=policy.id,
            policy_name=policy.name,
            schedule=policy.schedule,
            due=due,
            seen=seen,
            is_full=policy.backup_type is BackupType.FULL,
            is_once=isinstance(parse(policy.schedule), Once),
        )


@dataclass(frozen=True)
class Situation:
    """The state of the cluster when a run is decided. `blocked` says why no snapshot can be taken, or is empty.

    `automated_ended` is when the newest usable automated snapshot ended. `automated_runs` says that one is being taken.
    """

    blocked: str
    automated_ended: datetime | None
    automated_runs: bool


@dataclass(frozen=True)
class Decision:
    run: Run
    outcome: Outcome
    reason: str = ""


@lru_cache(maxsize=4096)
def next_due(policy: Policy, known: datetime | None) -> datetime | None:
    """Return when the policy falls due for the first time after its newest known due time; `None` if it never does."""
    return parse(policy.schedule).next_after(max(policy.since, known or policy.since))


def is_missed(due: datetime, automated_ended: datetime | None, *, is_once: bool) -> bool:
    """Whether a skipped run has left the cluster unprotected.

    Periodic runs that the rest after a good automated snapshot forbids are skipped on purpose.
    """
    return is_once or automated_ended is None or due >= automated_ended + REST


def check_schedule(schedule: Schedule, now: datetime) -> None:
    """Raise InvalidInput for a schedule that never runs, or that runs more often than periodic snapshots may."""
    if schedule.next_after(now) is None:
        raise InvalidInput(
            "backup_strategy: it would never run, for all of its times are past or no day has them"
        )
    if isinstance(schedule, Cron) and schedule.least_gap() < REST:
        raise InvalidInput("backup_strategy: its runs must be at least 4 hours apart")


def decide(runs: Sequence[Run], situation: Situation, now: datetime) -> list[Decision]:
    """Decide on each waiting run of one cluster. At most one is taken.

    One-off runs come before periodic ones, full before incremental. A run is skipped only if it cannot be taken now
    and an hour has passed since it was seen. So a run that fell due while the service was down is still taken.
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
    """Return the obstacle to taking the run now, and until when it lasts at least. Empty if there is no obstacle."""
    if not run.is_once:
        if taken or situation.automated_runs:
            return (
                "another automated snapshot is taken at this time, and the next one comes 4 hours later at the soonest",
                (now + REST),
            )
        ended = situation.automated_ended
        # A snapshot that ended in the future was taken under a wrong clock.
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
