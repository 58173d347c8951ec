"""Requests as the vendors' clients send them, where those are looser than the published models.

Who sends what is from the sources: `resource_huaweicloud_dws_cluster.go` of the Terraform provider, and
`openstack/dws/v1` of gophertelekomcloud.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog import clusters, operations
from stillhouse.catalog.access import audit_log
from stillhouse.domain.cluster import Task
from stillhouse.domain.ids import new_hex
from stillhouse.domain.reports.contents import SchemaSize
from stillhouse.domain.reports.operations import DONE
from support.api.application import PASSWORD, PROJECT, Service, a_cluster, serving_service
from support.api.asking import get, post, refused
from support.api.callers import Request, client_with, policy, signing
from support.api.client import Answer

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def cluster_id(service: Service) -> str:
    return service.add_cluster()


def as_terraform_makes_it(name: str, **changes: Any) -> dict[str, Any]:
    """The body of version 2 with a volume, as the provider builds it."""
    return {
        "cluster": {
            "name": name,
            "flavor": "dwsx2.xlarge.m7",
            "num_node": 3,
            "num_cn": 2,
            "db_name": "sales_admin",
            "db_password": PASSWORD,
            "db_port": 8000,
            "availability_zones": ["eu-a"],
            "vpc_id": "v1",
            "subnet_id": "s1",
            "security_group_id": "g1",
            "datastore_version": "9.1.0.218",
            "volume": {"volume": "SSD", "capacity": "250"},
            "tags": [],
            **changes,
        }
    }


def shown(service: Service, cluster_id: str) -> dict[str, Any]:
    cluster: dict[str, Any] = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
    return cluster


# --- digits as text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, {"volume": "SSD", "capacity": 250}),
        ({"volume": {"volume": "ESSD2", "capacity": "100", "iops": "3000"}}, {"iops": 3000}),
        ({"volume": {"capacity": "40"}}, {"capacity": 40}),
        ({"volume": {"volume": "SSD", "capacity": 80}}, {"capacity": 80}),
        ({"db_port": "8100"}, {}),
    ],
    ids=str,
)
def test_digits_are_taken_as_text_where_a_client_sends_them_so(
    service: Service, change: dict[str, Any], kept: dict[str, Any]
) -> None:
    name = f"tf-{new_hex()}"
    assert post(service, "/v2/{p}/cluster-precheck", as_terraform_makes_it(name, **change)).status == 200
    answer = post(service, "/v2/{p}/clusters", as_terraform_makes_it(name, **change))
    assert answer.status == 200, answer.raw
    with service.control.database.reading() as reading:
        made = clusters.read_cluster(reading, answer.json["cluster"]["id"])
    volume = made.facts["volume"]
    assert isinstance(volume, dict) and kept.items() <= volume.items()
    assert made.port == int(change.get("db_port", 8000))


@pytest.mark.parametrize("junk", ["100GB", "-1", " 100", "1e2", "1_0", "0x10", "٣", "9" * 11, 1.5, True, []])
def test_other_text_is_no_number(service: Service, junk: Any) -> None:
    for change in ({"volume": {"volume": "SSD", "capacity": junk}}, {"db_port": junk}):
        for path in ("/v2/{p}/clusters", "/v2/{p}/cluster-precheck"):
            refused(post(service, path, as_terraform_makes_it("tf-junk", **change)), 400, "DWS.0001")


# --- empty for absent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"public_ip": {"public_bind_type": ""}},
        {"public_ip": {"public_bind_type": "", "eip_id": ""}},
        {"public_ip": {}},
        {"public_ip": ""},
        {"public_ip": {"public_bind_type": "not_use", "eip_id": ""}},
        {"availability_zone": "", "security_group_id": "", "enterprise_project_id": ""},
        {"port": "", "number_of_cn": "", "tags": ""},
        {"port": None, "number_of_cn": None, "tags": None, "public_ip": {"public_bind_type": None}},
    ],
    ids=str,
)
def test_what_is_optional_and_empty_counts_as_not_given(service: Service, change: dict[str, Any]) -> None:
    name = f"go-{new_hex()}"
    answer = post(service, "/v1.0/{p}/clusters", {"cluster": a_cluster() | {"name": name} | change})
    assert answer.status == 200, answer.raw
    made = shown(service, answer.json["cluster"]["id"])
    assert made["public_ip"] == {"public_bind_type": "not_use", "eip_id": ""}
    assert (made["port"], made["availability_zone"], made["tags"]) == (8000, "local", [])


def test_the_same_holds_for_version_2_and_its_check(service: Service) -> None:
    empty = {"volume": "", "public_ip": {"public_bind_type": ""}, "availability_zones": [""]}
    empty |= {"dss_pool_id": "", "master_key_id": "", "ipv6_enable": "", "num_cn": "", "db_port": ""}
    for path in ("/v2/{p}/cluster-precheck", "/v2/{p}/clusters"):
        answer = post(service, path, as_terraform_makes_it("all-empty", **empty))
        assert answer.status == 200, answer.raw
    assert shown(service, answer.json["cluster"]["id"])["availability_zone"] == "local"


def test_null_counts_as_not_given_where_there_is_a_default(service: Service, cluster_id: str) -> None:
    """Ansible's tasks for Open Telekom Cloud send null for what a playbook leaves empty."""
    made = as_terraform_makes_it(
        "all-null", db_port=None, volume=None, tags=[{"key": "owner", "value": None}]
    )
    answer = post(service, "/v2/{p}/clusters", made)
    assert answer.status == 200, answer.raw
    cluster = shown(service, answer.json["cluster"]["id"])
    assert (cluster["port"], cluster["tags"]) == (8000, [{"key": "owner", "value": ""}])
    snapshot = service.take_snapshot(cluster_id, "null-settings", plain_bytes=1)
    restore = {"name": "null-dw", "server_settings": None}
    answer = post(service, f"/v1.0/{{p}}/snapshots/{snapshot}/actions", {"restore": restore})
    assert answer.status == 200, answer.raw
    refused(post(service, "/v1.0/{p}/clusters", {"cluster": a_cluster() | {"name": None}}), 400, "DWS.0001")


