"""Clusters and snapshots as the JSON that DWS's clients read, compared with whole bodies kept as files."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillhouse.api.shapes.clusters import cluster_detail, cluster_in_list
from stillhouse.api.shapes.snapshot_policies import policies_of_cluster
from stillhouse.api.shapes.snapshots import (
    snapshot_detail,
    snapshot_in_cluster_list,
    snapshot_in_project_list,
)
from stillhouse.api.shapes.values import Json, snapshot_time
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node, Role, Task
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import DEFAULTS, BackupSettings, Policy

GOLDEN = Path(__file__).parents[3] / "golden" / "api"
PROJECT = "3d1f0c5e7a9b42d68e0f1a2b3c4d5e6f"
CLUSTER_ID = "b7c1d2e3-0a1b-4c2d-8e3f-405162738495"

SNAPSHOT = Snapshot(
    id="1f2e3d4c-5b6a-4798-8877-665544332211",
    project=PROJECT,
    cluster_id=CLUSTER_ID,
    cluster_name="orders-dw",
    name="month-end",
    description="Abschluss März",
    status=SnapshotStatus.AVAILABLE,
    type=SnapshotType.MANUAL,
    started=datetime(2026, 11, 30, 22, 15, 3, 250_000, tzinfo=UTC),
    updated=datetime(2026, 11, 30, 22, 15, 41, tzinfo=UTC),
    finished=datetime(2026, 11, 30, 22, 15, 40, 999_999, tzinfo=UTC),
    progress=100,
    plain_bytes=5 * 2**30 + 512,
    stored_bytes=768 * 2**20,
    db_user="dbadmin",
    backup_key="20261130_221503",
)


def node(name: str, role: Role, last: int) -> Node:
    return Node(
        id=f"00000000-0000-4000-8000-0000000000{last:02d}",
        name=name,
        role=role,
        host=f"127.0.0.{last}",
        port=8000,
        directory=f"/var/lib/stillhouse/{name}",
        socket=f"/run/stillhouse/{name}",
    )


CLUSTER = Cluster(
    id=CLUSTER_ID,
    project=PROJECT,
    name="orders-dw",
    engine=Engine.FDW,
    status=ClusterStatus.AVAILABLE,
    number_of_node=2,
    port=8000,
    user_name="dbadmin",
    created=datetime(2026, 11, 1, 6, 0, tzinfo=UTC),
    updated=datetime(2026, 11, 30, 22, 15, 41, 5, tzinfo=UTC),
    nodes=(node("cn-1", Role.CN, 10), node("dn-1", Role.DN, 11), node("dn-2", Role.DN, 12)),
    facts={
        "node_type": "dws2.m6.4xlarge.8",
        "vpc_id": "vpc-a",
        "subnet_id": "subnet-a",
        "tags": [{"key": "team", "value": "finance"}],
    },
)


def assert_golden(name: str, shown: Json) -> None:
    assert shown == json.loads((GOLDEN / name).read_text())


def test_a_snapshot_in_the_project_s_list() -> None:
    assert_golden("list_snapshots_item.json", snapshot_in_project_list(SNAPSHOT))


def test_an_automated_snapshot_in_the_project_s_list() -> None:
    automated = replace(
        SNAPSHOT,
        name="orders-dw-auto-20261130221500",
        description="",
        type=SnapshotType.AUTO,
        due=datetime(2026, 11, 30, 22, 15, tzinfo=UTC),
        schedule="0 15 22 30 * ?",
        keep_day=7,
    )
    assert_golden("list_snapshots_item_automated.json", snapshot_in_project_list(automated))


def test_the_policies_of_a_cluster() -> None:
    made = datetime(2026, 11, 11, 10, 6, 16, tzinfo=UTC)
    kept = [
        Policy(
            f"{number}d2c3b4a-0f0e-4d0c-8b0a-090807060504", CLUSTER_ID, name, schedule, type_, 0, made, made
        )
        for number, (name, schedule, type_) in enumerate(DEFAULTS, 1)
    ]
    now = datetime(2026, 11, 30, 22, 15, tzinfo=UTC)
    assert_golden("list_snapshot_policy.json", policies_of_cluster(BackupSettings(keep_day=3), kept, now))


def test_a_snapshot_in_detail() -> None:
    assert_golden("list_snapshot_details.json", snapshot_detail(SNAPSHOT))


def test_a_snapshot_being_made_in_its_cluster_s_list() -> None:
    running = replace(
        SNAPSHOT,
        status=SnapshotStatus.CREATING,
        finished=None,
        progress=37,
        plain_bytes=0,
        stored_bytes=0,
        description="",
    )
    assert_golden("list_cluster_snapshots_item.json", snapshot_in_cluster_list(running))


def test_a_cluster_in_the_list() -> None:
    assert_golden("list_clusters_item.json", cluster_in_list(CLUSTER))


def test_an_idle_cluster_in_detail() -> None:
    assert_golden("list_cluster_details.json", cluster_detail(CLUSTER))


def test_a_cluster_being_restored_that_has_no_nodes_yet() -> None:
    restoring = replace(
        CLUSTER, status=ClusterStatus.CREATING, nodes=(), facts={}, task=Task.RESTORING, progress=16
    )
    assert_golden("list_cluster_details_restoring.json", cluster_detail(restoring))


def test_only_the_cluster_s_list_knows_that_a_snapshot_is_being_restored() -> None:
    restoring = replace(SNAPSHOT, restoring=True)
    assert snapshot_in_cluster_list(restoring)["status"] == "RESTORING"
    assert snapshot_in_project_list(restoring)["status"] == "AVAILABLE"
    assert snapshot_detail(restoring)["status"] == "AVAILABLE"


@pytest.mark.parametrize(("kilobytes", "shown"), [(2**31 - 1, 2**31 - 1), (2**31, None)])
def test_a_total_size_beyond_32_bits_is_left_out_where_clients_cannot_read_it(
    kilobytes: int, shown: int | None
) -> None:
    large = replace(SNAPSHOT, plain_bytes=kilobytes * 1024)
    assert snapshot_in_project_list(large)["total_backup_size"] == kilobytes
    assert snapshot_in_cluster_list(large)["total_backup_size"] == shown
    assert snapshot_detail(large)["total_backup_size"] == shown


@pytest.mark.parametrize(
    ("task", "task_status", "action_progress"),
    [
        (None, None, {}),
        (Task.CREATING, None, {"CREATING": "42%"}),
        (Task.SNAPSHOTTING, "SNAPSHOTTING", {"SNAPSHOTTING": "42%"}),
        (Task.RESTORING, "RESTORING", {"RESTORING": "42%"}),
        (Task.FINE_GRAINED_RESTORING, "FINE_GRAINED_RESTORING", {"FINE_GRAINED_RESTORING": "42%"}),
        (Task.REBOOTING, "REBOOTING", {"REBOOTING": "42%"}),
        (Task.DELETING, None, {}),
    ],
)
def test_a_task_shows_in_the_words_dws_has_for_it(
    task: Task | None, task_status: str | None, action_progress: dict[str, str]
) -> None:
    shown = cluster_in_list(replace(CLUSTER, task=task, progress=42))
    assert (shown["task_status"], shown["action_progress"]) == (task_status, action_progress)


@pytest.mark.parametrize("number_of_node", [1, 3, 256])
def test_as_many_nodes_are_listed_as_the_cluster_counts(number_of_node: int) -> None:
    planned = replace(CLUSTER, status=ClusterStatus.CREATING, nodes=(), number_of_node=number_of_node)
    shown = cluster_in_list(planned)["nodes"]
    assert isinstance(shown, list)
    assert len({node["id"] for node in shown}) == number_of_node
    assert {node["status"] for node in shown} == {"100"}
    assert shown == cluster_in_list(planned)["nodes"]


def test_a_single_server_is_its_own_node_and_endpoint() -> None:
    single = replace(CLUSTER, engine=Engine.SINGLE, number_of_node=1, nodes=(node("cn-1", Role.CN, 10),))
    shown = cluster_in_list(single)
    assert shown["nodes"] == [{"id": "00000000-0000-4000-8000-000000000010", "name": "cn-1", "status": "200"}]
    assert shown["endpoints"] == [
        {
            "connect_info": "127.0.0.10:8000",
            "jdbc_url": "jdbc:postgresql://127.0.0.10:8000/<YOUR_DATABASE_name>",
        }
    ]


def test_a_failure_is_shown_with_its_reason() -> None:
    failed = replace(
        CLUSTER,
        status=ClusterStatus.CREATE_FAILED,
        failed_code="provision.failed",
        failed_reason="No space left.",
    )
    shown = cluster_in_list(failed)
    assert shown["failed_reasons"] == {"error_code": "DWS.6000", "error_msg": "No space left."}
    assert {node["status"] for node in shown["nodes"]} == {"303"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC), datetime(2031, 12, 31, 23, 59, 59, tzinfo=UTC)],
)
def test_a_time_is_written_as_isoformat_writes_it_without_a_zone(moment: datetime) -> None:
    assert snapshot_time(moment) == moment.replace(tzinfo=None, microsecond=0).isoformat()
