"""When a schedule asks for a proof, and that one is started then and not twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog.checks import proofs
from stillhouse.control.clusters.requests import delete_cluster
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.proofs import requests
from stillhouse.control.snapshots.requests import delete_snapshot, request_snapshot
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.proof import ProofSchedule, ProofState, due_for_proof
from stillhouse.errors import ClusterUnknown, InvalidInput, SnapshotUnknown, StateForbids
from support.control.requests_bed import (
    OTHER_PROJECT,
    PROJECT,
    available_cluster,
    end_operation,
    enqueued,
    finish_snapshot,
    requests_bed,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.mark.parametrize(
    ("schedule", "last", "due"),
    [
        (ProofSchedule(), {}, None),
        (ProofSchedule(7, True), {}, "new"),
        (ProofSchedule(7, True), {"old": days_ago(3)}, None),
        (ProofSchedule(7, True), {"old": days_ago(7)}, "new"),
        (ProofSchedule(7, True), {"new": days_ago(8)}, "new"),
        (ProofSchedule(7, False), {}, "new"),
        (ProofSchedule(7, False), {"new": days_ago(1)}, "old"),
        (ProofSchedule(7, False), {"new": days_ago(8), "old": days_ago(9)}, "old"),
        (ProofSchedule(7, False), {"new": days_ago(1), "old": days_ago(2)}, None),
    ],
)
def test_the_schedule_decides_what_is_due(
    schedule: ProofSchedule, last: dict[str, datetime], due: str | None
) -> None:
    assert due_for_proof(schedule, ["new", "old"], last, NOW) == due


def test_without_snapshots_nothing_is_due() -> None:
    assert due_for_proof(ProofSchedule(1), [], {}, NOW) is None


@pytest.fixture(params=["sqlite", "postgresql"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(request.param, tmp_path) as bed:
        yield bed


def place(control: Control) -> FlowContext:
    nothing = cast(Any, None)
    return FlowContext(control, nothing, nothing, "0" * 8)


def snapshot_of(control: Control, cluster: str, name: str) -> str:
    snapshot = request_snapshot(control, PROJECT, name=name, cluster_id=cluster)
    finish_snapshot(control, snapshot)
    return snapshot


def end(control: Control, snapshot: str, state: ProofState = ProofState.PROVED) -> None:
    with control.database.transaction() as transaction:
        proof = proofs.latest(transaction, snapshot)
        assert proof is not None
        assert proofs.end(transaction, proof.id, control.clock.now(), state, {"tables": 1})
        assert not proofs.end(transaction, proof.id, control.clock.now(), ProofState.FAILED, {})


def test_what_is_due_is_started_once_and_again_after_its_days(control: Control) -> None:
    cluster = available_cluster(control)
    older, newest = (snapshot_of(control, cluster, name) for name in ("first", "second"))
    requests.set_schedule(control, PROJECT, cluster, ProofSchedule(1, newest_only=False))
    now = control.clock.now()
    assert requests.start_due_proofs(place(control), now) == [newest]
    assert requests.start_due_proofs(place(control), now) == [], "one at a time"
    end(control, newest)
    assert requests.start_due_proofs(place(control), now) == [older]
    end(control, older, ProofState.FAILED)
    assert requests.start_due_proofs(place(control), now) == []
    assert requests.start_due_proofs(place(control), now + timedelta(days=2)) == [newest]
    started = [flow for flow, _ in enqueued(control) if flow == "prove_snapshot"]
    assert len(started) == 3
    proof = requests.latest_proof(control, PROJECT, older)
    assert proof is not None and (proof.state, proof.progress) == (ProofState.FAILED, 100)


def test_a_snapshot_is_kept_while_it_is_proved_and_no_longer(control: Control) -> None:
    cluster = available_cluster(control)
    snapshot = snapshot_of(control, cluster, "kept")
    assert requests.latest_proof(control, PROJECT, snapshot) is None
    requests.request_proof(control, PROJECT, snapshot)
    for refused in (requests.request_proof, delete_snapshot):
        with pytest.raises(StateForbids, match="being proved"):
            refused(control, PROJECT, snapshot)
    beside = request_snapshot(control, PROJECT, name="beside", cluster_id=cluster)
    finish_snapshot(control, beside)
    end(control, snapshot)
    delete_snapshot(control, PROJECT, snapshot)
    with pytest.raises(SnapshotUnknown):
        requests.request_proof(control, PROJECT, snapshot)


def test_what_cannot_be_restored_is_not_proved(control: Control) -> None:
    cluster = available_cluster(control)
    creating = request_snapshot(control, PROJECT, name="creating", cluster_id=cluster)
    with pytest.raises(StateForbids, match="CREATING"):
        requests.request_proof(control, PROJECT, creating)
    with pytest.raises(SnapshotUnknown):
        requests.request_proof(control, OTHER_PROJECT, creating)


def test_a_schedule_is_its_clusters_and_bounded(control: Control) -> None:
    cluster = available_cluster(control)
    assert requests.get_schedule(control, PROJECT, cluster) == ProofSchedule(0, newest_only=True)
    for schedule in (ProofSchedule(30, newest_only=False), ProofSchedule(7)):
        requests.set_schedule(control, PROJECT, cluster, schedule)
        assert requests.get_schedule(control, PROJECT, cluster) == schedule
    for days in (-1, 3651):
        with pytest.raises(InvalidInput):
            requests.set_schedule(control, PROJECT, cluster, ProofSchedule(days))
    with pytest.raises(ClusterUnknown):
        requests.set_schedule(control, OTHER_PROJECT, cluster, ProofSchedule(1))


def test_a_deleted_clusters_schedule_starts_nothing(control: Control) -> None:
    cluster = available_cluster(control)
    snapshot_of(control, cluster, "kept")
    requests.set_schedule(control, PROJECT, cluster, ProofSchedule(1))
    delete_cluster(control, PROJECT, cluster, keep_last_manual=1)
    assert requests.start_due_proofs(place(control), control.clock.now()) == []
    end_operation(control, cluster, ClusterStatus.DELETED)
    assert requests.start_due_proofs(place(control), control.clock.now()) == []
