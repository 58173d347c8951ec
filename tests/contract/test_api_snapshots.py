"""The snapshot operations: their answers, their limits, and that a refused one leaves nothing behind."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.api.application import Service, serving_service
from support.api.client import Answer

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def cluster_id(service: Service) -> str:
    return service.add_cluster()


def create(service: Service, cluster_id: str, name: str = "nightly", **fields: Any) -> Answer:
    body = {"snapshot": {"name": name, "cluster_id": cluster_id, **fields}}
    return service.client.request("POST", "/v1.0/{p}/snapshots", body)


def create_available(service: Service, cluster_id: str, name: str = "nightly") -> str:
    snapshot_id: str = create(service, cluster_id, name).json["snapshot"]["id"]
    service.finish_snapshot(snapshot_id)
    return snapshot_id


def assert_code(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error_code) == (status, code), answer.raw


def test_a_created_snapshot_is_seen_by_every_list_and_ends_available(
    service: Service, cluster_id: str
) -> None:
    created = create(service, cluster_id, description="before März")
    assert created.status == 200
    assert created.json.keys() == {"snapshot"}
    snapshot_id = created.json["snapshot"]["id"]
    assert UUID.fullmatch(snapshot_id)

    detail = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
    assert detail["status"] == "CREATING"
    assert (detail["name"], detail["description"]) == ("nightly", "before März")
    assert (detail["cluster_id"], detail["type"]) == (cluster_id, "MANUAL")
    listed = service.client.request("GET", "/v1.0/{p}/snapshots").json
    assert (listed["count"], listed["snapshots"][0]["id"]) == (1, snapshot_id)
    of_cluster = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots").json
    assert (of_cluster["count"], of_cluster["snapshots"][0]["id"]) == (1, snapshot_id)
    assert (of_cluster["project_id"], of_cluster["cluster_id"]) == (service.client.project, cluster_id)
    cluster = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
    assert cluster["task_status"] == "SNAPSHOTTING"
    assert cluster["action_progress"] == {"SNAPSHOTTING": "0%"}

    service.finish_snapshot(snapshot_id)
    detail = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
    assert detail["status"] == "AVAILABLE"
    cluster = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
    assert (cluster["task_status"], cluster["action_progress"]) == (None, {})


def test_times_of_snapshots_have_no_z_and_those_of_clusters_have_one(
    service: Service, cluster_id: str
) -> None:
    snapshot_id = create_available(service, cluster_id)
    snapshot = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
    for key in ("started", "finished", "updated"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", snapshot[key])
    cluster = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
    for key in ("created", "updated"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", cluster[key])


@pytest.mark.parametrize("name", ["abcd", "a" * 64, "A-_9"])
def test_a_name_within_the_limits_is_taken(service: Service, cluster_id: str, name: str) -> None:
    assert create(service, cluster_id, name).status == 200


@pytest.mark.parametrize("name", ["", "abc", "a" * 65, "1abc", "-abc", "ab cd", "abcé", "abcd\n", "a.bcd"])
def test_a_name_beyond_the_limits_is_refused_and_leaves_nothing(
    service: Service, cluster_id: str, name: str
) -> None:
    assert_code(create(service, cluster_id, name), 400, "DWS.0001")
    assert service.list_snapshots() == []
    assert service.task_of(cluster_id) == ""


def test_a_name_is_taken_whatever_its_case(service: Service, cluster_id: str) -> None:
    create_available(service, cluster_id, "Nightly")
    assert_code(create(service, cluster_id, "nIGHTLY"), 400, "DWS.5039")
    assert [snapshot["name"] for snapshot in service.list_snapshots()] == ["Nightly"]
    assert service.task_of(cluster_id) == ""


@pytest.mark.parametrize("description", ["", None, "d" * 256, "ä" * 256, "日本語\nzwei 😀"])
def test_a_description_within_the_limits_is_kept(
    service: Service, cluster_id: str, description: str | None
) -> None:
    snapshot_id = create(service, cluster_id, description=description).json["snapshot"]["id"]
    shown = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
    assert shown["description"] == (description or "")


@pytest.mark.parametrize("description", ["d" * 257, *(f"a{char}b" for char in "!<>'=&\"")])
def test_a_description_beyond_the_limits_is_refused_and_leaves_nothing(
    service: Service, cluster_id: str, description: str
) -> None:
    assert_code(create(service, cluster_id, description=description), 400, "DWS.0001")
    assert service.list_snapshots() == []


def test_fields_nobody_knows_are_ignored(service: Service, cluster_id: str) -> None:
    body = {"snapshot": {"name": "nightly", "cluster_id": cluster_id, "level": "table"}, "dry_run": True}
    assert service.client.request("POST", "/v1.0/{p}/snapshots", body).status == 200


def test_an_upper_case_cluster_id_is_the_same_cluster(service: Service, cluster_id: str) -> None:
    assert create(service, cluster_id.upper()).status == 200


def test_a_snapshot_of_an_unknown_cluster_is_refused(service: Service) -> None:
    answer = create(service, UNKNOWN)
    assert_code(answer, 404, "DWS.0047")
    assert "Cluster does not exist or has been deleted" in answer.json["error_msg"]


def test_snapshots_of_a_busy_cluster_wait_and_one_too_many_is_refused(
    service: Service, cluster_id: str
) -> None:
    first = create(service, cluster_id).json["snapshot"]["id"]
    waiting = [create(service, cluster_id, f"waiting-{n}") for n in range(8)]
    assert {answer.status for answer in waiting} == {200}
    refused = create(service, cluster_id, "one-too-many")
    assert_code(refused, 409, "DWS.0011")
    said = refused.json["error_msg"]
    assert cluster_id in said and "8 snapshots wait" in said, "what a client prints tells why"
    assert len(service.list_snapshots()) == 9, "the refused one has left nothing"

    turn = [answer.json["snapshot"]["id"] for answer in waiting]
    path = f"/v1.0/{{p}}/snapshots/{turn[0]}"
    assert service.client.request("GET", path).json["snapshot"]["status"] == "CREATING"
    progress = service.client.request("GET", f"/stillhouse/v1/{{p}}/snapshots/{turn[0]}/progress")
    assert (progress.json["phase"], progress.json["percent"]) == ("waiting", 0)
    restart = service.client.request("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart")
    assert_code(restart, 409, "DWS.0011")
    for snapshot_id in (first, *turn):
        service.finish_snapshot(snapshot_id)
        shown = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
        assert shown["status"] == "AVAILABLE"
    cluster = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
    assert cluster["action_progress"] == {}
    assert create(service, cluster_id, "one-too-many").status == 200


def test_a_cluster_that_is_not_available_takes_no_snapshot(service: Service) -> None:
    cluster_id = service.add_cluster(status="CREATE_FAILED")
    assert_code(create(service, cluster_id), 403, "DWS.7023")
    assert service.list_snapshots() == []


@pytest.mark.parametrize("snapshot_id", [UNKNOWN, "nope", "%00"])
def test_an_unknown_snapshot_is_refused_in_each_operation_s_own_words(
    service: Service, snapshot_id: str
) -> None:
    path = f"/v1.0/{{p}}/snapshots/{snapshot_id}"
    assert_code(service.client.request("GET", path), 400, "DWS.5149")
    assert_code(service.client.request("DELETE", path), 400, "DWS.0001")
    restore = {"restore": {"name": "copy"}}
    assert_code(service.client.request("POST", path + "/actions", restore), 400, "DWS.5149")
    cancel = f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/cancel"
    assert_code(service.client.request("POST", cancel), 400, "DWS.5149")


def test_a_deleted_snapshot_is_gone_and_cannot_be_deleted_again(service: Service, cluster_id: str) -> None:
    snapshot_id = create_available(service, cluster_id)
    path = f"/v1.0/{{p}}/snapshots/{snapshot_id}"
    deleted = service.client.request("DELETE", path)
    assert (deleted.status, deleted.json) == (202, {"error_code": None, "error_msg": None, "job_id": None})
    assert_code(service.client.request("GET", path), 400, "DWS.5149")
    assert_code(service.client.request("DELETE", path), 400, "DWS.0001")
    assert service.list_snapshots() == []


def test_a_snapshot_being_made_cannot_be_deleted(service: Service, cluster_id: str) -> None:
    snapshot_id = create(service, cluster_id).json["snapshot"]["id"]
    answer = service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot_id}")
    assert_code(answer, 403, "DWS.7023")
    assert len(service.list_snapshots()) == 1


def test_another_project_s_snapshot_answers_as_one_that_does_not_exist(
    service: Service, cluster_id: str
) -> None:
    snapshot_id = create_available(service, cluster_id)
    stranger = service.client_of_other_project()
    for method, path, body in [
        ("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}", None),
        ("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot_id}", None),
        ("POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", {"restore": {"name": "copy"}}),
        ("GET", f"/v1.0/{{p}}/clusters/{cluster_id}", None),
        ("GET", f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots", None),
        ("POST", "/v1.0/{p}/snapshots", {"snapshot": {"name": "nightly", "cluster_id": cluster_id}}),
    ]:
        foreign = stranger.request(method, path, body)
        text = path.replace(snapshot_id, UNKNOWN).replace(cluster_id, UNKNOWN)
        if body and "snapshot" in body:
            body = {"snapshot": {"name": "nightly", "cluster_id": UNKNOWN}}
        absent = stranger.request(method, text, body)
        assert foreign.status == absent.status >= 400
        assert foreign.json | {"request_id": ""} == absent.json | {"request_id": ""}
    assert stranger.request("GET", "/v1.0/{p}/snapshots").json == {"snapshots": [], "count": 0}
    assert len(service.list_snapshots()) == 1


def test_a_cluster_s_snapshots_come_in_pages(service: Service, cluster_id: str) -> None:
    for name in ("snap-b", "snap-c", "snap-a"):
        create_available(service, cluster_id, name)
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots"

    def names(**query: str) -> list[str]:
        answer = service.client.request("GET", path, query=query).json
        assert answer["count"] == 3
        return [snapshot["name"] for snapshot in answer["snapshots"]]

    by_name = {"sort_key": "name", "sort_dir": "asc"}
    assert names(**by_name) == ["snap-a", "snap-b", "snap-c"]
    assert names(**by_name | {"sort_dir": "desc"}) == ["snap-c", "snap-b", "snap-a"]
    assert names(**by_name, limit="2") == ["snap-a", "snap-b"]
    assert names(**by_name, limit="2", offset="1") == ["snap-c"]
    assert names(**by_name, limit="2", offset="2") == []
    assert names(limit=str(2**31 - 1), offset=str(2**31 - 1)) == []
    for key in ("started", "finished", "size", "status", "type"):
        assert len(names(sort_key=key)) == 3


def test_a_list_of_an_unknown_cluster_s_snapshots_is_refused(service: Service) -> None:
    answer = service.client.request("GET", f"/v1.0/{{p}}/clusters/{UNKNOWN}/snapshots")
    assert_code(answer, 404, "DWS.0047")


def test_a_restore_makes_a_new_cluster_and_shows_on_the_snapshot(service: Service, cluster_id: str) -> None:
    snapshot_id = create_available(service, cluster_id)
    body = {"restore": {"name": "orders-copy", "port": 8001, "public_ip": {"public_bind_type": "not_use"}}}
    answer = service.client.request("POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", body)
    assert answer.status == 200
    restored = service.client.request("GET", f"/v1.0/{{p}}/clusters/{answer.json['cluster']['id']}")
    shown = restored.json["cluster"]
    assert (shown["name"], shown["status"], shown["task_status"]) == ("orders-copy", "CREATING", "RESTORING")
    assert (shown["port"], shown["action_progress"]) == (8001, {"RESTORING": "0%"})
    listed = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots").json
    assert listed["snapshots"][0]["status"] == "RESTORING"
    assert service.list_snapshots()[0]["status"] == "AVAILABLE"


def test_a_restore_under_a_taken_name_is_refused(service: Service, cluster_id: str) -> None:
    snapshot_id = create_available(service, cluster_id)
    name = service.list_clusters()[0]["name"]
    answer = service.client.request(
        "POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", {"restore": {"name": name.upper()}}
    )
    assert_code(answer, 409, "DWS.5050")
    assert len(service.list_clusters()) == 1


def test_only_an_available_snapshot_can_be_restored(service: Service, cluster_id: str) -> None:
    snapshot_id = create(service, cluster_id).json["snapshot"]["id"]
    answer = service.client.request(
        "POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", {"restore": {"name": "copy"}}
    )
    assert_code(answer, 403, "DWS.7023")
    assert len(service.list_clusters()) == 1


def test_a_snapshot_being_made_can_be_cancelled(service: Service, cluster_id: str) -> None:
    snapshot_id = create(service, cluster_id).json["snapshot"]["id"]
    answer = service.client.request("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/cancel")
    assert (answer.status, answer.json) == (202, {})
