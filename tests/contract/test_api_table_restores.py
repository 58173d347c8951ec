"""Restores of tables: who may begin one and when, what shows of it meanwhile and afterwards."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import captures, clusters, operations, restores
from stillhouse.control.audit import record
from stillhouse.control.snapshots import listed_tables
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.progress import Progress
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import RestoreFailed
from support.api.application import PROJECT, Service, serving_service
from support.api.asking import get, post, refused, snapshot
from support.api.client import Answer
from support.api.tour import a_table_restore
from support.control.requests_bed import enqueued

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
WITNESS = {"t": "witness", "databases": ["gaussdb"], "why": "", "partitioned": True}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def taken(service: Service) -> tuple[str, str]:
    """A cluster of its own for each test, and a snapshot of it."""
    cluster = service.add_cluster()
    return cluster, service.take_snapshot(cluster, f"s{cluster}", plain_bytes=1)


def restore(service: Service, snapshot_id: str, body: Any = None) -> Answer:
    return post(service, f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore", body or a_table_restore())


def check(service: Service, snapshot_id: str, body: Any = None) -> Answer:
    return post(service, f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore-check", body or a_table_restore())


def job(service: Service, answer: Answer) -> Any:
    assert answer.status == 200, answer.raw
    return get(service, f"/v1.0/{{p}}/job/{answer.json['job_id']}")


def end(service: Service, cluster: str, reason: str = "") -> None:
    """As its flow does: the cluster stays what it was."""
    with service.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster)
        assert operation is not None
        clusters.end_operation(
            transaction,
            operation.id,
            service.control.clock.now(),
            ClusterStatus.AVAILABLE,
            failed_code=RestoreFailed.code if reason else "",
            failure=Failure("", reason) if reason else None,
        )


def cluster_shown(service: Service, cluster: str) -> Any:
    return get(service, f"/v1.0/{{p}}/clusters/{cluster}")["cluster"]


def snapshot_in_cluster_list(service: Service, cluster: str) -> Any:
    (shown,) = get(service, f"/v1.0/{{p}}/clusters/{cluster}/snapshots")["snapshots"]
    return shown


# --- what is begun ----------------------------------------------------------------------------------


def test_an_accepted_restore_is_one_operation_and_one_flow_about_it(
    service: Service, taken: tuple[str, str]
) -> None:
    cluster, snapshot_id = taken
    answer = restore(service, snapshot_id)
    with service.control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None
    key = get(service, f"/v1.0/{{p}}/snapshots/{snapshot_id}")["snapshot"]["backup_key"]
    table = {"schema": "public", "table": "orders"}
    table |= {"target_schema": "public_dws_backup", "target_table": f"orders_{key}"}
    assert answer.json == {"job_id": operation.id.replace("-", "")}
    assert operation.subject_id == snapshot_id
    assert operation.detail == {
        "snapshot_id": snapshot_id,
        "database": "gaussdb",
        "tables": [table],
        "marked": True,
    }
    assert ("restore_tables", operation.id) in enqueued(service.control)


def test_names_are_folded_unless_their_case_counts(service: Service, taken: tuple[str, str]) -> None:
    cluster, snapshot_id = taken
    mixed = [{"schema_name": "Mart", "table_name": "Orders"}]
    for case_sensitive, schema, table in ((True, "Mart", "Orders"), (False, "mart", "orders")):
        body = a_table_restore(case_sensitive=case_sensitive)
        restore(service, snapshot_id, body | {"restore_table_list": mixed, "target_table_list": mixed})
        with service.control.database.reading() as reading:
            operation = operations.active(reading, cluster)
        assert operation is not None
        (one,) = operation.detail["tables"]
        assert (one["schema"], one["table"], one["target_schema"]) == (schema, table, schema)
        end(service, cluster)


# --- what shows of it -------------------------------------------------------------------------------


def test_while_it_runs_cluster_snapshot_and_job_say_so(service: Service, taken: tuple[str, str]) -> None:
    cluster, snapshot_id = taken
    answer = restore(service, snapshot_id)
    with service.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster)
        assert operation is not None
        operations.set_progress(transaction, operation.id, 42)
        restores.put(transaction, operation.id, "cn-1", Progress(restores.COPYING, 5, 10, 1))
    shown = job(service, answer)
    assert (shown["job_name"], shown["status"], shown["progress"]) == ("restoreTableJob", "RUNNING", "42%")
    shown = cluster_shown(service, cluster)
    assert (shown["status"], shown["task_status"]) == ("AVAILABLE", "FINE_GRAINED_RESTORING")
    assert shown["action_progress"] == {"FINE_GRAINED_RESTORING": "42%"}
    assert snapshot_in_cluster_list(service, cluster)["status"] == "RESTORING"
    detail = get(service, f"/v1.0/{{p}}/snapshots/{snapshot_id}")["snapshot"]
    assert (detail["status"], detail["cluster_task_status"]) == ("AVAILABLE", "FINE_GRAINED_RESTORING")
    progress = get(service, f"/stillhouse/v1/{{p}}/clusters/{cluster}/progress")
    assert (progress["phase"], progress["percent"]) == ("copying", 42)
    assert (progress["bytes_done"], progress["bytes_total"]) == (5, 10)

    end(service, cluster)
    assert job(service, answer)["status"] == "SUCCESS"
    shown = cluster_shown(service, cluster)
    assert (shown["status"], shown["task_status"], shown["action_progress"]) == ("AVAILABLE", None, {})
    assert snapshot_in_cluster_list(service, cluster)["status"] == "AVAILABLE"


def test_its_task_is_one_step_whatever_the_snapshot_s_captures_were(
    service: Service, taken: tuple[str, str]
) -> None:
    cluster, snapshot_id = taken
    with service.control.database.transaction() as transaction:
        (node,) = clusters.read_cluster(transaction, cluster).nodes
        captures.begin_attempt(transaction, snapshot_id, [node.id], service.control.clock.now())
    path = f"/v1/{{p}}/clusters/{cluster}/actions/FINE_GRAINED_RESTORING"
    refused(service.client.request("GET", path), 400, "DWS.5212")
    answer = restore(service, snapshot_id)
    task = get(service, path)
    (item,) = task["items"]
    (step,) = item["sub_items"]
    assert (task["id"], task["status"]) == (answer.json["job_id"], "RUNNING")
    assert (item["item_name"], step["sub_item_name"]) == ("restoreTableJob", task["cluster_name"])
    assert json.loads(json.loads(step["detail"])["progressInfo"])["actionType"] == "Restore"
    refused(service.client.request("GET", f"{path}_FAILED"), 400, "DWS.5212")


def test_a_failed_one_says_why_and_leaves_the_cluster_available(
    service: Service, taken: tuple[str, str]
) -> None:
    cluster, snapshot_id = taken
    answer = restore(service, snapshot_id)
    end(service, cluster, "table public.orders is not in the snapshot")
    shown = job(service, answer)
    assert (shown["status"], shown["failed_code"]) == ("FAIL", "restoreTableJob-fail:DWS.6003")
    assert shown["failed_detail"] == "DWS.6003:table public.orders is not in the snapshot"
    task = get(service, f"/v1/{{p}}/clusters/{cluster}/actions/FINE_GRAINED_RESTORING_FAILED")
    assert (task["status"], task["action_name"]) == ("FAILED", "FINE_GRAINED_RESTORING_FAILED")
    assert "public.orders" in task["items"][0]["sub_items"][0]["detail"]
    # Terraform takes any task_status with ING in it for work that is going on.
    shown = cluster_shown(service, cluster)
    assert (shown["status"], shown["task_status"]) == ("AVAILABLE", None)
    assert shown["failed_reasons"]["error_code"] == "DWS.6003"


def test_a_snapshot_stays_while_tables_of_it_are_restored(service: Service, taken: tuple[str, str]) -> None:
    cluster, snapshot_id = taken
    restore(service, snapshot_id)
    path = f"/v1.0/{{p}}/snapshots/{snapshot_id}"
    refused(service.client.request("DELETE", path), 403, "DWS.7023")
    end(service, cluster)
    assert service.client.request("DELETE", path).status == 202


def test_its_request_and_its_end_are_events(service: Service, taken: tuple[str, str]) -> None:
    cluster, snapshot_id = taken
    restore(service, snapshot_id)
    for outcome in ("restored", "failed"):  # as its flow records them
        with service.control.database.transaction() as transaction:
            about = f"snapshot/{snapshot_id}"
            record(service.control, transaction, PROJECT, "RestoreTable", about, outcome, "why")
    shown = get(service, "/v2/{p}/events", limit="3")["events"]
    assert [event["name"] for event in shown] == ["RestoreTable"] * 3
    assert [event["subject"] for event in shown] == [
        "RestoreTable failed",
        "RestoreTable restored",
        "RestoreTable was accepted",
    ]
    assert [event["status"] for event in shown] == [1, 0, 0]
    assert {event["source_id"] for event in shown} == {snapshot_id}
    end(service, cluster)


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [restore, check])
def test_an_unknown_snapshot_or_another_project_s_is_refused_alike(
    service: Service, taken: tuple[str, str], ask: Any
) -> None:
    refused(ask(service, UNKNOWN), 400, "DWS.5149")
    refused(ask(service, "nope"), 400, "DWS.5149")
    stranger = service.client_of_other_project()
    path = f"/v1/{{p}}/snapshots/{taken[1]}/table-restore"
    for tail in ("", "-check"):
        refused(stranger.request("POST", path + tail, a_table_restore()), 400, "DWS.5149")


@pytest.mark.parametrize("ask", [restore, check])
def test_a_snapshot_must_be_available_and_its_cluster_at_work(service: Service, ask: Any) -> None:
    cluster = service.add_cluster()
    snapshot_id = snapshot(service, cluster, f"s{cluster}")
    refused(ask(service, snapshot_id), 403, "DWS.7023")
    service.finish_snapshot(snapshot_id)
    with service.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster, True, service.control.clock.now())
    assert "stopped" in refused(ask(service, snapshot_id), 403, "DWS.7023")
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        clusters.set_stopped(transaction, cluster, False, now)
        clusters.set_status(transaction, cluster, ClusterStatus.FAILED, now)
    refused(ask(service, snapshot_id), 403, "DWS.7023")
    delete = f"/v1.0/{{p}}/clusters/{cluster}"
    assert service.client.request("DELETE", delete, {"keep_last_manual_snapshot": 1}).status == 202
    refused(ask(service, snapshot_id), 403, "DWS.7023")
    with service.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster)
        assert operation is not None
        now = service.control.clock.now()
        clusters.end_operation(transaction, operation.id, now, ClusterStatus.DELETED)
    refused(ask(service, snapshot_id), 404, "DWS.0047")


def test_a_busy_cluster_takes_no_restore_and_a_restore_keeps_it_busy(
    service: Service, taken: tuple[str, str]
) -> None:
    cluster, snapshot_id = taken
    restore(service, snapshot_id)
    refused(restore(service, snapshot_id), 409, "DWS.0011")
    wanted = {"snapshot": {"name": "while-it-runs", "cluster_id": cluster}}
    refused(post(service, "/v1.0/{p}/snapshots", wanted), 409, "DWS.0011")
    end(service, cluster)
    snapshot(service, cluster, "while-it-is-taken")
    refused(restore(service, snapshot_id), 409, "DWS.0011")


_ONE = [{"schema_name": "public", "table_name": "orders"}]


@pytest.mark.parametrize("ask", [restore, check])
@pytest.mark.parametrize(
    "change",
    [
        {"case_sensitive": "false"},
        {"case_sensitive": None},
        {"database": ""},
        {"database": 1},
        {"database": "a\0b"},
        {"restore_table_list": []},
        {"restore_table_list": "orders"},
        {"restore_table_list": [{"schema_name": "public"}]},
        {"restore_table_list": [{"schema_name": "public", "table_name": ""}]},
        {"restore_table_list": [{"schema_name": "pg_catalog", "table_name": "pg_class"}]},
        {"restore_table_list": _ONE * 101, "target_table_list": _ONE * 101},
        {"restore_table_list": _ONE * 2},
        {"restore_table_list": _ONE * 2, "target_table_list": _ONE * 2},
        {"target_table_list": [{"schema_name": "public", "table_name": "x" * 64}]},
        {"target_table_list": [{"schema_name": "information_schema", "table_name": "x"}]},
        {"target_table_list": [None]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_malformed_request_is_refused_and_begins_nothing(
    service: Service, taken: tuple[str, str], ask: Any, change: dict[str, Any]
) -> None:
    before = enqueued(service.control)
    refused(ask(service, taken[1], a_table_restore() | change), 400, "DWS.0001")
    assert service.task_of(taken[0]) == ""
    assert enqueued(service.control) == before


@pytest.mark.parametrize("field", sorted(a_table_restore()))
@pytest.mark.parametrize("ask", [restore, check])
def test_every_field_is_required(service: Service, taken: tuple[str, str], ask: Any, field: str) -> None:
    body = {name: value for name, value in a_table_restore().items() if name != field}
    assert field in refused(ask(service, taken[1], body), 400, "DWS.0001")


# --- the check, as far as it needs no server (else: tests/real/test_databases.py) -------------------


def test_a_database_that_the_snapshot_has_not_is_named(service: Service, taken: tuple[str, str]) -> None:
    cluster, snapshot_id = taken
    service.store_snapshot(snapshot_id, cluster, WITNESS)
    answer = check(service, snapshot_id, a_table_restore("sales"))
    assert answer.json["check_table_name_result"] == {
        "database": "sales",
        "restore_table_list": None,
        "target_table_list": None,
    }
    assert service.task_of(cluster) == ""


def test_of_a_manifest_too_large_to_be_read_for_an_answer_nothing_is_said(
    service: Service, taken: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, snapshot_id = taken
    service.store_snapshot(snapshot_id, cluster, WITNESS)
    monkeypatch.setattr(listed_tables, "MOST_MANIFEST_BYTES", 100)
    # So the servers are asked next, and of this cluster there are none.
    refused(check(service, snapshot_id, a_table_restore("sales")), 503, "DWS.0005")


def test_a_snapshot_that_is_not_in_the_repository_is_no_word_of_the_inside(
    service: Service, taken: tuple[str, str]
) -> None:
    cluster, snapshot_id = taken
    service.store_snapshot(UNKNOWN, cluster)
    assert refused(check(service, snapshot_id), 500, "DWS.0005") == "Server failure."
