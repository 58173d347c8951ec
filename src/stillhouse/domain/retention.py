"""Retention: decides which automated snapshots expire, and says in words why each one stays or goes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType


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
    last_good = _last_good(snapshots, now)
    return [_judge(snapshot, keep_day, now, is_last_good=snapshot.id == last_good) for snapshot in snapshots]


def _last_good(snapshots: Sequence[Snapshot], now: datetime) -> str | None:
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


def _judge(snapshot: Snapshot, keep_day: int, now: datetime, *, is_last_good: bool) -> Verdict:
    if snapshot.type is not SnapshotType.AUTO:
        return Verdict(snapshot, False, "it is a manual one and stays until it is deleted")
    if snapshot.status is SnapshotStatus.CREATING:
        return Verdict(snapshot, False, "it is being taken")
    if is_last_good:
        return Verdict(snapshot, False, "it is the newest automated snapshot that can be restored")
    age = now - snapshot.started
    if age < timedelta(days=keep_day):
        return Verdict(snapshot, False, f"its {keep_day} days are not over")
    if snapshot.use:
        return Verdict(snapshot, False, f"it is {snapshot.use}, and goes when that is over")
    what = "" if snapshot.status is SnapshotStatus.AVAILABLE else "it failed, and "
    return Verdict(snapshot, True, f"{what}its {keep_day} days are over: it is {age.days} days old")
