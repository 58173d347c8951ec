"""Proofs and their schedules over the wire."""

from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.control.audit import record
from stillhouse.domain.ids import new_uuid
from support.api.application import PROJECT, Service, serving_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("api")) as running:
        yield running


def test_a_schedule_is_given_back_as_it_was_set(service: Service) -> None:
    path = f"/stillhouse/v1/{{p}}/clusters/{service.add_cluster()}/proofs"
    assert service.client.request("GET", path).json == {"every_days": 0, "newest_only": True}
    wanted = {"every_days": 7, "newest_only": False}
    answer = service.client.request("PUT", path, wanted)
    assert (answer.status, answer.json) == (200, wanted)
    assert service.client.request("GET", path).json == wanted


@pytest.mark.parametrize(
    "body",
    [{}, {"every_days": "7"}, {"every_days": -1}, {"every_days": 3651}, {"every_days": 1, "newest_only": 1}],
)
def test_a_malformed_schedule_is_refused(service: Service, body: Any) -> None:
    path = f"/stillhouse/v1/{{p}}/clusters/{service.add_cluster()}/proofs"
    answer = service.client.request("PUT", path, body)
    assert (answer.status, answer.error_code) == (400, "DWS.0001")


def test_what_is_not_there_or_another_projects_is_refused_alike(service: Service) -> None:
    cluster, stranger = service.add_cluster(), service.client_of_other_project()
    for client, subject in ((service.client, new_uuid()), (stranger, cluster)):
        answer = client.request("GET", f"/stillhouse/v1/{{p}}/clusters/{subject}/proofs")
        assert (answer.status, answer.error_code) == (404, "DWS.0047")
    for method, action in (("POST", "prove"), ("GET", "proof")):
        answer = service.client.request(method, f"/stillhouse/v1/{{p}}/snapshots/{new_uuid()}/{action}")
        assert (answer.status, answer.error_code) == (400, "DWS.5149")


@pytest.mark.parametrize(("outcome", "status"), [("proved", 0), ("refuted", 1), ("failed", 1)])
def test_the_end_of_a_proof_is_an_event(service: Service, outcome: str, status: int) -> None:
    snapshot, control = new_uuid(), service.control
    with control.database.transaction() as transaction:
        record(control, transaction, PROJECT, "ProveSnapshot", f"snapshot/{snapshot}", outcome, "why")
    newest = service.client.request("GET", "/v2/{p}/events").json["events"][0]
    assert (newest["subject"], newest["source_id"]) == (f"ProveSnapshot {outcome}", snapshot)
    assert (newest["status"], newest["context"]) == (status, "why")
