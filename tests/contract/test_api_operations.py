"""The operations around snapshots: what they answer is what the catalog and the host have, and nothing is pretended."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import clusters, operations
from stillhouse.catalog.access import audit_log
from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.refused import REFUSED
from stillhouse.domain.ids import new_hex
from support.api.application import PASSWORD, PROJECT, Service, a_cluster, serving_service
from support.api.asking import end_operation, get, post, refused, snapshot

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


# --- names of snapshots, flavours -------------------------------------------------------------------


def test_a_name_is_checked_as_a_creation_would(service: Service, cluster_id: str) -> None:
    snapshot(service, cluster_id, "Nightly")
    path = "/v1/{p}/snapshots/check"
    free = post(service, path, {"snapshot_name": "weekly"})
    assert (free.status, free.json) == (200, {})
    refused(post(service, path, {"snapshot_name": "nightly"}), 400, "DWS.5039")
    for wrong in ({"snapshot_name": "abc"}, {"snapshot_name": ""}, {"snapshot_name": None}, {}):
        refused(post(service, path, wrong), 400, "DWS.0001")
    refused(post(service, path), 400, "DWS.0006")


def test_a_name_in_the_trash_is_free(service: Service, cluster_id: str) -> None:
    snapshot_id = snapshot(service, cluster_id)
    service.finish_snapshot(snapshot_id)
    service.client.request("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot_id}")
    assert post(service, "/v1/{p}/snapshots/check", {"snapshot_name": "nightly"}).status == 200


@pytest.mark.parametrize(
    "query", [{}, {"type": "restore"}, {"az_code": "a,b,c", "fine_grained_restore": "true"}], ids=str
)
def test_a_snapshot_s_flavour_is_this_host(shared: Service, query: dict[str, str]) -> None:
    taken = snapshot(shared, shared.add_cluster(), f"s{new_hex()}")
    shown = get(shared, f"/v2/{{p}}/snapshots/{taken}/flavors", **query)
    assert shown["count"] == len(shown["flavors"]) == 1
    flavor = shown["flavors"][0]
    assert {"code": "cpu", "value": str(os.cpu_count())} in flavor["attribute"]
    assert (flavor["default_node"], flavor["min_node"], flavor["max_node"]) == (1, 1, 1)


def test_an_unknown_snapshot_has_no_flavours_and_an_unknown_type_of_them_is_refused(shared: Service) -> None:
    taken = snapshot(shared, shared.add_cluster(), f"s{new_hex()}")
    for unknown in (UNKNOWN, "never-was"):
        none = shared.client.request("GET", f"/v2/{{p}}/snapshots/{unknown}/flavors")
        assert (none.status, none.json) == (200, {"flavors": [], "count": 0})
    path = f"/v2/{{p}}/snapshots/{taken}/flavors"
    refused(shared.client.request("GET", path, query={"type": "other"}), 400, "DWS.0001")


# --- the host ---------------------------------------------------------------------------------------


def test_the_node_type_is_this_host_under_both_keys_of_its_zones(shared: Service) -> None:
    shown = get(shared, "/v2/{p}/node-types")
    (node_type,) = shown["node_types"]
    zones = get(shared, "/v1.0/{p}/availability-zones")["availability_zones"]
    assert node_type["available_zones"] == node_type["availability_zones"]
    assert [zone["code"] for zone in node_type["available_zones"]] == [zone["code"] for zone in zones]
    assert node_type["vcpus"] == os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(node_type["ram"] - pages / 2**30) < 1
    (disk,) = [detail for detail in node_type["detail"] if detail["type"] in ("SSD", "LOCAL_DISK")]
    assert int(disk["value"]) == node_type["volume"]["size"]


def test_quotas_and_statistics_count_what_the_project_has(service: Service) -> None:
    working, broken = service.add_cluster(), service.add_cluster(status="FAILED")
    assert working != broken
    resources = {one["type"]: one for one in get(service, "/v1.0/{p}/quotas")["quotas"]["resources"]}
    assert (resources["instances"]["used"], resources["instances"]["quota"]) == (2, -1)
    assert 0 < resources["disk_capacity"]["used"] <= resources["disk_capacity"]["quota"]
    figures = {one["name"]: one["value"] for one in get(service, "/v1.0/{p}/statistics")["statistics"]}
    assert (figures["cluster.total"], figures["cluster.normal"]) == (2, 1)
    assert (figures["instance.total"], figures["instance.normal"]) == (2, 1)
    shown = get(service, "/v1/{p}/resource-statistics", namespace="dws")
    assert shown["cluster_statistics"] == shown["node_statistics"] == {"active": 1, "total": 2}
    other = service.client_of_other_project().request("GET", "/v1/{p}/resource-statistics").json
    assert other["cluster_statistics"] == {"active": 0, "total": 0}


# --- clusters, version 2 ----------------------------------------------------------------------------


def a_cluster_v2(**changes: Any) -> dict[str, Any]:
    return {
        "cluster": {
            "name": "orders-dw",
            "flavor": "stillhouse.host",
            "num_node": 2,
            "num_cn": 2,
            "db_name": "dbadmin",
            "db_password": PASSWORD,
            "db_port": 8100,
            "availability_zones": ["local"],
            "vpc_id": "vpc-a",
            "subnet_id": "subnet-a",
            "datastore_version": "1.0.0",
            "volume": {"volume": "SSD", "capacity": 100},
            "tags": [{"key": "team", "value": "bi"}],
            **changes,
        }
    }


def test_a_cluster_made_by_version_2_shows_the_same_in_both(service: Service) -> None:
    answer = post(service, "/v2/{p}/clusters", a_cluster_v2())
    assert answer.status == 200
    cluster_id = answer.json["cluster"]["id"]
    shown = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
    for key, value in {
        "name": "orders-dw",
        "node_type": "stillhouse.host",
        "number_of_node": 2,
        "user_name": "dbadmin",
        "port": 8100,
        "availability_zone": "local",
        "tags": [{"key": "team", "value": "bi"}],
    }.items():
        assert shown[key] == value
    assert get(service, "/v2/{p}/clusters") == get(service, "/v1.0/{p}/clusters")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"num_node": 0}, "DWS.0001"),
        ({"db_password": "weak"}, "DWS.0001"),
        ({"public_ip": {"public_bind_type": "auto_assign"}}, "DWS.5095"),
        ({"public_ip": {"public_bind_type": "bind_existing", "eip_id": "x"}}, "DWS.5095"),
        ({"dss_pool_id": "x"}, "DWS.5095"),
        ({"master_key_id": "x"}, "DWS.5095"),
        ({"ipv6_enable": True}, "DWS.5095"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_by_both_versions_and_the_check(
    shared: Service, change: dict[str, Any], code: str
) -> None:
    before = shared.list_clusters()
    refused(post(shared, "/v2/{p}/clusters", a_cluster_v2(**change)), 400, code)
    if "public_ip" in change:
        refused(post(shared, "/v1.0/{p}/clusters", {"cluster": a_cluster() | change}), 400, code)
    if not {"ipv6_enable", "master_key_id"} & change.keys():  # the check knows no such field
        checked = a_cluster_v2(**change, db_port="8000")
        refused(post(shared, "/v2/{p}/cluster-precheck", checked), 400, code)
    assert shared.list_clusters() == before


def test_a_check_of_a_cluster_finds_what_a_creation_would(service: Service, cluster_id: str) -> None:
    path = "/v2/{p}/cluster-precheck"
    good = a_cluster_v2(db_port="8100")
    answer = post(service, path, good)
    assert (answer.status, answer.json) == (200, {})
    taken = service.list_clusters()[0]["name"].upper()
    refused(post(service, path, a_cluster_v2(db_port="8100", name=taken)), 409, "DWS.5050")
    refused(post(service, path, a_cluster_v2(db_port="80")), 400, "DWS.0001")
    refused(post(service, path, a_cluster_v2(db_port="x")), 400, "DWS.0001")

    snapshot_id = snapshot(service, cluster_id)
    restoring = a_cluster_v2(db_port="8100", num_node=1, restore_point={"back_ref": snapshot_id})
    refused(post(service, path, restoring), 403, "DWS.7023")
    service.finish_snapshot(snapshot_id)
    assert post(service, path, restoring).status == 200
    refused(
        post(service, path, a_cluster_v2(db_port="8100", restore_point={"back_ref": snapshot_id})),
        400,
        "DWS.0001",
    )
    refused(
        post(service, path, a_cluster_v2(db_port="8100", restore_point={"back_ref": UNKNOWN})),
        400,
        "DWS.5149",
    )
    assert len(service.list_clusters()) == 1


def test_a_deletion_by_version_2_is_a_job(service: Service, cluster_id: str) -> None:
    path = f"/v2/{{p}}/clusters/{cluster_id}"
    query = {"keep_last_manual_backup": "2", "release_eip_type": "RELEASE_BINDING"}
    wrong = service.client.request("DELETE", path, query={"keep_last_manual_backup": "x"})
    refused(wrong, 400, "DWS.0001")
    answer = service.client.request("DELETE", path, query=query)
    assert (answer.status, answer.json["error_code"]) == (202, None)
    job = get(service, f"/v1.0/{{p}}/job/{answer.json['job_id']}")
    assert (job["job_name"], job["status"], job["end_time"]) == ("deleteClusterJob", "RUNNING", None)
    with service.control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
    assert operation is not None
    assert operation.detail == {"keep_last_manual": 2}


@pytest.mark.parametrize("version", ["v1.0", "v2"])
def test_a_deletion_calls_off_the_cluster_s_snapshots(
    service: Service, cluster_id: str, version: str
) -> None:
    running, waiting = snapshot(service, cluster_id, "running"), snapshot(service, cluster_id, "waiting")
    path, body = f"/{version}/{{p}}/clusters/{cluster_id}", {"keep_last_manual_snapshot": 0}
    answer = service.client.request("DELETE", path, body if version == "v1.0" else None)
    assert answer.status == 202
    shown = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
    assert (shown["status"], shown["task_status"], shown["action_progress"]) == ("DELETING", None, {})
    if version == "v2":
        job = get(service, f"/v1.0/{{p}}/job/{answer.json['job_id']}")
        assert (job["job_name"], job["status"]) == ("deleteClusterJob", "RUNNING")
    states = [
        get(service, f"/v1.0/{{p}}/snapshots/{one}")["snapshot"]["status"] for one in (running, waiting)
    ]
    assert states == ["CREATING", "UNAVAILABLE"]
    again = service.client.request("DELETE", path, body if version == "v1.0" else None)
    refused(again, 403, "DWS.7023")
    late = {"snapshot": {"name": "late", "cluster_id": cluster_id}}
    refused(post(service, "/v1.0/{p}/snapshots", late), 403, "DWS.7023")
    events = get(service, "/v2/{p}/events")["events"]
    assert {(one["name"], one["source_id"]) for one in events[:2]} == {
        ("DeleteCluster", cluster_id),
        ("CreateSnapshot", waiting),
    }


def test_a_cluster_is_stopped_and_started(service: Service, cluster_id: str) -> None:
    path = f"/v1/{{p}}/clusters/{cluster_id}"
    refused(post(service, path + "/start"), 403, "DWS.7023")
    stopping = post(service, path + "/stop")
    assert (stopping.status, service.task_of(cluster_id)) == (200, "STOPPING")
    refused(post(service, path + "/start"), 409, "DWS.0011")
    with service.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, True, service.control.clock.now())
    end_operation(service, cluster_id)
    shown = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
    assert (shown["status"], shown["task_status"]) == ("AVAILABLE", None)
    assert {node["status"] for node in shown["nodes"]} == {"300"}
    refused(post(service, path + "/stop"), 403, "DWS.7023")
    starting = post(service, path + "/start")
    assert (starting.status, service.task_of(cluster_id)) == (200, "STARTING")
    jobs = [get(service, f"/v1.0/{{p}}/job/{one.json['job_id']}") for one in (stopping, starting)]
    assert [job["status"] for job in jobs] == ["SUCCESS", "RUNNING"]


# --- tags -------------------------------------------------------------------------------------------


def test_tags_are_added_replaced_and_removed(service: Service, cluster_id: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/tags"
    assert get(service, path) == {"tags": []}
    wanted = [{"key": "team", "value": "bi"}, {"key": "cost", "value": ""}]
    assert post(service, path + "/batch-create", {"tags": wanted}).json == {}
    post(service, path + "/batch-create", {"tags": [{"key": "team", "value": "ml"}]})
    assert get(service, path)["tags"] == [{"key": "team", "value": "ml"}, {"key": "cost", "value": ""}]
    assert get(service, "/v1.0/{p}/tags")["tags"] == [
        {"key": "cost", "values": [""]},
        {"key": "team", "values": ["ml"]},
    ]
    for _ in range(2):
        assert post(service, path + "/batch-delete", {"tags": [{"key": "cost"}]}).status == 200
    assert get(service, path)["tags"] == [{"key": "team", "value": "ml"}]


def test_a_cluster_has_twenty_tags_at_most(service: Service, cluster_id: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/tags"
    twenty = [{"key": f"k{number}", "value": "v"} for number in range(20)]
    assert post(service, path + "/batch-create", {"tags": twenty}).status == 200
    refused(post(service, path + "/batch-create", {"tags": [{"key": "one-more"}]}), 400, "DWS.0001")
    refused(post(service, path + "/batch-create", {"tags": []}), 400, "DWS.0001")
    assert len(get(service, path)["tags"]) == 20


# --- nodes, settings, and what cannot be asked ------------------------------------------------------


def test_the_servers_of_a_cluster_are_listed_in_pages(service: Service, cluster_id: str) -> None:
    path = f"/v2/{{p}}/clusters/{cluster_id}/nodes"
    shown = get(service, path)
    assert (shown["count"], shown["failed_count"], shown["node_list"][0]["status"]) == (1, 0, "200")
    assert get(service, path, offset="1")["node_list"] == []


def test_a_cluster_has_one_group_of_settings(shared: Service) -> None:
    cluster_id = shared.add_cluster()
    path = f"/v1.0/{{p}}/clusters/{cluster_id}"
    (group,) = get(shared, path + "/configurations")["configurations"]
    assert get(shared, path)["cluster"]["parameter_group"]["id"] == group["id"]
    refused(shared.client.request("GET", f"{path}/configurations/{UNKNOWN}"), 400, "DWS.5212")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/{p}/clusters/%s/gaussdb/validate", {"type": "schema", "data": ["public"]}),
        ("GET", "/v2/{p}/clusters/%s/databases/gaussdb/schemas", None),
    ],
)
def test_a_cluster_that_is_not_at_work_cannot_be_asked(
    service: Service, cluster_id: str, method: str, path: str, body: Any
) -> None:
    refused(service.client.request(method, path % UNKNOWN, body), 404, "DWS.0047")
    with service.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, True, service.control.clock.now())
    refused(service.client.request(method, path % cluster_id, body), 403, "DWS.7023")


@pytest.mark.parametrize(
    "body",
    [
        {"type": "view", "data": []},
        {"type": "schema"},
        {"type": "table", "data": "public"},
        {"data": [1], "type": "table"},
    ],
    ids=str,
)
def test_a_malformed_validation_is_refused(shared: Service, body: Any) -> None:
    cluster_id = shared.add_cluster()
    refused(post(shared, f"/v1/{{p}}/clusters/{cluster_id}/gaussdb/validate", body), 400, "DWS.0001")


def test_a_snapshot_tells_what_its_cluster_is_doing(service: Service, cluster_id: str) -> None:
    snapshot_id = snapshot(service, cluster_id)
    shown = get(service, f"/v1.0/{{p}}/snapshots/{snapshot_id}")["snapshot"]
    assert (shown["cluster_status"], shown["cluster_task_status"]) == ("AVAILABLE", "SNAPSHOTTING")
    service.finish_snapshot(snapshot_id)
    shown = get(service, f"/v1.0/{{p}}/snapshots/{snapshot_id}")["snapshot"]
    assert (shown["cluster_status"], shown["cluster_task_status"]) == ("AVAILABLE", None)


# --- refused, and gone ------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [*REFUSED, *NOT_YET], ids=lambda one: one.id)
def test_what_means_nothing_here_is_refused_with_why_and_recorded(shared: Service, one: Any) -> None:
    path = one.path.replace("{project_id}", "{p}").replace("{cluster_id}", UNKNOWN)
    path = path.replace("{configuration_id}", UNKNOWN).replace("{elb_id}", "e").replace("{eip_id}", "e")
    path = re.sub(r"{(disaster_recovery|event_sub|alarm_sub)_id}", "e", path)
    message = refused(shared.client.request(one.method, path, {}), 400, "DWS.5095")
    assert one.note in message
    with shared.control.database.reading() as reading:
        (record,) = audit_log.list_records(reading, PROJECT, limit=1)
    assert (record.action, record.outcome) == (one.id, "not-offered")


@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("GET", "cross-regions"),
        ("POST", "cross-region-policies"),
        ("GET", "cross-region-policies"),
        ("DELETE", "cross-region-policies"),
    ],
)
def test_the_cross_region_operations_do_not_exist(shared: Service, method: str, tail: str) -> None:
    refused(shared.client.request(method, f"/v1/{{p}}/snapshots/{tail}", {}), 404, "APIGW.0101")
