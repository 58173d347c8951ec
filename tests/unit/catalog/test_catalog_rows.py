"""The rows flows work on: each change holds once, and a step that runs again spoils nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Table, Text

from stillhouse.catalog import captures, clusters, operations, snapshots, trash
from stillhouse.catalog.schema import tables
from stillhouse.catalog.schema.columns import UtcTime
from stillhouse.control.clusters.requests import ClusterRequest, request_cluster
from stillhouse.control.context import Control
from stillhouse.control.snapshots.requests import delete_snapshot, get_snapshot, request_snapshot
from stillhouse.domain.cluster import ClusterStatus, Node, Role, Task
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE
from stillhouse.domain.snapshot import Cut, RestorePoint, SnapshotStatus
from stillhouse.errors import AttemptDead, ClusterBusy, ClusterUnknown, SnapshotUnknown
from support.control.requests_bed import PASSWORD, PROJECT, available_cluster, finish_snapshot, requests_bed

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
DISK_FULL = Failure("store.unavailable", "disk full on node 2", "make room")


@pytest.fixture(params=["sqlite", "postgresql"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(request.param, tmp_path) as bed:
        yield bed


@pytest.fixture
def snapshot_id(control: Control) -> str:
    return request_snapshot(control, PROJECT, name="nightly", cluster_id=available_cluster(control))


def _node(number: int, role: Role) -> Node:
    return Node(
        id=f"node-{number}",
        name=f"sales-{role}-{number}",
        role=role,
        host=f"127.1.0.{number}",
        port=8000,
        directory=f"/data/{number}",
        socket=f"/run/{number}",
        lineage="a" * 32,
    )


def test_a_cluster_keeps_its_nodes_in_order(control: Control) -> None:
    cluster_id = available_cluster(control, tags=[{"key": "team", "value": "bi\0\ud800"}])
    members = (_node(3, Role.CN), _node(1, Role.DN), _node(2, Role.DN))
    with control.database.transaction() as transaction:
        clusters.save_nodes(transaction, cluster_id, members[:1])
        clusters.save_nodes(transaction, cluster_id, members)
        clusters.set_lineage(transaction, "node-1", "b" * 32)
    with control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
        assert clusters.all_clusters(reading) == [cluster]
    assert [node.id for node in cluster.nodes] == ["node-3", "node-1", "node-2"]
    assert cluster.coordinator == members[0]
    assert cluster.nodes[1].lineage == "b" * 32
    assert cluster.facts == {"tags": [{"key": "team", "value": "bi\0\ud800"}]}


def test_times_come_back_exact_and_in_utc(control: Control) -> None:
    cluster_id = available_cluster(control)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))
    with control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, True, elsewhere)
    with control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
    assert cluster.updated == NOW
    assert cluster.updated.tzinfo is UTC


def test_only_one_operation_holds_a_cluster_until_it_ends(control: Control) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        first = operations.begin(transaction, cluster_id, Task.REBOOTING, cluster_id, NOW, {"a": 1})
    with pytest.raises(ClusterBusy), control.database.transaction() as transaction:
        operations.begin(transaction, cluster_id, Task.DELETING, cluster_id, NOW)
    with control.database.transaction() as transaction:
        held = operations.active(transaction, cluster_id)
        assert held is not None
        assert (held.id, held.kind, held.detail, held.started) == (first, Task.REBOOTING, {"a": 1}, NOW)
        assert operations.end(transaction, first, NOW, DONE)
        assert operations.active(transaction, cluster_id) is None
        operations.begin(transaction, cluster_id, Task.DELETING, cluster_id, NOW)


def test_progress_of_an_operation_only_grows_and_shows_on_the_cluster(control: Control) -> None:
    cluster_id = request_cluster(
        control, PROJECT, ClusterRequest(name="sales", number_of_node=1, user_pwd=PASSWORD)
    )
    with control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster_id)
        assert operation is not None
        for percent in (10, 40, 20):
            operations.set_progress(transaction, operation.id, percent)
        cluster = clusters.read_cluster(transaction, cluster_id)
    assert (cluster.task, cluster.progress) == (Task.CREATING, 40)


def test_ending_an_operation_twice_does_not_touch_what_came_after(control: Control) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        first = operations.begin(transaction, cluster_id, Task.REBOOTING, cluster_id, NOW)
        assert clusters.end_operation(transaction, first, NOW, ClusterStatus.AVAILABLE)
        operations.begin(transaction, cluster_id, Task.DELETING, cluster_id, NOW)
        clusters.set_status(transaction, cluster_id, ClusterStatus.DELETING, NOW)
        assert not clusters.end_operation(transaction, first, NOW, ClusterStatus.AVAILABLE)
        cluster = clusters.read_cluster(transaction, cluster_id)
    assert (cluster.status, cluster.task) == (ClusterStatus.DELETING, Task.DELETING)


def test_a_failed_operation_leaves_its_reason(control: Control) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        operation = operations.begin(transaction, cluster_id, Task.DELETING, cluster_id, NOW)
        clusters.end_operation(
            transaction,
            operation,
            NOW,
            ClusterStatus.DELETE_FAILED,
            failed_code="node.unreachable",
            failure=Failure("node.unreachable", "a server does not stop", "stop it"),
        )
        cluster = clusters.read_cluster(transaction, cluster_id)
    assert cluster.status is ClusterStatus.DELETE_FAILED
    assert (cluster.failed_code, cluster.failed_reason) == (
        "node.unreachable",
        "a server does not stop (stop it)",
    )


def test_a_deleted_cluster_is_gone_for_requests_but_not_for_flows(control: Control) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        operation = operations.begin(transaction, cluster_id, Task.DELETING, cluster_id, NOW)
        clusters.end_operation(transaction, operation, NOW, ClusterStatus.DELETED)
        assert clusters.find_cluster(transaction, PROJECT, cluster_id) is None
        assert clusters.all_clusters(transaction) == []
        assert clusters.read_cluster(transaction, cluster_id).status is ClusterStatus.DELETED
        with pytest.raises(ClusterUnknown):
            clusters.read_cluster(transaction, "no such id")


def test_a_snapshot_becomes_available_as_its_cluster_becomes_free(control: Control, snapshot_id: str) -> None:
    with control.database.transaction() as transaction:
        snapshots.set_progress(transaction, snapshot_id, 30, NOW)
        snapshots.set_progress(transaction, snapshot_id, 20, NOW)
        running = snapshots.read_snapshot(transaction, snapshot_id)
        held = clusters.read_cluster(transaction, running.cluster_id)
        assert snapshots.mark_available(transaction, snapshot_id, NOW, plain_bytes=2**40, stored_bytes=7)
        done = snapshots.read_snapshot(transaction, snapshot_id)
        free = clusters.read_cluster(transaction, running.cluster_id)
    assert (running.status, running.progress, held.progress) == (SnapshotStatus.CREATING, 30, 30)
    assert (done.status, done.progress, done.plain_bytes) == (SnapshotStatus.AVAILABLE, 100, 2**40)
    assert done.finished == NOW
    assert (held.task, free.task) == (Task.SNAPSHOTTING, None)


def test_what_ended_one_way_cannot_end_another(control: Control, snapshot_id: str) -> None:
    with control.database.transaction() as transaction:
        assert snapshots.mark_unavailable(transaction, snapshot_id, NOW, DISK_FULL)
        assert not snapshots.mark_unavailable(transaction, snapshot_id, NOW, Failure("", "again"))
        assert not snapshots.mark_available(transaction, snapshot_id, NOW, plain_bytes=1, stored_bytes=1)
        snapshot = snapshots.read_snapshot(transaction, snapshot_id)
    assert (snapshot.status, snapshot.failure) == (SnapshotStatus.UNAVAILABLE, DISK_FULL)


def test_ending_a_snapshot_again_leaves_the_next_operation_alone(control: Control, snapshot_id: str) -> None:
    finish_snapshot(control, snapshot_id)
    cluster_id = get_snapshot(control, PROJECT, snapshot_id).cluster_id
    later = request_snapshot(control, PROJECT, name="later", cluster_id=cluster_id)
    with control.database.transaction() as transaction:
        assert not snapshots.mark_available(transaction, snapshot_id, NOW, plain_bytes=1, stored_bytes=1)
        operation = operations.active(transaction, cluster_id)
    assert operation is not None
    assert operation.subject_id == later


def test_a_new_attempt_kills_the_work_of_the_old_one(control: Control, snapshot_id: str) -> None:
    with control.database.transaction() as transaction:
        first = captures.begin_attempt(transaction, snapshot_id, ["cn", "dn1"], NOW)
        captures.set_bytes(transaction, snapshot_id, "cn", first, NOW, done=5, total=2**45)
        captures.add_part(transaction, snapshot_id, "cn", first, ("one", 2**45, "hash"), NOW)
        captures.add_part(transaction, snapshot_id, "cn", first, ("two", 7, "hash"), NOW)
        captures.set_state(transaction, snapshot_id, "cn", first, CaptureState.DONE, NOW)
        captures.set_state(transaction, snapshot_id, "dn1", first, CaptureState.READY, NOW)
        second = captures.begin_attempt(transaction, snapshot_id, ["cn", "dn1"], NOW)
        old = captures.list_captures(transaction, snapshot_id, first)
        new = captures.list_captures(transaction, snapshot_id, second)
        captures.add_part(transaction, snapshot_id, "cn", second, ("three", 8, "hash"), NOW)
        parts = captures.parts_of(transaction, snapshot_id, "cn")
        with pytest.raises(AttemptDead):
            captures.set_state(transaction, snapshot_id, "dn1", first, CaptureState.DONE, NOW)
        with pytest.raises(AttemptDead):
            captures.set_bytes(transaction, snapshot_id, "dn9", second, NOW, done=1, total=1)
        captures.set_state(
            transaction, snapshot_id, "dn1", second, CaptureState.FAILED, NOW, error="page 7 is torn"
        )
    assert (first, second) == (1, 2)
    assert [capture.state for capture in old] == [CaptureState.DONE, CaptureState.ABANDONED]
    assert (old[0].bytes_done, old[0].bytes_total) == (5, 2**45)
    assert parts == [("one", 2**45, "hash"), ("two", 7, "hash"), ("three", 8, "hash")]
    assert [capture.state for capture in new] == [CaptureState.COPYING] * 2


def test_an_attempt_at_an_unknown_snapshot_is_refused(control: Control) -> None:
    with pytest.raises(SnapshotUnknown), control.database.transaction() as transaction:
        captures.begin_attempt(transaction, "nothing", ["cn"], NOW)


def test_a_cut_comes_back_whole_and_one_made_again_replaces_it(control: Control, snapshot_id: str) -> None:
    points = (RestorePoint("cn", "cut-1", 2**40, 1), RestorePoint("dn1", "cut-1", 77, 3))
    again = Cut(points=points[:1], pause_seconds=0.0051, tries=2)
    with control.database.transaction() as transaction:
        assert captures.read_cut(transaction, snapshot_id, 1) is None
        first = Cut(points=points, pause_seconds=0.25, tries=1)
        captures.save_cut(transaction, snapshot_id, 1, first)
        assert captures.read_cut(transaction, snapshot_id, 1) == first
        captures.save_cut(transaction, snapshot_id, 1, again)
        assert captures.read_cut(transaction, snapshot_id, 1) == again


def test_the_trash_is_released_by_age_and_forgetting_leaves_nothing(
    control: Control, snapshot_id: str
) -> None:
    with control.database.transaction() as transaction:
        attempt = captures.begin_attempt(transaction, snapshot_id, ["cn"], NOW)
        cut = Cut(points=(RestorePoint("cn", "p", 1, 1),), pause_seconds=0, tries=1)
        captures.save_cut(transaction, snapshot_id, attempt, cut)
        snapshots.forget_snapshot(transaction, snapshot_id)
        assert snapshots.read_snapshot(transaction, snapshot_id), "only what is in the trash is forgotten"
        assert captures.read_cut(transaction, snapshot_id, attempt) == cut
    finish_snapshot(control, snapshot_id)
    delete_snapshot(control, PROJECT, snapshot_id)
    moment = control.clock.now()
    with control.database.transaction() as transaction:
        cluster_id = snapshots.read_snapshot(transaction, snapshot_id).cluster_id
        trash.release(transaction, cluster_id, moment - timedelta(days=1), moment)
        assert trash.released(transaction, cluster_id) == []
        trash.release(transaction, cluster_id, moment, moment)
        trash.release(transaction, cluster_id, moment, moment)
        assert trash.released(transaction, cluster_id) == [snapshot_id]
        assert trash.list_trash(transaction, PROJECT) == []
        trash.forget(transaction, snapshot_id)
        with pytest.raises(SnapshotUnknown):
            snapshots.read_snapshot(transaction, snapshot_id)


def test_no_table_is_left_with_a_row_of_a_forgotten_snapshot(control: Control, snapshot_id: str) -> None:
    """But the runs of policies: that a due time was taken holds for ever."""
    about = [table for table in tables.metadata.sorted_tables if "snapshot_id" in table.c]
    assert {"sh_policy_runs", "sh_copies", "sh_proofs", "sh_purges"} <= {table.name for table in about}
    finish_snapshot(control, snapshot_id)
    delete_snapshot(control, PROJECT, snapshot_id)
    with control.database.transaction() as transaction:
        cluster_id = snapshots.read_snapshot(transaction, snapshot_id).cluster_id
        for table in about:
            transaction.execute(table.insert(), a_row(table, snapshot_id, cluster_id))
        trash.forget(transaction, snapshot_id)
        left = [
            table.name
            for table in about
            if transaction.execute(table.select().where(table.c.snapshot_id == snapshot_id)).first()
        ]
    assert left == ["sh_policy_runs"]


def a_row(table: Table, snapshot_id: str, cluster_id: str) -> dict[str, Any]:
    known = {"snapshot_id": snapshot_id, "cluster_id": cluster_id}
    by_type: dict[type, Any] = {UtcTime: NOW, Text: "x", Boolean: True, JSON: {}}
    return {
        column.name: known.get(column.name, by_type.get(type(column.type), 1))
        for column in table.c
        if not column.nullable or column.name in known
    }