def test_a_restore_takes_what_is_empty_from_the_snapshot_s_cluster(service: Service, cluster_id: str) -> None:
    with service.control.database.transaction() as transaction:
        facts: dict[str, object] = {"availability_zone": "az7", "vpc_id": "v7"}
        clusters.set_facts(transaction, cluster_id, facts, service.control.clock.now())
    snapshot = service.take_snapshot(cluster_id, "to-restore", plain_bytes=1)
    restore: dict[str, Any] = {"name": "restored-dw", "subnet_id": "", "availability_zone": "", "vpc_id": ""}
    restore |= {"public_ip": {"public_bind_type": ""}, "ipv6_enable": ""}
    answer = post(service, f"/v1.0/{{p}}/snapshots/{snapshot}/actions", {"restore": restore})
    assert answer.status == 200, answer.raw
    made = shown(service, answer.json["cluster"]["id"])
    assert (made["availability_zone"], made["vpc_id"]) == ("az7", "v7")


def test_an_address_that_is_named_is_refused_though_its_kind_is_empty(service: Service) -> None:
    wanted = {"public_ip": {"public_bind_type": "", "eip_id": "e1"}}
    refused(post(service, "/v1.0/{p}/clusters", {"cluster": a_cluster() | wanted}), 400, "DWS.5095")


def test_what_is_required_is_not_given_by_an_empty_text(service: Service) -> None:
    for field in ("name", "user_name", "user_pwd", "number_of_node"):
        refused(post(service, "/v1.0/{p}/clusters", {"cluster": a_cluster() | {field: ""}}), 400, "DWS.0001")


def test_an_empty_choice_of_a_query_counts_as_not_given(service: Service, cluster_id: str) -> None:
    service.take_snapshot(cluster_id, f"q-{cluster_id}", plain_bytes=1)
    page = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots", sort_key="", sort_dir="")
    assert page["count"] == 1
    everything = get(service, "/v1.0/{p}/clusters", enterprise_project_id="")
    assert everything == get(service, "/v1.0/{p}/clusters")
    path = f"/v2/{{p}}/snapshots/{page['snapshots'][0]['id']}/flavors"
    assert get(service, path, type="", fine_grained_restore="", az_code="")["count"] == 1
    assert get(service, "/v1/{p}/resource-statistics", namespace="")
    answer = service.client.request(
        "DELETE",
        f"/v2/{{p}}/clusters/{cluster_id}",
        query={"keep_last_manual_backup": "1", "release_eip_type": ""},
    )
    assert answer.status == 202


# --- at rest ----------------------------------------------------------------------------------------


def test_a_cluster_at_rest_does_nothing_that_is_null_everywhere(service: Service, cluster_id: str) -> None:
    """otcextensions waits for null, and Terraform for what is empty."""
    everywhere = [shown(service, cluster_id)]
    for path in ("/v1.0/{p}/clusters", "/v2/{p}/clusters"):
        everywhere += [one for one in get(service, path)["clusters"] if one["id"] == cluster_id]
    assert [one["task_status"] for one in everywhere] == [None] * 3
    assert [one["availability_zone"] for one in everywhere] == ["local"] * 3
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        operation = operations.begin(transaction, cluster_id, Task.REBOOTING, cluster_id, now)
    assert shown(service, cluster_id)["task_status"] == "REBOOTING"
    with service.control.database.transaction() as transaction:
        operations.end(transaction, operation, now, DONE)
    assert shown(service, cluster_id)["task_status"] is None


