"""Our own operations on deleted snapshots and collections: their answers and refusals."""

from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import operations, snapshots
from support.api.application import Service, serving_service
from support.api.client import Answer

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
TRASH = "/stillhouse/v1/{p}/trash"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def assert_code(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error_code) == (status, code), answer.raw


def deleted(service: Service, name: str) -> tuple[str, str]:
    """A snapshot in the trash and its cluster."""
    cluster = service.add_cluster()
    body = {"snapshot": {"name": name, "cluster_id": cluster}}
    snapshot: str = service.client.request("POST", "/v1.0/{p}/snapshots", body).json["snapshot"]["id"]
    service.store_snapshot(snapshot, cluster)
    service.finish_snapshot(snapshot)
    assert service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}").status == 202
    return snapshot, cluster


def undelete(service: Service, snapshot: str) -> Answer:
    return service.client.request("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/undelete")


def collect(service: Service, cluster: str, body: Any = None) -> Answer:
    return service.client.request("POST", f"/stillhouse/v1/{{p}}/clusters/{cluster}/collect", body)


def test_the_trash_says_what_is_in_it_and_until_when(service: Service) -> None:
    snapshot, cluster = deleted(service, "first")
    answer = service.client.request("GET", TRASH)
    assert answer.status == 200
    (item,) = [one for one in answer.json["snapshots"] if one["id"] == snapshot]
    assert answer.json["count"] == len(answer.json["snapshots"])
    assert (item["name"], item["cluster_id"], item["status"]) == ("first", cluster, "AVAILABLE")
    assert item["can_be_undeleted"] is True
    assert item["deleted"][:10] < item["until"][:10]
    assert service.client_of_other_project().request("GET", TRASH).json == {"snapshots": [], "count": 0}


def test_an_undeleted_snapshot_is_listed_again(service: Service) -> None:
    snapshot, _ = deleted(service, "second")
    answer = undelete(service, snapshot)
    assert (answer.status, answer.json) == (200, {"snapshot": {"id": snapshot}})
    assert snapshot in [one["id"] for one in service.list_snapshots()]
    assert_code(undelete(service, snapshot), 403, "DWS.7023")


def test_an_unknown_or_foreign_snapshot_is_not_in_the_trash(service: Service) -> None:
    snapshot, _ = deleted(service, "third")
    stranger = service.client_of_other_project()
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/undelete"
    for answer in (undelete(service, UNKNOWN), undelete(service, "nope"), stranger.request("POST", path)):
        assert_code(answer, 400, "DWS.5149")


def test_a_name_that_is_taken_by_now_is_refused(service: Service) -> None:
    snapshot, cluster = deleted(service, "fourth")
    body = {"snapshot": {"name": "FOURTH", "cluster_id": cluster}}
    assert service.client.request("POST", "/v1.0/{p}/snapshots", body).status == 200
    assert_code(undelete(service, snapshot), 400, "DWS.5039")


def test_a_dry_run_answers_what_would_be(service: Service) -> None:
    snapshot, cluster = deleted(service, "fifth")
    answer = collect(service, cluster, {"dry_run": True})
    assert answer.status == 200, answer.raw
    plan = answer.json["plan"]
    assert plan["kept"]["objects"] == 5 and plan["kept"]["bytes"] > 0
    assert (plan["purged_snapshots"], plan["deleted"]["objects"], plan["keys_gone"]) == ([], 0, False)
    with service.control.database.reading() as reading:
        assert snapshots.read_snapshot(reading, snapshot).deleted is not None


def test_a_collection_runs_unseen_and_lets_a_snapshot_begin(service: Service) -> None:
    _, cluster = deleted(service, "sixth")
    answer = collect(service, cluster)
    assert (answer.status, answer.json) == (202, {})
    assert service.task_of(cluster) == ""
    assert_code(collect(service, cluster, {}), 409, "DWS.0011")
    body = {"snapshot": {"name": "during", "cluster_id": cluster}}
    assert service.client.request("POST", "/v1.0/{p}/snapshots", body).status == 200
    assert service.task_of(cluster) == "SNAPSHOTTING"


def test_a_collection_is_no_job(service: Service) -> None:
    _, cluster = deleted(service, "seventh")
    collect(service, cluster)
    with service.control.database.reading() as reading:
        collecting = operations.active(reading, cluster)
    assert collecting is not None
    path = f"/v1.0/{{p}}/job/{collecting.id.replace('-', '')}"
    assert_code(service.client.request("GET", path), 400, "DWS.5212")


def test_an_undelete_is_an_event_of_its_snapshot(service: Service) -> None:
    snapshot, _ = deleted(service, "eighth")
    undelete(service, snapshot)
    newest = service.client.request("GET", "/v2/{p}/events").json["events"][0]
    assert (newest["name"], newest["source_name"]) == ("UndeleteSnapshot", "eighth")


@pytest.mark.parametrize("body", [{"dry_run": "yes"}, {"dry_run": 1}, []])
def test_a_malformed_collect_is_refused(service: Service, body: Any) -> None:
    assert_code(collect(service, UNKNOWN, body), 400, "DWS.0001")


def test_an_unknown_cluster_is_not_collected(service: Service) -> None:
    assert_code(collect(service, UNKNOWN), 404, "DWS.0047")
    assert_code(collect(service, UNKNOWN, {"dry_run": True}), 404, "DWS.0047")
