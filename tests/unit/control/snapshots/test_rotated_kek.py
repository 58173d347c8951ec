"""A service whose KEK was rotated away is told so, and nothing of it is left hanging."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots import create
from stillhouse.control.snapshots.requests import get_snapshot, request_snapshot
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.upkeep.rotate import rotate
from support.control.requests_bed import PROJECT, available_cluster, requests_bed, with_repository

OLD, NEW = Kek(b"1" * 32), Kek(b"2" * 32)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FlowContext]:
    with requests_bed("sqlite", tmp_path) as control:
        yield with_repository(control, tmp_path, OLD)


def _requested(control: Control) -> tuple[str, str]:
    cluster = available_cluster(control)
    return cluster, request_snapshot(control, PROJECT, name="last", cluster_id=cluster)


def _end(place: FlowContext, snapshot_id: str) -> Any:
    """The last step of an attempt that failed."""
    create._fail(place, snapshot_id, Failure("", "the attempt failed"))
    return get_snapshot(place.control, PROJECT, snapshot_id)


def test_a_snapshot_ends_unavailable_and_says_why(place: FlowContext) -> None:
    cluster, snapshot_id = _requested(place.control)
    create_or_open(place.vault.store, OLD, cluster)
    rotate(place.vault.store, OLD, NEW)
    ended = _end(place, snapshot_id)
    assert ended.status is SnapshotStatus.UNAVAILABLE
    assert "was the KEK rotated?" in ended.reason
    # The cluster is free again, so the next request is taken.
    request_snapshot(place.control, PROJECT, name="next", cluster_id=cluster)


def test_with_both_keks_good_it_works_on(place: FlowContext) -> None:
    cluster, snapshot_id = _requested(place.control)
    create_or_open(place.vault.store, OLD, cluster)
    rotate(place.vault.store, OLD, NEW, keep_old=True)
    assert _end(place, snapshot_id).reason == "the attempt failed"
    assert place.vault.store.size(f"c/{cluster}/roots/{snapshot_id}") is not None, "the tombstone"
