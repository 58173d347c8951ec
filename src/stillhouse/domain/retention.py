"""Retention: decides which automated snapshots expire, and says in words why each one stays or goes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

_MANUAL = "it is a manual one and stays until it is deleted"
_TAKEN = "it is being taken"


@dataclass(frozen=True)
class Verdict:
    snapshot: Snapshot
    expires: bool
    why: str


def plan(snapshots: Sequence[Snapshot], keep_day: int, now: datetime) -> list[Verdict]:
    """Return a verdict on each of a cluster's snapshots, in their order.

    No snapshot needs another one, so each is judged by its own age, counted from its start. One rule comes first: the
    newest automated snapshot that can be restored stays, however old it is, because all later ones have failed.
    """
    last_good = last_good_of(snapshots, now)
    return [_judge(snapshot, keep_day, now, is_last_good=snapshot.id == last_good) for snapshot in snapshots]


@dataclass(frozen=True)
class Fate:
    """When a snapshot goes by itself, `None` if it does not, and why."""

    expires: datetime | None
    why: str


def fate(snapshot: Snapshot, now: datetime, *, is_last_good: bool) -> Fate:
    """Say when retention will move the snapshot to the trash, or why it will not, by the rules of `plan`."""
    if snapshot.type is not SnapshotType.AUTO:
        return Fate(None, _MANUAL)
    if snapshot.status is SnapshotStatus.CREATING:
        return Fate(None, _TAKEN)
    if snapshot.keep_day is None:
        return Fate(None, "its cluster has no retention")
    if is_last_good:
        return Fate(None, of_last_good(snapshot.keep_day))
    verdict = _judge(snapshot, snapshot.keep_day, now, is_last_good=False)
    expires = max(snapshot.started + timedelta(days=snapshot.keep_day), now)
    if expires > now:
        return Fate(expires, f"its {snapshot.keep_day} days are over then")
    return Fate(expires, verdict.why)


def last_good_of(snapshots: Sequence[Snapshot], now: datetime) -> str | None:
    """Return the id of the newest good automated snapshot. A snapshot from the future, taken under a wrong clock, must
    not take the place of the real newest one.
    """
    good = [
        snapshot
        for snapshot in snapshots
        if snapshot.type is SnapshotType.AUTO and snapshot.status is SnapshotStatus.AVAILABLE
    ]
    past = [snapshot for snapshot in good if snapshot.started <= now]
    newest = max(past or good, key=lambda snapshot: (snapshot.started, snapshot.id), default=None)
    return None if newest is None else newest.id


def of_last_good(keep_day: int) -> str:
    """Say why the newest good automated snapshot stays; a preview of the next runs adds the day."""
    return (
        "it is the newest automated snapshot that can be restored, and stays until there is a newer one and its"
        f" {keep_day} days are over"
    )


def _judge(snapshot: Snapshot, keep_day: int, now: datetime, *, is_last_good: bool) -> Verdict:
    if snapshot.type is not SnapshotType.AUTO:
        return Verdict(snapshot, False, _MANUAL)
    if snapshot.status is SnapshotStatus.CREATING:
        return Verdict(snapshot, False, _TAKEN)
    if is_last_good:
        return Verdict(snapshot, False, of_last_good(keep_day))
    age = now - snapshot.started
    if age < timedelta(days=keep_day):
        return Verdict(snapshot, False, f"its {keep_day} days are not over")
    if snapshot.use:
        return Verdict(snapshot, False, f"it is {snapshot.use}, and goes when that is over")
    what = "" if snapshot.status is SnapshotStatus.AVAILABLE else "it failed, and "
    return Verdict(snapshot, True, f"{what}its {keep_day} days are over: it is {age.days} days old")
