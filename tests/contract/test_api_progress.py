"""Progress over the wire: bytes, rate and time left, phase by phase."""

from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import captures, operations, restores
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.progress import Progress
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.domain.snapshot import Cut, RestorePoint
from support.api.application import Service, serving_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("api")) as running:
        yield running


def progress(service: Service, kind: str, subject: str) -> dict[str, Any]:
    answer = service.client.request("GET", f"/stillhouse/v1/{{p}}/{kind}s/{subject}/progress")
    assert answer.status == 200
    shown: dict[str, Any] = answer.json
    return shown


def taken(service: Service) -> tuple[str, str]:
    """(cluster, snapshot) of a snapshot that was accepted."""
    cluster = service.add_cluster()
    wanted = {"name": f"n-{cluster[:8]}", "cluster_id": cluster}
    answer = service.client.request("POST", "/v1.0/{p}/snapshots", {"snapshot": wanted})
    return cluster, answer.json["snapshot"]["id"]


def test_a_capture_is_shown_from_its_acceptance_to_its_end(service: Service) -> None:
    cluster, snapshot = taken(service)
    assert progress(service, "snapshot", snapshot)["phase"] == "waiting"
    database, now = service.control.database, service.control.clock.now()
    with database.transaction() as transaction:
        attempt = captures.begin_attempt(transaction, snapshot, ["a", "b"], now)
        captures.expect_pause(transaction, snapshot, 0.04)
        for node, done, total in (("a", 300, 300), ("b", 100, 500)):
            captures.set_bytes(
                transaction, snapshot, node, attempt, now, done=done, total=total, per_second=20
            )
        captures.set_state(transaction, snapshot, "a", attempt, CaptureState.READY, now)
    shown = progress(service, "snapshot", snapshot)
    assert shown == progress(service, "cluster", cluster)
    assert (shown["phase"], shown["bytes_done"], shown["bytes_total"]) == ("copying", 400, 800)
    assert (shown["bytes_per_second"], shown["seconds_left"]) == (20, 20), "who is done has no rate"
    assert shown["expected_pause_seconds"] == 0.04
    with database.transaction() as transaction:
        captures.set_state(transaction, snapshot, "b", attempt, CaptureState.READY, now)
    assert progress(service, "snapshot", snapshot)["phase"] == "cutting"
    with database.transaction() as transaction:
        captures.save_cut(transaction, snapshot, attempt, Cut((RestorePoint("a", "cut", 1, 1),), 0.1, 1))
    assert progress(service, "snapshot", snapshot)["phase"] == "finishing"
    service.finish_snapshot(snapshot)
    shown = progress(service, "snapshot", snapshot)
    assert (shown["phase"], shown["percent"]) == ("done", 100)
    assert progress(service, "cluster", cluster)["phase"] == "done"


def test_a_restore_is_shown_node_by_node_and_then_its_replay(service: Service) -> None:
    _, snapshot = taken(service)
    service.finish_snapshot(snapshot)
    path = f"/v1.0/{{p}}/snapshots/{snapshot}/actions"
    cluster = service.client.request("POST", path, {"restore": {"name": "copy-of-it"}}).json["cluster"]["id"]
    assert progress(service, "cluster", cluster)["phase"] == "waiting"

    def put(node: str, phase: str, done: int, total: int, rate: int) -> None:
        with service.control.database.transaction() as transaction:
            operation = operations.active(transaction, cluster)
            assert operation is not None
            restores.put(transaction, operation.id, node, Progress(phase, done, total, rate))

    put("cn", restores.COPYING, 100, 100, 50)
    put("dn1", restores.COPYING, 40, 100, 20)
    shown = progress(service, "cluster", cluster)
    assert (shown["phase"], shown["bytes_done"], shown["seconds_left"]) == ("copying", 140, 3)
    put("cn", restores.REPLAYING, 10, 64, 9)
    put("dn1", restores.REPLAYING, 0, 64, 0)
    shown = progress(service, "cluster", cluster)
    assert (shown["phase"], shown["bytes_total"], shown["seconds_left"]) == ("replaying", 128, 14)
    for node in ("cn", "dn1"):
        put(node, restores.REPLAYING, 64, 64, 9)
    assert progress(service, "cluster", cluster)["phase"] == "finishing"
    service.finish_restore(cluster)
    assert progress(service, "cluster", cluster)["phase"] == "done"


def test_what_is_not_there_or_another_projects_is_refused_alike(service: Service) -> None:
    cluster, snapshot = taken(service)
    stranger = service.client_of_other_project()
    for client, kind, subject, status, code in (
        (service.client, "cluster", new_uuid(), 404, "DWS.0047"),
        (stranger, "cluster", cluster, 404, "DWS.0047"),
        (service.client, "snapshot", new_uuid(), 400, "DWS.5149"),
        (stranger, "snapshot", snapshot, 400, "DWS.5149"),
    ):
        answer = client.request("GET", f"/stillhouse/v1/{{p}}/{kind}s/{subject}/progress")
        assert (answer.status, answer.error_code) == (status, code)
