"""The operations of automated snapshots: what they take, what they answer, and that a refusal leaves nothing behind."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stillhouse.catalog import snapshot_policies, snapshots
from stillhouse.control.clusters.requests import ClusterRequest, request_cluster
from stillhouse.control.schedule.snapshot_policies import add_default_policies
from support.api.application import Service, a_cluster, serving_service
from support.api.client import Answer

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
NIGHTLY = {"policy_name": "nightly", "backup_strategy": "0 0 2 ? * *", "backup_type": "increment"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def cluster(service: Service) -> str:
    return service.add_cluster()


def path_of(cluster: str) -> str:
    return f"/v2/{{p}}/clusters/{cluster}/snapshot-policies"


def put(service: Service, cluster: str, *strategies: dict[str, Any], **body: Any) -> Answer:
    if strategies:
        body["backup_strategies"] = list(strategies)
    return service.client.request("PUT", path_of(cluster), body)


def shown(service: Service, cluster: str) -> dict[str, Any]:
    answer = service.client.request("GET", path_of(cluster))
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def names(service: Service, cluster: str) -> list[str]:
    return [one["policy_name"] for one in shown(service, cluster)["backup_strategies"]]


def assert_code(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.error_code) == (status, code), answer.raw


def copy(service: Service, snapshot_id: str, **body: Any) -> Answer:
    return service.client.request("POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/linked-copy", body)


# --- policies -----------------------------------------------------------------------------------------


def test_a_policy_that_was_put_is_listed_exactly_as_it_was_sent(service: Service, cluster: str) -> None:
    answer = put(
        service, cluster, NIGHTLY | {"time_zone_offset": 8}, keep_day=3, auto_backup=True, device_name="OBS"
    )
    assert (answer.status, answer.json) == (200, {})
    found = shown(service, cluster)
    (strategy,) = found.pop("backup_strategies")
    assert found == {
        "keep_day": 3,
        "auto_backup": True,
        "device_name": "OBS",
        "server_ips": None,
        "server_port": None,
        "backup_param": None,
        "backup_strategy_cluster_type_limit_num": 10,
        "backup_strategy_schema_type_limit_num": 50,
    }
    fires = datetime.fromtimestamp(int(strategy.pop("next_fire_time")) / 1000, UTC)
    assert (fires.hour, fires.minute, fires.second) == (2, 0, 0) and fires > datetime.now(UTC)
    assert len(strategy.pop("policy_id")) == 36
    updated = datetime.strptime(strategy.pop("update_time"), "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007
    assert abs(datetime.now(UTC) - updated.replace(tzinfo=UTC)) < timedelta(minutes=5)
    assert strategy == NIGHTLY | {
        "backup_level": "cluster",
        "time_zone_offset": 8,
        "backup_database": None,
        "backup_schema_list": None,
        "backup_table_list": None,
    }


def test_what_terraform_sends_adds_one_policy_and_leaves_the_others(service: Service, cluster: str) -> None:
    put(service, cluster, NIGHTLY, keep_day=5)
    sent = {
        "policy_name": "tf-policy",
        "cluster_id": cluster,
        "backup_type": "full",
        "backup_strategy": "0 8 6 4 * ?",
        "backup_level": "cluster",
    }
    assert put(service, cluster, sent).status == 200
    assert names(service, cluster) == ["nightly", "tf-policy"]
    assert shown(service, cluster)["keep_day"] == 5
    (policy_id,) = [
        one["policy_id"]
        for one in shown(service, cluster)["backup_strategies"]
        if one["policy_name"] == "tf-policy"
    ]
    gone = f"/v1.0/{{p}}/clusters/{cluster}/snapshot-policies/{policy_id}"
    for _ in range(2):  # Terraform knows no word for "gone already"
        answer = service.client.request("DELETE", gone)
        assert (answer.status, answer.json) == (200, {})
    assert names(service, cluster) == ["nightly"]


def test_a_policy_is_changed_by_its_id_and_only_in_what_is_given(service: Service, cluster: str) -> None:
    put(service, cluster, NIGHTLY)
    (before,) = shown(service, cluster)["backup_strategies"]
    changed = {
        "policy_id": before["policy_id"].upper(),
        "backup_type": "full",
        "next_fire_time": "1",
        "update_time": "",
    }
    assert put(service, cluster, changed).status == 200
    (after,) = shown(service, cluster)["backup_strategies"]
    ours = ("update_time", "backup_type")
    assert {key: value for key, value in after.items() if key not in ours} == {
        key: value for key, value in before.items() if key not in ours
    }
    assert after["backup_type"] == "full"
    assert_code(put(service, cluster, {"policy_id": UNKNOWN, "backup_type": "full"}), 400, "DWS.0001")


def test_a_one_off_time_is_a_schedule_too(service: Service, cluster: str) -> None:
    assert put(service, cluster, NIGHTLY | {"backup_strategy": "2090-05-19T09:24:00"}).status == 200
    (strategy,) = shown(service, cluster)["backup_strategies"]
    fires = datetime(2090, 5, 19, 9, 24, tzinfo=UTC)
    assert strategy["next_fire_time"] == f"{fires.timestamp():.0f}000"


def test_switched_off_nothing_will_fire(service: Service, cluster: str) -> None:
    put(service, cluster, NIGHTLY, auto_backup=False)
    found = shown(service, cluster)
    assert (found["auto_backup"], found["backup_strategies"][0]["next_fire_time"]) == (False, None)


def test_a_cluster_that_was_given_nothing_takes_nothing(service: Service, cluster: str) -> None:
    found = shown(service, cluster)
    assert (found["auto_backup"], found["keep_day"], found["backup_strategies"]) == (False, 7, [])


def test_a_new_cluster_begins_with_two_policies(service: Service, cluster: str) -> None:
    with service.control.database.transaction() as transaction:
        add_default_policies(transaction, cluster, service.control.clock.now())
    found = shown(service, cluster)
    assert (found["auto_backup"], found["keep_day"]) == (True, 7)
    assert {one["policy_name"]: one["backup_strategy"] for one in found["backup_strategies"]} == {
        "default-full": "0 0 2 ? * 1",
        "default-increment": "0 7 2/8 ? * 2,3,4,5,6,7",
    }


def test_creation_and_restore_make_the_default_policies_in_their_own_transaction(service: Service) -> None:
    settings = service.control.settings.model_copy(update={"default_policies": True})
    control = replace(service.control, settings=settings)
    wanted = a_cluster()
    request = ClusterRequest("with-defaults", wanted["number_of_node"], wanted["user_pwd"])
    made = request_cluster(control, service.client.project, request)
    with service.control.database.reading() as reading:
        assert len(snapshot_policies.list_policies(reading, made)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"policy_name": "abc"},
        {"policy_name": "a" * 93},
        {"policy_name": "1abc"},
        {"policy_name": "ab c"},
        {"policy_name": None},
        {"policy_name": 7},
        {"backup_strategy": None},
        {"backup_strategy": ""},
        {"backup_strategy": "0 0 2 * * *"},
        {"backup_strategy": "0 0/30 * ? * *"},
        {"backup_strategy": "0 0 25 ? * *"},
        {"backup_strategy": "2020-01-01T00:00:00"},
        {"backup_strategy": "0 0 2 30 2 ?"},
        {"backup_strategy": "0 " * 500},
        {"backup_strategy": "0 0 2 ? * ١"},
        {"backup_type": None},
        {"backup_type": "FULL"},
        {"backup_type": "differential"},
        {"backup_level": "schema"},
        {"backup_level": "table"},
        {"time_zone_offset": 24},
        {"time_zone_offset": -1},
        {"time_zone_offset": "8"},
    ],
)
def test_a_policy_past_a_limit_is_refused_and_leaves_nothing(
    service: Service, cluster: str, change: dict[str, Any]
) -> None:
    fine = NIGHTLY | {"policy_name": "would-be-fine"}
    assert_code(put(service, cluster, fine, NIGHTLY | change, keep_day=9), 400, "DWS.0001")
    found = shown(service, cluster)
    assert (found["backup_strategies"], found["keep_day"]) == ([], 7)


@pytest.mark.parametrize("name", ["abcd", "A-_9", "a" * 92])
def test_a_policy_s_name_within_the_limits_is_taken(service: Service, cluster: str, name: str) -> None:
    assert put(service, cluster, NIGHTLY | {"policy_name": name}).status == 200
    assert names(service, cluster) == [name]


@pytest.mark.parametrize(
    "body",
    [
        {"keep_day": 0},
        {"keep_day": 32},
        {"keep_day": "7"},
        {"keep_day": True},
        {"auto_backup": "true"},
        {"device_name": "NFS"},
        {"device_name": "NBU"},
    ],
)
def test_settings_past_a_limit_are_refused(service: Service, cluster: str, body: dict[str, Any]) -> None:
    assert_code(put(service, cluster, **body), 400, "DWS.0001")


@pytest.mark.parametrize("keep_day", [1, 31])
def test_settings_within_the_limits_are_kept(service: Service, cluster: str, keep_day: int) -> None:
    assert put(service, cluster, keep_day=keep_day).status == 200
    assert shown(service, cluster)["keep_day"] == keep_day


def test_names_of_policies_are_unique_in_their_cluster_whatever_their_case(
    service: Service, cluster: str
) -> None:
    put(service, cluster, NIGHTLY)
    assert_code(put(service, cluster, NIGHTLY | {"policy_name": "NIGHTLY"}), 400, "DWS.5039")
    assert put(service, service.add_cluster(), NIGHTLY).status == 200


def test_a_cluster_has_ten_policies_at_most(service: Service, cluster: str) -> None:
    many = [NIGHTLY | {"policy_name": f"policy-{number}"} for number in range(11)]
    assert_code(put(service, cluster, *many), 400, "DWS.0001")
    assert names(service, cluster) == []
    assert put(service, cluster, *many[:10]).status == 200
    assert_code(put(service, cluster, many[10]), 400, "DWS.0001")
    assert len(names(service, cluster)) == 10


def test_an_empty_body_is_refused_and_one_that_sets_nothing_is_not(service: Service, cluster: str) -> None:
    assert_code(service.client.request("PUT", path_of(cluster), raw=b""), 400, "DWS.0006")
    assert put(service, cluster).status == 200


@pytest.mark.parametrize(
    ("cluster_id", "status", "code"), [(UNKNOWN, 404, "DWS.0047"), ("nope", 400, "DWS.0001")]
)
def test_an_unknown_cluster_is_refused_by_each_operation(
    service: Service, cluster_id: str, status: int, code: str
) -> None:
    statistics = f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots/statistics"
    gone = f"/v1.0/{{p}}/clusters/{cluster_id}/snapshot-policies/{UNKNOWN}"
    for answer in [
        put(service, cluster_id, NIGHTLY),
        service.client.request("GET", path_of(cluster_id)),
        service.client.request("GET", statistics),
        service.client.request("DELETE", gone),
    ]:
        assert_code(answer, status, code)
        assert status == 400 or "Cluster does not exist or has been deleted" in answer.json["error_msg"]


def test_another_project_s_policies_and_snapshots_are_as_unknown(service: Service, cluster: str) -> None:
    automated = service.take_automated(cluster)
    policy = shown(service, cluster)["backup_strategies"][0]["policy_id"]
    stranger = service.client_of_other_project()
    for method, path, body in [
        ("PUT", path_of(cluster), {"keep_day": 1}),
        ("GET", path_of(cluster), None),
        ("DELETE", f"/v1.0/{{p}}/clusters/{cluster}/snapshot-policies/{policy}", None),
        ("GET", f"/v1.0/{{p}}/clusters/{cluster}/snapshots/statistics", None),
    ]:
        assert_code(stranger.request(method, path, body), 404, "DWS.0047")
    taken = stranger.request(
        "POST", f"/v1.0/{{p}}/snapshots/{automated}/linked-copy", {"backup_name": "mine"}
    )
    assert_code(taken, 400, "DWS.5149")
    assert names(service, cluster) == ["nightly"]


# --- automated snapshots and copies -------------------------------------------------------------------


def test_an_automated_snapshot_shows_where_it_comes_from(service: Service, cluster: str) -> None:
    automated = service.take_automated(cluster)
    detail = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{automated}").json["snapshot"]
    assert (detail["type"], detail["bak_period"], detail["bak_keep_day"]) == ("AUTO", "0 0 2 ? * *", 7)
    due = datetime.fromtimestamp(int(detail["bak_expected_start_time"]) / 1000, UTC)
    assert detail["name"].endswith(f"-auto-{due:%Y%m%d%H%M%S}")
    assert (due.hour, due.minute) == (2, 0)


def test_an_automated_snapshot_cannot_be_deleted(service: Service, cluster: str) -> None:
    automated = service.take_automated(cluster)
    assert_code(service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{automated}"), 400, "DWS.5095")


def test_a_copy_is_readable_at_once_and_a_manual_snapshot_from_then_on(
    service: Service, cluster: str
) -> None:
    automated = service.take_automated(cluster)
    answer = copy(service, automated, backup_name=f"keep-{cluster[:8]}", description="month end")
    assert answer.status == 200
    assert answer.json.keys() == {"snapshot_id"}
    made = answer.json["snapshot_id"]
    path = f"/v1.0/{{p}}/snapshots/{made}"
    detail = service.client.request("GET", path).json["snapshot"]
    source = service.client.request("GET", f"/v1.0/{{p}}/snapshots/{automated}").json["snapshot"]
    assert (detail["name"], detail["description"], detail["type"]) == (
        f"keep-{cluster[:8]}",
        "month end",
        "MANUAL",
    )
    assert (detail["bak_period"], detail["bak_keep_day"], detail["bak_expected_start_time"]) == (
        None,
        None,
        None,
    )
    assert (detail["started"], detail["backup_key"], detail["size"]) == (
        source["started"],
        source["backup_key"],
        source["size"],
    )
    with service.control.database.transaction() as transaction:
        snapshots.mark_copied(transaction, made, service.control.clock.now())
    assert service.client.request("GET", path).json["snapshot"]["status"] == "AVAILABLE"
    assert service.client.request("DELETE", path).status == 202


def test_a_copy_is_refused_where_it_must_be(service: Service, cluster: str) -> None:
    body = {"snapshot": {"name": f"manual-{cluster[:8]}", "cluster_id": cluster}}
    manual = service.client.request("POST", "/v1.0/{p}/snapshots", body).json["snapshot"]["id"]
    service.finish_snapshot(manual)
    assert_code(copy(service, manual, backup_name="copy-of-manual"), 400, "DWS.5095")
    automated = service.take_automated(cluster)
    for bad in (
        {"backup_name": "abc"},
        {"backup_name": "good-name", "description": "a<b"},
        {},
        {"backup_name": 1},
    ):
        assert_code(copy(service, automated, **bad), 400, "DWS.0001")
    assert_code(copy(service, automated, backup_name=f"MANUAL-{cluster[:8]}"), 400, "DWS.5039")
    assert_code(copy(service, UNKNOWN, backup_name="copy-of-none"), 400, "DWS.5149")
    restored = service.client.request(
        "POST", f"/v1.0/{{p}}/snapshots/{automated}/actions", {"restore": {"name": f"clone-{cluster[:8]}"}}
    ).json["cluster"]["id"]
    assert_code(copy(service, automated, backup_name=f"copy-{cluster[:8]}"), 403, "DWS.7023")
    service.finish_restore(restored)
    assert copy(service, automated, backup_name=f"copy-{cluster[:8]}").status == 200
    assert_code(copy(service, automated, backup_name=f"copy-2-{cluster[:8]}"), 403, "DWS.7023")


# --- statistics ---------------------------------------------------------------------------------------


def statistics(service: Service, cluster: str) -> dict[str, float]:
    listed = service.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster}/snapshots/statistics").json[
        "statistics"
    ]
    assert {one["unit"] for one in listed} == {"GB"}
    return {one["name"]: one["value"] for one in listed}


def test_statistics_tell_what_snapshots_took_and_what_is_free(service: Service, cluster: str) -> None:
    assert statistics(service, cluster) == {"storage.free": 200.0, "storage.paid": 0.0, "storage.used": 0.0}
    automated = service.take_automated(cluster)
    one_mebibyte = round(1 / 1024, 6)
    assert statistics(service, cluster)["storage.used"] == one_mebibyte
    copy(service, automated, backup_name=f"free-{cluster[:8]}")
    assert statistics(service, cluster)["storage.used"] == one_mebibyte, "a copy takes nothing"
    with service.control.database.transaction() as transaction:
        transaction.exec_driver_sql(
            "UPDATE sh_snapshots SET stored_bytes = stored_bytes * 300 * 1024 WHERE cluster_id = ?",
            (cluster,),
        )
    assert statistics(service, cluster) == {
        "storage.free": 200.0,
        "storage.paid": 100.0,
        "storage.used": 300.0,
    }


def test_a_copy_is_an_event_of_the_copy_and_a_policy_s_end_one_of_its_cluster(
    service: Service, cluster: str
) -> None:
    copy(service, service.take_automated(cluster), backup_name="kept-for-good")
    policy = shown(service, cluster)["backup_strategies"][0]["policy_id"]
    service.client.request("DELETE", f"/v1.0/{{p}}/clusters/{cluster}/snapshot-policies/{policy}")
    newest = service.client.request("GET", "/v2/{p}/events").json["events"][:2]
    assert [(one["name"], one["source_type"], one["source_name"]) for one in newest] == [
        ("DeleteSnapshotPolicy", "cluster", f"dw-{cluster}"),
        ("CopySnapshot", "backup", "kept-for-good"),
    ]
