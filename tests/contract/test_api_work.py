"""Jobs, live tasks and events: what the catalog has of work that is being done, and that was."""

import json
from collections.abc import Iterator

import pytest

from stillhouse.catalog import captures, clusters, operations, snapshots
from stillhouse.domain.cluster import Task
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE
from support.api.application import PROJECT, Service, serving_service
from support.api.asking import end_operation, get, post, refused, snapshot
from support.api.golden import example
from support.api.shapes import shape

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """For tests that change nothing that another one looks at."""
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def cluster_id(service: Service) -> str:
    return service.add_cluster()


def test_a_restore_is_a_job_that_says_why_it_failed(service: Service, cluster_id: str) -> None:
    snapshot_id = snapshot(service, cluster_id)
    service.finish_snapshot(snapshot_id)
    answer = post(
        service, f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", {"restore": {"name": "copy-dw"}}
    ).json
    path = f"/v1.0/{{p}}/job/{answer['job_id']}"
    job = get(service, path)
    assert (job["job_name"], job["status"], job["progress"]) == ("restoreClusterJob", "RUNNING", "0%")
    end_operation(service, answer["cluster"]["id"], "no space left")
    job = get(service, path)
    assert (job["status"], job["failed_code"]) == ("FAIL", "restoreClusterJob-fail:DWS.6003")
    assert job["failed_detail"] == "DWS.6003:no space left"
    assert not job["begin_time"].endswith("Z")
    refused(service.client_of_other_project().request("GET", path), 400, "DWS.5212")


@pytest.mark.parametrize("job_id", ["0" * 31, UNKNOWN, "g" * 32, "%00" * 32])
def test_a_job_id_is_32_hex_digits(shared: Service, job_id: str) -> None:
    refused(shared.client.request("GET", f"/v1.0/{{p}}/job/{job_id}"), 400, "DWS.0001")
    refused(shared.client.request("GET", f"/v1.0/{{p}}/job/{'0' * 32}"), 400, "DWS.5212")


def test_a_running_snapshot_is_told_node_by_node(service: Service, cluster_id: str) -> None:
    path = f"/v1/{{p}}/clusters/{cluster_id}/actions/"
    refused(service.client.request("GET", path + "SNAPSHOTTING"), 400, "DWS.5212")
    refused(service.client.request("GET", path + "SLEEPING"), 400, "DWS.0001")
    snapshot_id, now = snapshot(service, cluster_id), service.control.clock.now()
    with service.control.database.transaction() as transaction:
        (node,) = clusters.read_cluster(transaction, cluster_id).nodes
        attempt = captures.begin_attempt(transaction, snapshot_id, [node.id], now)
        captures.set_bytes(transaction, snapshot_id, node.id, attempt, now, done=25, total=100)
    task = get(service, path + "SNAPSHOTTING")
    (step,) = task["items"][0]["sub_items"]
    assert (task["status"], step["status"], step["sub_item_name"]) == ("RUNNING", "RUNNING", "cn-1")
    info = json.loads(json.loads(step["detail"])["progressInfo"])
    assert (info["progress"], info["backupSize"], info["actionType"]) == ("25.00%", 25, "Backup")

    with service.control.database.transaction() as transaction:
        captures.set_state(
            transaction, snapshot_id, node.id, attempt, CaptureState.FAILED, now, error="disk full"
        )
        snapshots.mark_unavailable(transaction, snapshot_id, now, Failure("", "disk full"))
    task = get(service, path + "SNAPSHOTTING_FAILED")
    assert (task["status"], task["action_name"]) == ("FAILED", "SNAPSHOTTING_FAILED")
    assert "disk full" in task["items"][0]["sub_items"][0]["detail"]
    job = get(service, f"/v1.0/{{p}}/job/{task['id']}")
    assert job["failed_detail"] == "DWS.9999:disk full"
    refused(service.client.request("GET", path + "RESTORING"), 400, "DWS.5212")
    refused(service.client.request("GET", path + "GROWING"), 400, "DWS.5212")


def test_a_restore_s_task_is_one_step_whatever_the_snapshot_s_captures_were(
    service: Service, cluster_id: str
) -> None:
    snapshot_id = snapshot(service, cluster_id)
    with service.control.database.transaction() as transaction:
        (node,) = clusters.read_cluster(transaction, cluster_id).nodes
        captures.begin_attempt(transaction, snapshot_id, [node.id], service.control.clock.now())
    service.finish_snapshot(snapshot_id)
    body = {"restore": {"name": "copy-dw"}}
    new_id = post(service, f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", body).json["cluster"]["id"]
    task = get(service, f"/v1/{{p}}/clusters/{new_id}/actions/RESTORING")
    assert [step["sub_item_name"] for step in task["items"][0]["sub_items"]] == ["copy-dw"]
    assert shape(task) == shape(example("ListClusterActions")["body"])


def test_events_are_what_was_done_and_nothing_of_another_project(service: Service, cluster_id: str) -> None:
    snapshot(service, cluster_id)
    post(service, "/v1.0/{p}/snapshots", {"snapshot": {"name": "x", "cluster_id": cluster_id}})  # refused
    shown = get(service, "/v2/{p}/events", limit="1000", offset="0")
    assert [event["name"] for event in shown["events"]] == ["CreateSnapshot"]
    event = shown["events"][0]
    assert (event["source_type"], event["source_name"], event["status"]) == ("backup", "nightly", 0)
    assert event["project_id"] == PROJECT
    assert get(service, "/v2/{p}/events", offset="1") == {"events": [], "count": 1}
    other = service.client_of_other_project().request("GET", "/v2/{p}/events").json
    assert other == {"events": [], "count": 0}


def test_every_task_is_a_job_with_a_name(service: Service, cluster_id: str) -> None:
    for task in set(Task) - {Task.COLLECTING}:  # which is shown to nobody
        with service.control.database.transaction() as transaction:
            now = service.control.clock.now()
            operation_id = operations.begin(transaction, cluster_id, task, cluster_id, now)
            operations.end(transaction, operation_id, now, DONE)
        job = get(service, f"/v1.0/{{p}}/job/{operation_id.replace('-', '')}")
        assert (job["status"], job["progress"]) == ("SUCCESS", "100%")
