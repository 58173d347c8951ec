"""The cluster operations: what is asked for is given back, and a refused request leaves nothing behind."""

from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import operations
from support.api.application import PASSWORD, Service, a_cluster, serving_service
from support.api.client import Answer

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def create(service: Service, **fields: Any) -> Answer:
    return service.client.request("POST", "/v1.0/{p}/clusters", {"cluster": a_cluster() | fields})


def show(service: Service, cluster_id: str) -> dict[str, Any]:
    cluster: dict[str, Any] = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json[
        "cluster"
    ]
    return cluster


def assert_code(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error_code) == (status, code), answer.raw


def test_a_created_cluster_shows_what_was_asked_for(service: Service) -> None:
    answer = create(service, number_of_node=3, port=8100, availability_zone="az1")
    assert answer.status == 200
    shown = show(service, answer.json["cluster"]["id"])
    assert (shown["status"], shown["task_status"], shown["action_progress"]) == (
        "CREATING",
        None,
        {"CREATING": "0%"},
    )
    assert (shown["number_of_node"], len(shown["nodes"]), shown["port"]) == (3, 3, 8100)
    for key in ("name", "node_type", "vpc_id", "subnet_id", "user_name"):
        assert shown[key] == a_cluster()[key]
    assert (shown["availability_zone"], shown["enterprise_project_id"]) == ("az1", "0")
    listed = service.client.request("GET", "/v1.0/{p}/clusters").json
    assert listed["count"] == 1
    assert shown.items() >= listed["clusters"][0].items()


@pytest.mark.parametrize(
    "tags",
    [{"key": "team", "value": "bi"}, [{"key": "team", "value": "bi"}]],
    ids=["object", "array"],
)
def test_tags_come_as_an_object_or_as_an_array(service: Service, tags: Any) -> None:
    cluster_id = create(service, tags=tags).json["cluster"]["id"]
    assert show(service, cluster_id)["tags"] == [{"key": "team", "value": "bi"}]


@pytest.mark.parametrize("number_of_node", [1, 256])
def test_the_number_of_nodes_at_its_limits_is_taken(service: Service, number_of_node: int) -> None:
    assert create(service, number_of_node=number_of_node).status == 200


def test_a_taken_name_is_refused_whatever_its_case(service: Service) -> None:
    assert create(service, name="Orders-DW").status == 200
    assert_code(create(service, name="orders-dw"), 409, "DWS.5050")
    assert len(service.list_clusters()) == 1


def test_the_password_is_never_given_back(service: Service) -> None:
    cluster_id = create(service).json["cluster"]["id"]
    for path in ("/v1.0/{p}/clusters", f"/v1.0/{{p}}/clusters/{cluster_id}"):
        assert PASSWORD.encode() not in service.client.request("GET", path).raw


def test_clusters_can_be_listed_by_enterprise_project(service: Service) -> None:
    create(service, enterprise_project_id="finance")

    def count(query: dict[str, str]) -> int:
        number: int = service.client.request("GET", "/v1.0/{p}/clusters", query=query).json["count"]
        return number

    assert count({"enterprise_project_id": "all_granted_eps"}) == 1
    assert count({"enterprise_project_id": "finance"}) == 1
    assert count({"enterprise_project_id": "0"}) == 0


def test_an_unknown_cluster_is_refused_everywhere(service: Service) -> None:
    for method, tail, body in [
        ("GET", "", b""),
        ("POST", "/restart", b'{"restart": {}}'),
        ("DELETE", "", b'{"keep_last_manual_snapshot": 0}'),
    ]:
        answer = service.client.request(method, f"/v1.0/{{p}}/clusters/{UNKNOWN}{tail}", raw=body)
        assert_code(answer, 404, "DWS.0047")


def test_a_busy_cluster_takes_no_other_operation(service: Service) -> None:
    cluster_id = service.add_cluster()
    path = f"/v1.0/{{p}}/clusters/{cluster_id}"
    assert service.client.request("POST", path + "/restart").status == 200
    assert_code(service.client.request("POST", path + "/restart"), 409, "DWS.0011")
    deleted = service.client.request("DELETE", path, {"keep_last_manual_snapshot": 0})
    assert_code(deleted, 409, "DWS.0011")
    assert (show(service, cluster_id)["status"], service.task_of(cluster_id)) == ("AVAILABLE", "REBOOTING")


@pytest.mark.parametrize("body", [None, {}, {"restart": {}}, {"restart": None}], ids=str)
def test_a_restart_needs_no_body(service: Service, body: Any) -> None:
    cluster_id = service.add_cluster()
    answer = service.client.request("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart", body)
    assert (answer.status, answer.json) == (200, {})
    assert service.task_of(cluster_id) == "REBOOTING"


def test_a_deleted_cluster_is_deleting_until_it_is_gone(service: Service) -> None:
    cluster_id = service.add_cluster()
    answer = service.client.request(
        "DELETE", f"/v1.0/{{p}}/clusters/{cluster_id}", {"keep_last_manual_snapshot": 0}
    )
    assert (answer.status, answer.json) == (202, {})
    shown = show(service, cluster_id)
    assert (shown["status"], shown["action_progress"]) == ("DELETING", {})
    restarted = service.client.request("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart")
    assert_code(restarted, 403, "DWS.7023")


def test_a_deletion_by_version_1_reads_its_body(service: Service) -> None:
    """A DELETE with a body: how many of the newest manual snapshots stay."""
    cluster_id = service.add_cluster()
    path = f"/v1.0/{{p}}/clusters/{cluster_id}"
    assert_code(service.client.request("DELETE", path), 400, "DWS.0006")
    assert service.client.request("DELETE", path, {"keep_last_manual_snapshot": 2}).status == 202
    with service.control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
    assert operation is not None and operation.detail == {"keep_last_manual": 2}


def test_an_idle_cluster_s_endpoint_can_be_connected_to(service: Service) -> None:
    cluster_id = service.add_cluster()
    shown = show(service, cluster_id)
    address = shown["endpoints"][0]["connect_info"]
    host, port = address.split(":")
    assert host.startswith("127.")
    assert int(port) == shown["port"]
    assert shown["endpoints"][0]["jdbc_url"] == f"jdbc:postgresql://{address}/<YOUR_DATABASE_name>"
    assert (shown["action_progress"], shown["task_status"], shown["sub_status"]) == ({}, None, "NORMAL")
    assert shown["failed_reasons"] is None
