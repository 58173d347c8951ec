"""Plots stay on their canvas, whatever the snapshots are."""

from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.console import plots
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def snapshot(age_hours: float, plain: int, stored: int, status: str = "AVAILABLE") -> Snapshot:
    began = NOW - timedelta(hours=age_hours)
    return Snapshot(
        id=new_uuid(),
        project="0" * 32,
        cluster_id=new_uuid(),
        cluster_name="sales",
        name="a-snapshot",
        description="",
        status=SnapshotStatus(status),
        type=SnapshotType.AUTO,
        started=began,
        updated=began,
        plain_bytes=plain,
        stored_bytes=stored,
    )


@pytest.mark.parametrize(
    "newest_first",
    [
        [snapshot(0, 10, 10)],
        [snapshot(0, 0, 0), snapshot(0, 0, 0)],
        [snapshot(0, 2**50, 5), snapshot(1, 1, 2**50), snapshot(24 * 365, 7, 0, "UNAVAILABLE")],
    ],
)
def test_every_shape_is_on_the_canvas(newest_first: list[Snapshot]) -> None:
    line = plots.time_line(newest_first)
    assert line is not None and len(line.bars) == len(newest_first)
    assert all(0 <= bar.x <= plots.WIDTH and 0 < bar.height <= plots.HEIGHT for bar in line.bars)
    assert [bar.x for bar in line.bars] == sorted(bar.x for bar in line.bars)
    grown = plots.growth(newest_first)
    if grown is not None:
        points = [tuple(map(float, one.split(","))) for one in (grown.data + " " + grown.added).split()]
        assert all(0 <= x <= plots.WIDTH and 0 <= y <= plots.HEIGHT for x, y in points)


def test_growth_needs_two_good_snapshots() -> None:
    assert plots.time_line([]) is None
    assert plots.growth([snapshot(0, 5, 5), snapshot(1, 5, 5, "UNAVAILABLE")]) is None
    grown = plots.growth([snapshot(0, 7, 1), snapshot(1, 5, 4)])
    assert grown is not None and (grown.data_last, grown.added_last, grown.most) == (7, 5, 7)
