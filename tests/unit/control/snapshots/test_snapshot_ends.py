"""The transaction that ends a snapshot hands its cluster on: to the next snapshot, or to a deletion."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillhouse.control.clusters.requests import delete_cluster
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots import create
from stillhouse.control.snapshots.requests import get_snapshot
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.format.root import Root
from support.control.requests_bed import (
    PROJECT,
    available_cluster,
    enqueued,
    request_snapshots,
    requests_bed,
    with_repository,
)

End = Callable[[FlowContext, str], None]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FlowContext]:
    with requests_bed("sqlite", tmp_path) as control:
        yield with_repository(control, tmp_path, Kek(b"1" * 32))


def succeed(place: FlowContext, snapshot: str) -> None:
    """The last step of a flow whose snapshot is published."""
    root = Root(snapshot=snapshot, project=PROJECT, plain_bytes=1, stored_bytes=1, nodes=())
    create._mark_available(place, get_snapshot(place.control, PROJECT, snapshot), root)


def fail(place: FlowContext, snapshot: str) -> None:
    """The last step of a flow that gives up."""
    create._fail(place, snapshot, Failure("", "the attempt failed"))


ends = pytest.mark.parametrize("end", [succeed, fail])


def begun(control: Control, flow: str) -> list[str]:
    return [subject for name, subject in enqueued(control) if name == flow]


def die(*_: object) -> None:
    raise RuntimeError("killed")


@ends
def test_the_next_snapshot_has_its_turn_when_the_one_before_ends(
    place: FlowContext, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    running, second = request_snapshots(place.control, available_cluster(place.control), "running", "second")
    with monkeypatch.context() as patched:
        patched.setattr("stillhouse.control.snapshots.queue.snapshots.set_started", die)
        with pytest.raises(RuntimeError):
            end(place, running)
    assert get_snapshot(place.control, PROJECT, running).status is SnapshotStatus.CREATING
    assert begun(place.control, "create_snapshot") == [running]
    end(place, running)
    assert get_snapshot(place.control, PROJECT, running).status is not SnapshotStatus.CREATING
    assert begun(place.control, "create_snapshot") == [running, second]


@ends
def test_a_deletion_begins_when_the_snapshot_that_it_called_off_ends(
    place: FlowContext, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    cluster = available_cluster(place.control)
    (running,) = request_snapshots(place.control, cluster, "running")
    delete_cluster(place.control, PROJECT, cluster, 0)
    with monkeypatch.context() as patched:
        patched.setattr("stillhouse.control.snapshots.queue.operations.add_detail", die)
        with pytest.raises(RuntimeError):
            end(place, running)
    assert get_snapshot(place.control, PROJECT, running).status is SnapshotStatus.CREATING
    assert begun(place.control, "delete_cluster") == []
    end(place, running)
    assert begun(place.control, "delete_cluster") == [cluster]