def test_a_cluster_has_the_group_of_settings_that_terraform_looks_for(
    service: Service, cluster_id: str
) -> None:
    (group,) = get(service, f"/v1.0/{{p}}/clusters/{cluster_id}/configurations")["configurations"]
    assert group["type"] == "hiddenParameterGroup"


# --- a cluster changed after it was made -------------------------------------------------------------


def ask(service: Service, method: str, path: str, body: Any = None) -> Answer:
    return service.client.request(method, path, body)


def last_record(service: Service) -> tuple[str, str, str]:
    with service.control.database.reading() as reading:
        (record,) = audit_log.list_records(reading, PROJECT, limit=1)
    return record.action, record.resource, record.outcome


def job(service: Service, answer: Answer) -> str:
    assert answer.status == 200, answer.raw
    status: str = get(service, f"/v1.0/{{p}}/job/{answer.json['job_id']}")["status"]
    return status


def test_a_description_is_kept_and_taken_away(service: Service, cluster_id: str) -> None:
    path = f"/v1/{{p}}/clusters/{cluster_id}/description"
    assert shown(service, cluster_id)["cluster_description_info"] is None
    answer = ask(service, "POST", path, {"description_info": "figures of the coast"})
    assert (answer.status, answer.json) == (200, {"error_code": "DWS.0000", "error_msg": None})
    assert shown(service, cluster_id)["cluster_description_info"] == "figures of the coast"
    assert last_record(service) == ("SaveClusterDescriptionInfo", f"cluster/{cluster_id}", "accepted")
    refused(ask(service, "POST", path, {"description_info": "x" * 1025}), 400, "DWS.0001")
    assert ask(service, "POST", path, {"description_info": ""}).status == 200
    assert shown(service, cluster_id)["cluster_description_info"] is None


def test_the_one_time_zone_is_taken_and_another_refused_with_what_to_do(
    service: Service, cluster_id: str
) -> None:
    path = f"/v2/{{p}}/clusters/{cluster_id}/timezone"
    assert job(service, ask(service, "POST", path, {"cluster_timezone": "UTC"})) == "SUCCESS"
    message = refused(ask(service, "POST", path, {"cluster_timezone": "Asia/Tokyo"}), 400, "DWS.5095")
    assert "ALTER DATABASE" in message
    assert last_record(service)[2] == "not-offered"
    assert shown(service, cluster_id)["cluster_timezone"] == "UTC"
    refused(ask(service, "POST", path, {}), 400, "DWS.0001")


@pytest.mark.parametrize("enable", [True, False])
def test_the_switch_of_logical_clusters_is_kept(service: Service, cluster_id: str, enable: bool) -> None:
    path = f"/v2/{{p}}/clusters/{cluster_id}/logical-clusters/enable"
    answer = ask(service, "PUT", path, {"enable": enable})
    assert (answer.status, answer.json["error_code"]) == (200, "DWS.0000")
    with service.control.database.reading() as reading:
        assert clusters.read_cluster(reading, cluster_id).facts["logical_cluster_enable"] is enable
    refused(ask(service, "PUT", path, {"enable": "yes"}), 400, "DWS.0001")


