"""Plots of a cluster's snapshots as shapes on a canvas, which a template writes as SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

WIDTH, HEIGHT = 720, 120
_LEAST_BAR = 3.0
# Bars and points keep a little away from the edge.
_MARGIN = 6.0


@dataclass(frozen=True)
class Bar:
    """One snapshot: where and how tall it stands, its kind (manual, auto, failed, taken), and its facts."""

    x: float
    height: float
    kind: str
    snapshot: Snapshot


@dataclass(frozen=True)
class TimeLine:
    """Bars of added bytes over time; the tallest stands for `most` bytes."""

    bars: tuple[Bar, ...]
    most: int
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Growth:
    """Two lines over time, as SVG's lists of points: the size of the data, and all that was added until then."""

    data: str
    added: str
    most: int
    data_last: int
    added_last: int
    since: datetime
    until: datetime


def time_line(newest_first: Sequence[Snapshot]) -> TimeLine | None:
    """Draw the snapshots; `None` if there is none."""
    found = newest_first[::-1]
    if not found:
        return None
    most = max(one.stored_bytes for one in found)
    since, until = found[0].started, found[-1].started
    bars = tuple(
        Bar(
            _x(one.started, since, until),
            round(max(_LEAST_BAR, (HEIGHT - _MARGIN) * one.stored_bytes / (most or 1)), 1),
            _kind(one),
            one,
        )
        for one in found
    )
    return TimeLine(bars, most, since, until)


def growth(newest_first: Sequence[Snapshot]) -> Growth | None:
    """Draw the good snapshots; `None` if there are fewer than two."""
    found = [one for one in newest_first[::-1] if one.status is SnapshotStatus.AVAILABLE]
    if len(found) < 2:
        return None
    since, until = found[0].started, found[-1].started
    added, sums = 0, []
    for one in found:
        added += one.stored_bytes
        sums.append(added)
    sizes = [one.plain_bytes for one in found]
    most = max(*sizes, *sums, 1)
    across = [_x(one.started, since, until) for one in found]
    return Growth(
        _points(across, sizes, most), _points(across, sums, most), most, sizes[-1], sums[-1], since, until
    )


def _x(time: datetime, since: datetime, until: datetime) -> float:
    share = (time - since) / (until - since) if until > since else 0.5
    return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)


def _points(across: Sequence[float], values: Sequence[int], most: int) -> str:
    tall = HEIGHT - 2 * _MARGIN
    return " ".join(
        f"{x},{HEIGHT - _MARGIN - tall * value / most:.1f}" for x, value in zip(across, values, strict=True)
    )


def _kind(snapshot: Snapshot) -> str:
    if snapshot.status is SnapshotStatus.CREATING:
        return "taken"
    if snapshot.status is SnapshotStatus.UNAVAILABLE:
        return "failed"
    return "auto" if snapshot.type is SnapshotType.AUTO else "manual"
