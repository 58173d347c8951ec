"""Our own operations that tell states and failures, beside DWS's words for the same things."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from stillhouse.catalog import clusters, operations, snapshot_sizes, snapshots
from stillhouse.catalog.access import audit_log
from stillhouse.control.snapshots.queue import fail, start_next
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import Cancelled, NodeUnreachable, StoreUnavailable
from support.api.application import PROJECT, Service, serving_service
from support.api.asking import get, post, refused, snapshot

OURS = "/stillhouse/v1/{p}"
UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def end_snapshot(service: Service, snapshot_id: str, failure: Failure) -> None:
    """As its flow does when it gives up."""
    with service.control.database.transaction() as transaction:
        found = snapshots.read_snapshot(transaction, snapshot_id)
        fail(service.control, transaction, found, failure)
        start_next(service.control, transaction, found.cluster_id)


def end_operation(service: Service, cluster: str, failure: Failure) -> str:
    with service.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster)
        assert operation is not None
        now = service.control.clock.now()
        clusters.end_operation(
            transaction,
            operation.id,
            now,
            ClusterStatus.FAILED,
            failed_code="restart.failed",
            failure=failure,
        )
    return operation.id


def shown(service: Service, snapshot_id: str) -> dict[str, Any]:
    found: dict[str, Any] = get(service, f"{OURS}/snapshots/{snapshot_id}")["snapshot"]
    return found


def test_each_failed_snapshot_keeps_its_own_reason_and_hint(service: Service) -> None:
    cluster = service.add_cluster()
    causes = {
        snapshot(service, cluster, "first-bad"): StoreUnavailable("the store is away"),
        snapshot(service, cluster, "second-bad"): NodeUnreachable("dn1 is down", hint="start dn1"),
    }
    for one, cause in causes.items():
        end_snapshot(service, one, Failure.of(cause))
    service.take_snapshot(cluster, "good-again", 1)
    listed = {one["id"]: one for one in get(service, f"{OURS}/snapshots")["snapshots"]}
    for one, cause in causes.items():
        told = shown(service, one)
        assert told["state"] == "FAILED" and told == listed[one]
        assert told["failure"]["reason"] == cause.message
        assert told["failure"]["code"] == cause.code and told["failure"]["hint"]


def test_a_cancelled_snapshot_is_told_apart_from_a_failed_one_but_in_dws(service: Service) -> None:
    cluster = service.add_cluster()
    called_off = snapshot(service, cluster, "called-off")
    waits = snapshot(service, cluster, "waits")
    for one in (waits, called_off):
        assert post(service, f"{OURS}/snapshots/{one}/cancel").status == 202
    end_snapshot(service, called_off, Failure.of(Cancelled("the snapshot was cancelled")))
    for one in (called_off, waits):
        assert shown(service, one)["state"] == "CANCELLED"
        assert get(service, f"/v1.0/{{p}}/snapshots/{one}")["snapshot"]["status"] == "UNAVAILABLE"
    assert get(service, f"{OURS}/clusters/{cluster}")["cluster"]["failure"] is None
    told = get(service, f"/v1.0/{{p}}/clusters/{cluster}")["cluster"]["failed_reasons"]
    assert told["error_code"] == "DWS.9999" and "cancelled" in told["error_msg"]
    newest = get(service, "/v2/{p}/events")["events"][0]
    assert (newest["status"], newest["severity"]) == (1, "normal")


def test_a_failure_stands_in_the_audit_on_one_line_with_its_hint(service: Service) -> None:
    cluster = service.add_cluster()
    one = snapshot(service, cluster, "long-story")
    cause = NodeUnreachable("no answer:\n" + "x" * 400, hint="start the server")
    end_snapshot(service, one, Failure.of(cause))
    with service.control.database.reading() as reading:
        (record,) = audit_log.list_records(reading, PROJECT, limit=1)
    assert (record.outcome, record.resource) == ("failed", f"cluster/{cluster}/snapshot/{one}")
    assert record.detail == f"no answer: {'x' * 400} (start the server)"


def test_an_operation_tells_why_it_failed_when_a_later_one_has_succeeded(service: Service) -> None:
    cluster = service.add_cluster()
    assert post(service, f"/v1.0/{{p}}/clusters/{cluster}/restart").status == 200
    cause = Failure("node.unreachable", "dn1 does not start", "see its server.log")
    failed = end_operation(service, cluster, cause)
    condition = get(service, f"{OURS}/clusters/{cluster}")["cluster"]
    assert (condition["state"], condition["failure"]["hint"]) == ("FAILED", "see its server.log")
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        later = operations.begin(transaction, cluster, Task.REBOOTING, cluster, now)
        clusters.end_operation(transaction, later, now, ClusterStatus.AVAILABLE)
    told = get(service, f"{OURS}/operations", cluster_id=cluster)["operations"]
    assert [(one["id"], one["state"]) for one in told] == [(later, "DONE"), (failed, "FAILED")]
    assert told[1]["failure"] == {"code": cause.code, "reason": cause.reason, "hint": cause.hint}
    (only,) = get(service, f"{OURS}/operations", cluster_id=cluster, failed="true")["operations"]
    assert only["id"] == failed
    by_job = get(service, f"{OURS}/operations/{failed.replace('-', '')}")["operation"]
    assert by_job == get(service, f"{OURS}/operations/{failed}")["operation"] == only


def test_operations_and_states_are_the_projects_own(service: Service) -> None:
    cluster = service.add_cluster()
    post(service, f"/v1.0/{{p}}/clusters/{cluster}/restart")
    operation = end_operation(service, cluster, Failure("internal", "secret of this project"))
    stranger = service.client_of_other_project()
    for path in (f"{OURS}/operations", f"{OURS}/clusters", f"{OURS}/snapshots"):
        assert stranger.request("GET", path).json["count"] == 0
    refused(stranger.request("GET", f"{OURS}/operations/{operation}"), 400, "DWS.5212")
    refused(stranger.request("GET", f"{OURS}/clusters/{cluster}"), 404, "DWS.0047")
    refused(service.client.request("GET", f"{OURS}/operations/{UNKNOWN}"), 400, "DWS.5212")
    refused(service.client.request("GET", f"{OURS}/operations/nonsense"), 400, "DWS.5212")
    refused(service.client.request("GET", f"{OURS}/snapshots/{UNKNOWN}"), 400, "DWS.5149")


def test_a_node_that_does_not_answer_shows_in_our_words_and_in_those_of_dws(service: Service) -> None:
    """The clusters of this catalog have no servers."""
    cluster = service.add_cluster()
    before = get(service, f"/v1.0/{{p}}/clusters/{cluster}")["cluster"]
    assert (before["nodes"][0]["status"], before["sub_status"]) == ("200", "NORMAL")
    found = get(service, f"{OURS}/clusters/{cluster}")["cluster"]
    (node,) = found["node_states"]
    assert (found["state"], node["state"]) == ("DOWN", "DOWN") and node["reason"]
    (listed,) = [one for one in get(service, f"{OURS}/clusters")["clusters"] if one["id"] == cluster]
    assert listed == found
    for item in get(service, "/v1.0/{p}/clusters")["clusters"]:
        if item["id"] == cluster:
            assert (item["status"], item["sub_status"]) == ("AVAILABLE", "DEGRADED")
            assert [one["status"] for one in item["nodes"]] == ["300"]
    nodes = get(service, f"/v2/{{p}}/clusters/{cluster}/nodes")
    assert (nodes["failed_count"], nodes["node_list"][0]["status"]) == (1, "300")


def test_a_stopped_cluster_is_not_called_down(service: Service) -> None:
    cluster = service.add_cluster()
    with service.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster, True, service.control.clock.now())
    found = get(service, f"{OURS}/clusters/{cluster}")["cluster"]
    assert (found["state"], found["node_states"][0]["state"]) == ("STOPPED", "STOPPED")


def test_failures_of_an_earlier_service_keep_what_they_have(service: Service) -> None:
    """Their reason has the hint in it, and no code beside it."""
    cluster = service.add_cluster()
    one = snapshot(service, cluster, "of-old")
    end_snapshot(service, one, Failure("internal", "x"))
    with service.control.database.transaction() as transaction:
        old = "UPDATE sh_snapshots SET failed_code = '', hint = '', reason = 'dn1 is away (start it)'"
        transaction.execute(text(f"{old} WHERE id = '{one}'"))
    told = shown(service, one)
    assert told["state"] == "FAILED"
    assert told["failure"] == {"code": "", "reason": "dn1 is away (start it)", "hint": ""}


def test_a_snapshot_tells_its_sizes_when_it_goes_and_until_when_the_trash_keeps_it(service: Service) -> None:
    cluster = service.add_cluster()
    manual = service.take_snapshot(cluster, "by-hand", 2**30)
    unmeasured = shown(service, manual)
    assert (unmeasured["live_bytes"], unmeasured["added_bytes"]) == (2**30, 2**20)
    assert (unmeasured["stored_bytes"], unmeasured["own_bytes"], unmeasured["expires"]) == (None, None, None)
    assert "until it is deleted" in unmeasured["kept_because"]
    with service.control.database.transaction() as transaction:
        assert cluster in snapshot_sizes.unmeasured(transaction)
        snapshot_sizes.save(transaction, cluster, {manual: (3 * 2**20, 2**20)})
        assert cluster not in snapshot_sizes.unmeasured(transaction)
    service.store_snapshot(manual, cluster)
    assert service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{manual}").status == 202
    trashed = shown(service, manual)
    assert (trashed["stored_bytes"], trashed["own_bytes"]) == (3 * 2**20, 2**20)
    assert trashed["deleted"] < trashed["until"] == trashed["expires"]
    (item,) = [one for one in get(service, f"{OURS}/trash")["snapshots"] if one["id"] == manual]
    assert (item["own_bytes"], item["until"]) == (trashed["own_bytes"], trashed["until"])
    with service.control.database.transaction() as transaction:
        snapshot_sizes.forget(transaction, cluster)
    assert shown(service, manual)["own_bytes"] is None


def test_an_automated_snapshot_goes_after_its_days_unless_it_is_the_newest_good_one(service: Service) -> None:
    cluster = service.add_cluster()
    newest = service.take_automated(cluster)
    kept = shown(service, newest)
    assert kept["expires"] is None and "newest automated" in kept["kept_because"]
    (listed,) = get(service, f"{OURS}/snapshots", cluster_id=cluster)["snapshots"]
    assert listed == kept
    preview = get(service, f"{OURS}/clusters/{cluster}/policy-preview", runs="3")
    assert [run["policy_name"] for run in preview["runs"]] == ["nightly"] * 3
    (fate,) = preview["snapshots"]
    assert (fate["id"], fate["kept_because"]) == (newest, kept["kept_because"]) and fate["expires"]
    path = f"{OURS}/clusters/{cluster}/policy-preview"
    refused(service.client.request("GET", path, query={"runs": "101"}), 400, "DWS.0001")


def test_a_foreign_snapshot_is_as_unknown_in_the_trash_as_elsewhere(service: Service) -> None:
    cluster = service.add_cluster()
    one = service.take_snapshot(cluster, "not-yours", 1)
    service.store_snapshot(one, cluster)
    stranger = service.client_of_other_project()
    refused(stranger.request("GET", f"{OURS}/snapshots/{one}"), 400, "DWS.5149")
    assert service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{one}").status == 202
    assert shown(service, one)["deleted"]
    refused(stranger.request("GET", f"{OURS}/snapshots/{one}"), 400, "DWS.5149")


def test_some_snapshots_are_asked_for_by_their_ids(service: Service) -> None:
    cluster = service.add_cluster()
    first, second, trashed = (service.take_snapshot(cluster, f"by-id-{number}", 1) for number in range(3))
    assert service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{trashed}").status == 202
    found = get(service, f"{OURS}/snapshots", ids=",".join([first.upper(), second, trashed, UNKNOWN]))
    assert {one["id"] for one in found["snapshots"]} == {first, second} and found["count"] == 2
    stranger = service.client_of_other_project()
    assert stranger.request("GET", f"{OURS}/snapshots", query={"ids": first}).json["count"] == 0
    for wrong in ("nope", f"{first},", ",".join([UNKNOWN] * 501)):
        refused(service.client.request("GET", f"{OURS}/snapshots", query={"ids": wrong}), 400, "DWS.0001")
