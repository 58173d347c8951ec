"""The duty that measures snapshots: each cluster once, one at a time, and not again at once where it fails."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog import snapshot_sizes, snapshots
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots.requests import request_snapshot
from stillhouse.control.upkeep import own_bytes
from stillhouse.control.upkeep.own_bytes import Measurer
from stillhouse.errors import RepositoryDamaged
from support.control.requests_bed import PROJECT, available_cluster, finish_snapshot, requests_bed


@dataclass
class Bed:
    control: Control
    measurer: Measurer = field(default_factory=Measurer)
    asked: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    is_damaged: bool = False

    def measure(self, place: FlowContext, cluster_id: str) -> None:
        self.asked.append(cluster_id)
        if self.is_damaged:
            raise RepositoryDamaged("a manifest is gone")
        with self.control.database.transaction() as transaction:
            snapshot_sizes.save(transaction, cluster_id, self.sizes)

    def tick(self) -> None:
        nothing = cast(Any, None)
        self.measurer(FlowContext(self.control, nothing, nothing, "0" * 8), self.control.clock.now())
        if self.measurer._work is not None:
            self.measurer._work.join(30)

    def own(self, snapshot: str) -> int | None:
        with self.control.database.reading() as reading:
            return snapshots.read_snapshot(reading, snapshot).own_bytes


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    with requests_bed("sqlite", tmp_path) as control:
        bed = Bed(control)
        monkeypatch.setattr(own_bytes, "measure", bed.measure)
        yield bed


def taken(bed: Bed, name: str, cluster: str) -> str:
    snapshot = request_snapshot(bed.control, PROJECT, name=name, cluster_id=cluster)
    bed.tick()  # it is being taken: nothing to measure
    finish_snapshot(bed.control, snapshot)
    return snapshot


def test_a_cluster_is_measured_once_after_each_snapshot(bed: Bed) -> None:
    cluster = available_cluster(bed.control)
    first = taken(bed, "first", cluster)
    assert bed.asked == [] and bed.own(first) is None
    bed.sizes = {first: (20, 10)}
    for _ in range(3):
        bed.tick()
    assert bed.asked == [cluster] and bed.own(first) == 10
    second = taken(bed, "second", cluster)
    bed.sizes = {first: (20, 5), second: (20, 5)}
    bed.tick()
    assert bed.asked == [cluster] * 2 and bed.own(first) == bed.own(second) == 5


def test_what_a_purge_has_changed_is_measured_again(bed: Bed) -> None:
    cluster = available_cluster(bed.control)
    snapshot = taken(bed, "first", cluster)
    bed.sizes = {snapshot: (20, 10)}
    bed.tick()
    with bed.control.database.transaction() as transaction:
        snapshot_sizes.forget(transaction, cluster)
    bed.sizes = {snapshot: (20, 20)}
    bed.tick()
    assert bed.own(snapshot) == 20


@pytest.mark.parametrize("is_damaged", [True, False])
def test_what_cannot_be_measured_is_not_tried_at_each_tick_and_holds_up_no_other(
    bed: Bed, is_damaged: bool
) -> None:
    """A manifest cannot be read, or the repository does not have the snapshot."""
    clusters = [available_cluster(bed.control, name) for name in ("sales", "stock")]
    for number, cluster in enumerate(clusters):
        taken(bed, f"snapshot-{number}", cluster)
    bed.is_damaged = is_damaged
    for _ in range(5):
        bed.tick()
    assert sorted(bed.asked) == sorted(clusters)