def test_a_cluster_is_renamed_while_it_is_busy_and_its_snapshots_keep_the_old_name(
    service: Service, cluster_id: str
) -> None:
    before = shown(service, cluster_id)["name"]
    snapshot = service.take_snapshot(cluster_id, f"r-{cluster_id}", plain_bytes=1)
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        operations.begin(transaction, cluster_id, Task.SNAPSHOTTING, snapshot, now)
    path = f"/v1/{{p}}/clusters/{cluster_id}/cluster-name"
    assert job(service, ask(service, "PUT", path, {"cluster_name": "harbour-dw"})) == "SUCCESS"
    assert shown(service, cluster_id)["name"] == "harbour-dw"
    assert shown(service, cluster_id)["task_status"] == "SNAPSHOTTING"
    detail = get(service, f"/v1.0/{{p}}/snapshots/{snapshot}")["snapshot"]
    assert detail["cluster_name"] == before
    assert last_record(service) == ("ModifyClusterName", f"cluster/{cluster_id}", "accepted")
    other = service.add_cluster()
    path = f"/v1/{{p}}/clusters/{other}/cluster-name"
    refused(ask(service, "PUT", path, {"cluster_name": "Harbour-DW"}), 409, "DWS.5050")
    refused(ask(service, "PUT", path, {"cluster_name": "2nd"}), 400, "DWS.0001")
    assert shown(service, other)["name"] != "2nd"


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "/v1/{p}/clusters/%s/cluster-name", {"cluster_name": "nobody-dw"}),
    ("POST", "/v1/{p}/clusters/%s/description", {"description_info": "d"}),
    ("POST", "/v2/{p}/clusters/%s/timezone", {"cluster_timezone": "UTC"}),
    ("PUT", "/v2/{p}/clusters/%s/logical-clusters/enable", {"enable": True}),
    ("POST", "/v1.0/{p}/clusters/%s/tags", {"tag": {"key": "a", "value": "b"}}),
    ("POST", "/v1.0/{p}/clusters/%s/tags/action", {"action": "create", "tags": [{"key": "a"}]}),
    ("DELETE", "/v1.0/{p}/clusters/%s/tags/a", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_change_of_no_cluster_is_refused(
    service: Service, method: str, path: str, body: dict[str, Any]
) -> None:
    refused(ask(service, method, path % UNKNOWN, body), 404, "DWS.0047")


@pytest.mark.parametrize(("method", "path", "body"), CHANGES[:4])
def test_a_cluster_that_is_being_deleted_is_changed_no_more(
    service: Service, method: str, path: str, body: dict[str, Any]
) -> None:
    refused(ask(service, method, path % service.add_cluster("DELETING"), body), 403, "DWS.7023")


def test_logs_to_a_service_that_is_not_there_are_refused(service: Service, cluster_id: str) -> None:
    for word in ("enable", "disable"):
        path = f"/v1/{{p}}/clusters/{cluster_id}/lts-logs/{word}"
        assert "log service" in refused(ask(service, "POST", path), 400, "DWS.5095")


# --- tags as Open Telekom Cloud has them --------------------------------------------------------------


def test_tags_are_set_and_taken_away_as_open_telekom_cloud_does(service: Service, cluster_id: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/tags"

    def tags() -> dict[str, str]:
        return {one["key"]: one["value"] for one in get(service, path)["tags"]}

    assert ask(service, "POST", path, {"tag": {"key": "owner", "value": "quay"}}).status == 200
    more = [{"key": "stage", "value": "test"}, {"key": "cost", "value": ""}]
    assert ask(service, "POST", path + "/action", {"action": "create", "tags": more}).status == 200
    assert tags() == {"owner": "quay", "stage": "test", "cost": ""}
    fewer = {"action": "delete", "tags": [{"key": "stage", "value": "test"}, {"key": "gone", "value": ""}]}
    assert ask(service, "POST", path + "/action", fewer).status == 200
    assert ask(service, "DELETE", path + "/owner").status == 202
    assert tags() == {"cost": ""}
    refused(ask(service, "POST", path + "/action", {"action": "swap", "tags": more}), 400, "DWS.0001")
    refused(ask(service, "POST", path + "/action", {"action": "create", "tags": []}), 400, "DWS.0001")
    refused(ask(service, "POST", path, {"tag": {"key": "a/b", "value": ""}}), 400, "DWS.0001")


def test_who_may_only_create_tags_takes_none_away(service: Service, cluster_id: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/tags/action"
    tag = [{"key": "kept", "value": "1"}]
    creating = signing(client_with(service, policy("dws:openAPITag:create")))
    assert creating(Request("POST", path, {"action": "create", "tags": tag})).status == 200
    refused(creating(Request("POST", path, {"action": "delete", "tags": tag})), 403, "DWS.0015")
    denied = signing(client_with(service, policy("dws:openAPITag:delete", effect="Deny")))
    refused(denied(Request("POST", path, {"action": "delete", "tags": tag})), 403, "DWS.0015")
    assert get(service, f"/v1.0/{{p}}/clusters/{cluster_id}/tags")["tags"] == tag


# --- the newest Java SDK on Maven Central --------------------------------------------------------------

OLD_JAVA = [
    "huaweicloud-usdk-java/3.0",
    "huaweicloud-usdk-java/3.0;ledger-app/7",
    "huaweicloud-usdk-java/3.0; x",
]
OTHERS = [
    "",
    "huaweicloud-usdk-python/3.0",
    "huaweicloud-usdk-go/3.0",
    "Java/17.0.2",
    "my-huaweicloud-usdk-java/3.0",
    "huaweicloud-usdk-java/3.0 os/Linux#6.1#amd64 java/Debian#17.0.9 vm/OpenJDK#17 meta/en_US; app/1",
    "huaweicloud-usdk-java/3.0; os/Linux#6.1#amd64 java/Debian#17.0.9",
    "huaweicloud-usdk-java/4.0",
]


def numbers(service: Service, cluster_id: str, user_agent: str) -> list[Any]:
    """What the three answers hold where the models of that SDK have text."""
    found: list[Any] = []
    for path in (
        "/v2/{p}/node-types",
        "/v1.0/{p}/quotas",
        f"/v2/{{p}}/clusters/{cluster_id}/snapshot-policies",
    ):
        answer = service.client.request("GET", path, unsigned={"User-Agent": user_agent})
        assert (answer.status, answer.headers["Vary"]) == (200, "User-Agent")
        for kind in answer.json.get("node_types", ()):
            found += [*kind["datastores"][0]["attachments"].values()]
        for resource in answer.json.get("quotas", {}).get("resources", ()):
            found.append(resource["used"])
        found += [answer.json["keep_day"]] if "keep_day" in answer.json else []
    return found


@pytest.mark.parametrize("user_agent", OLD_JAVA)
def test_the_java_sdk_that_has_text_for_numbers_gets_text(
    service: Service, cluster_id: str, user_agent: str
) -> None:
    assert {type(one) for one in numbers(service, cluster_id, user_agent)} == {str}
    quotas = service.client.request("GET", "/v1.0/{p}/quotas", unsigned={"User-Agent": user_agent}).json
    # An Integer in its model, which takes neither "" nor "GB".
    assert {one["unit"] for one in quotas["quotas"]["resources"]} == {None}


@pytest.mark.parametrize("user_agent", OTHERS)
def test_everyone_else_gets_numbers(service: Service, cluster_id: str, user_agent: str) -> None:
    assert {type(one) for one in numbers(service, cluster_id, user_agent)} == {int}


# --- the sizes of a warehouse in 32 bits ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "told"),
    [
        ("huaweicloud-usdk-go/3.0", 2**31 - 1),
        ("huaweicloud-usdk-java/3.0", 2**31 - 1),
        ("huaweicloud-usdk-java/3.0 os/Linux#6.1#amd64 java/Debian#17.0.9", 2**31 - 1),
        ("huaweicloud-usdk-python/3.0", 5 * 2**40),
        ("HashiCorp Terraform/1.9.0", 5 * 2**40),
        ("", 5 * 2**40),
    ],
)
def test_a_size_that_go_and_java_cannot_read_is_their_largest_number(
    service: Service, cluster_id: str, monkeypatch: pytest.MonkeyPatch, user_agent: str, told: int
) -> None:
    """They read the sizes of schemas, which are in bytes, as 32 bits: one of 2 GiB costs them the whole answer."""
    large = SchemaSize("mart", {"dn1": 3 * 2**40, "dn2": 2 * 2**40})
    small = SchemaSize("public", {"dn1": 8192, "dn2": 0})
    monkeypatch.setattr("stillhouse.control.clusters.databases.schema_sizes", lambda *_: [large, small])
    path = f"/v2/{{p}}/clusters/{cluster_id}/databases/gaussdb/schemas"
    answer = service.client.request("GET", path, unsigned={"User-Agent": user_agent})
    assert (answer.status, answer.headers["Vary"]) == (200, "User-Agent")
    mart, public = answer.json["schemas"]
    assert mart["total_value"] == told
    assert (mart["max_value"] == 3 * 2**40) == (mart["min_value"] == 2 * 2**40) == (told > 2**31)
    assert max(mart["max_value"], mart["min_value"]) <= told
    assert (public["total_value"], public["max_value"], public["min_value"]) == (8192, 8192, 0)


# --- known, and not built yet -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/{p}/disaster-recoveries"),
        ("GET", "/v2/{p}/disaster-recovery/check-name"),
        ("POST", f"/v2/{{p}}/disaster-recovery/{UNKNOWN}/switchover"),
        ("GET", f"/v1/{{p}}/disaster-recovery/{UNKNOWN}/show-progress"),
        ("POST", "/v2/{p}/event-subs"),
        ("DELETE", f"/v2/{{p}}/event-subs/{UNKNOWN}"),
        ("GET", "/v2/{p}/alarm-subs"),
        ("PUT", f"/v2/{{p}}/alarm-subs/{UNKNOWN}"),
    ],
)
def test_families_that_are_not_built_yet_say_so(service: Service, method: str, path: str) -> None:
    message = refused(ask(service, method, path, None if method == "GET" else {}), 400, "DWS.5095")
    assert "not built yet" in message
