"""Every operation for everyone who may call: the right status and code, and from refusals no change.

Generated from the routes. An operation is put into the matrix by being published; one that takes a
body needs a sample here, and one with an id in its path of a new kind needs that here too.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi.routing import APIRoute

from stillhouse.api.app import published_routes
from stillhouse.catalog.schema import access_tables, tables
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.domain.api_operations.needs import REGISTER
from stillhouse.domain.api_operations.operation import Need
from support.api.application import PASSWORD, PROJECT, Service, a_cluster, serving_service
from support.api.callers import (
    Request,
    Send,
    client_with,
    known,
    of_other_project,
    policy,
    readers,
    sending,
    signing,
    strangers,
)
from support.api.client import Answer

CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"
UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"

# What stands for the ids in paths: nothing of the kind exists, so that whoever is admitted changes little.
IDS = {
    "project_id": "{p}",
    "cluster_id": UNKNOWN,
    "snapshot_id": UNKNOWN,
    "id": UNKNOWN,  # of a snapshot policy
    "configuration_id": UNKNOWN,
    "elb_id": UNKNOWN,
    "eip_id": UNKNOWN,
    "disaster_recovery_id": UNKNOWN,
    "event_sub_id": UNKNOWN,
    "alarm_sub_id": UNKNOWN,
    "key": "team",  # of a tag
    "job_id": "2c9080e88459fa44018459fbeb600abc",
    "operation_id": "2c9080e8-8459-4a44-8184-59fbeb600abc",
    "action_name": "SNAPSHOTTING",
    "database": "sales",
    "database_name": "sales",
}
_TABLES = [{"schema_name": "public", "table_name": "orders"}]
_TABLE_RESTORE = {
    "case_sensitive": False,
    "database": "sales",
    "restore_table_list": _TABLES,
    "target_table_list": _TABLES,
}
_V2 = {
    "flavor": "dws2.m6.4xlarge.8",
    "num_node": 3,
    "availability_zones": ["az1"],
    "vpc_id": "vpc-a",
    "subnet_id": "subnet-a",
    "datastore_version": "9.1.0",
}

# Nothing listens there.
_REGISTRATION = {
    "cluster": {"name": "orders", "password": PASSWORD, "coordinator": {"hosts": ["127.0.0.1:1"]}}
}

# Also for operations of the contract that are not published (yet).
BODIES: dict[str, Any] = {
    "CreateSnapshot": {"snapshot": {"name": "nightly", "cluster_id": UNKNOWN}},
    "RestoreCluster": {"restore": {"name": "orders-copy"}},
    "CreateCluster": {"cluster": a_cluster()},
    "DeleteCluster": {"keep_last_manual_snapshot": 0},
    "RestartCluster": {"restart": {}},
    "CopySnapshot": {"backup_name": "keep-it"},
    "CheckSnapshot": {"snapshot_name": "nightly"},
    "CheckTableRestore": _TABLE_RESTORE,
    "RestoreTable": _TABLE_RESTORE,
    "CreateSnapshotPolicy": {"keep_day": 7},
    "ValidateDbData": {"type": "schema", "data": ["public"]},
    "CreateClusterV2": {
        "cluster": {**_V2, "name": "orders-v2", "db_name": "dbadmin", "db_password": PASSWORD}
    },
    "CheckCluster": {"cluster": _V2},
    "BatchCreateResourceTag": {"tags": [{"key": "team", "value": "bi"}]},
    "BatchDeleteResourceTag": {"tags": [{"key": "team", "value": "bi"}]},
    "CreateClusterTag": {"tag": {"key": "team", "value": "bi"}},
    "BatchCreateClusterTags": {"action": "create", "tags": [{"key": "team", "value": "bi"}]},
    "ModifyClusterName": {"cluster_name": "orders-new"},
    "SaveClusterDescriptionInfo": {"description_info": "orders of the year"},
    "ModifyClusterTimezone": {"cluster_timezone": "UTC"},
    "EnableLogicalCluster": {"enable": True},
    "CollectCluster": {"dry_run": True},
    "SetProofSchedule": {"every_days": 7},
    "RegisterCluster": _REGISTRATION,
    "CheckServers": _REGISTRATION,
    "ChangeConnections": _REGISTRATION,
    "RemoveCluster": {},
    "CreateTemporaryAccessKeyByToken": {"auth": {"identity": {"methods": ["token"]}}},
    "KeystoneCreateUserTokenByPassword": {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"id": "0" * 32, "password": PASSWORD}},
            }
        }
    },
}

ROUTES = published_routes()
OF_CALLERS = [route for route in ROUTES if not OPERATIONS[str(route.operation_id)].need.open_to_all]


def _name(route: APIRoute) -> str:
    return str(route.operation_id)


@dataclass(frozen=True)
class Bed:
    service: Service
    strangers: Mapping[str, tuple[Send, str]]
    known: Mapping[str, Send]
    readers: Mapping[str, Send]
    of_other_project: Mapping[str, Send]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield Bed(service, strangers(service), known(service), readers(service), of_other_project(service))


@pytest.fixture(autouse=True)
def _no_lock_is_left_of_the_test_before(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed.service.control.key_lockouts, "_failures", OrderedDict())


def sample(route: APIRoute) -> Request:
    """A well-formed request for the operation; fails by its name where the tables above lack something."""
    (method,) = sorted(route.methods or ())
    missing = [name for name in re.findall(r"{(\w+)}", route.path) if name not in IDS]
    assert not missing, f"{_name(route)}: IDS has no sample of {missing}"
    path = re.sub(r"{(\w+)}", lambda found: IDS[found[1]], route.path)
    assert route.body_field is None or _name(route) in BODIES, f"{_name(route)}: BODIES has no sample"
    return Request(method, path, BODIES.get(_name(route)))


def unparsable(request: Request) -> Request:
    return request if request.body is None else replace(request, body=None, raw=b"{not json")


def assert_refused(who: str, answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["error_code"]) == (status, code), (who, answer.raw)


def assert_admitted(who: str, answer: Answer) -> None:
    refused = answer.status == 401 or (answer.status == 403 and answer.json["error_code"] == "DWS.0015")
    # 503 is an answer of servers that this catalog only names: so far a refused request does not get.
    assert not refused and (answer.status < 500 or answer.status == 503), (who, answer.status, answer.raw)


def needs_of(route: APIRoute) -> Need:
    return OPERATIONS[_name(route)].need


def rows(service: Service) -> list[Any]:
    with service.control.database.reading() as reading:
        return [
            list(reading.execute(table.select()))
            for table in tables.metadata.sorted_tables
            if table is not access_tables.audit
        ]


@pytest.mark.parametrize("route", ROUTES, ids=_name)
def test_every_operation_says_what_it_needs_and_has_a_sample(route: APIRoute) -> None:
    assert _name(route) in OPERATIONS
    sample(route)


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_strangers_are_refused_before_a_byte_is_parsed(bed: Bed, route: APIRoute) -> None:
    before = rows(bed.service)
    for who, (send, code) in bed.strangers.items():
        assert_refused(who, send(sample(route)), 401, code)
        assert_refused(who, send(unparsable(sample(route))), 401, code)
    assert rows(bed.service) == before
    wrong = replace(client_with(bed.service), secret_key="wrong")
    for request in (sample(route), unparsable(sample(route))):
        assert_refused("a wrong signature", signing(wrong)(request), 401, "APIGW.0301")


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_those_of_another_project_are_refused_where_the_path_names_this_one(
    bed: Bed, route: APIRoute
) -> None:
    before = rows(bed.service)
    for who, send in bed.of_other_project.items():
        if "{project_id}" not in route.path:
            assert_admitted(who, send(sample(route)))
            continue
        for request in (sample(route), unparsable(sample(route))):
            assert_refused(who, send(request), 403, "DWS.0015")
    if "{project_id}" in route.path:
        assert rows(bed.service) == before


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_those_who_may_do_everything_are_admitted(bed: Bed, route: APIRoute) -> None:
    for who, send in bed.known.items():
        if _name(route) == "CreateTemporaryAccessKeyByToken" and "temporary" in who:
            assert_refused(who, send(sample(route)), 403, "DWS.0015")
            continue
        request = sample(route)
        if needs_of(route) == REGISTER:  # a right of its own, beside all those of DWS
            assert_refused(who, send(request), 403, "DWS.0015")
            continue
        raw = None if request.body is None else json.dumps(request.body).encode()
        assert_admitted(who, send(replace(request, body=None, raw=raw)))


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_who_may_only_read_reads_and_changes_nothing(bed: Bed, route: APIRoute) -> None:
    before = rows(bed.service)
    for who, send in bed.readers.items():
        if not needs_of(route).names:
            continue
        if sample(route).method == "GET":
            assert_admitted(who, send(sample(route)))
        else:
            for request in (sample(route), unparsable(sample(route))):
                assert_refused(who, send(request), 403, "DWS.0015")
    assert rows(bed.service) == before


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_a_key_with_exactly_the_one_action_is_admitted_to_it(bed: Bed, route: APIRoute) -> None:
    need = needs_of(route)
    for name in need.names:
        exactly = signing(client_with(bed.service, policy(name)))
        assert_admitted(f"allowed {name}", exactly(sample(route)))
        other = next(one for one in OF_CALLERS if needs_of(one).names and name not in needs_of(one).names)
        assert_refused(f"allowed {name} only", exactly(sample(other)), 403, "DWS.0015")
        denied = signing(client_with(bed.service, policy(name, effect="Deny")))
        for request in (sample(route), unparsable(sample(route))):
            assert_refused(f"denied {name}", denied(request), 403, "DWS.0015")


@pytest.mark.parametrize("route", OF_CALLERS, ids=_name)
def test_a_key_for_one_cluster_learns_nothing_of_others(bed: Bed, route: APIRoute) -> None:
    """Another's cluster or snapshot, an unknown one and one of the own project answer alike."""
    service = bed.service
    own = service.add_cluster()
    theirs, their_snapshot = another_projects(service)
    narrow = signing(client_with(service, policy("dws:*:*", Resource=f"dws:*:*:cluster:{own}")))
    request = sample(route)
    about = {name for name in ("cluster_id", "snapshot_id") if name in route.path}
    if _name(route) == "CreateSnapshot":
        about = {"cluster_id"}
    if not needs_of(route).names:
        return
    answers = []
    for cluster, snapshot in ((UNKNOWN, UNKNOWN), (theirs, their_snapshot), (service.add_cluster(), UNKNOWN)):
        answers.append(narrow(naming(request, route, cluster, snapshot)))
    for answer in answers:
        assert_refused("for another cluster", answer, 403, "DWS.0015")
    assert len({answer.json["error_msg"] for answer in answers}) == 1
    if about == {"cluster_id"} and needs_of(route) != REGISTER:
        assert_admitted("for its cluster", narrow(naming(request, route, own, UNKNOWN)))


@pytest.mark.parametrize("route", [route for route in OF_CALLERS if "{snapshot_id}" in route.path], ids=_name)
def test_a_key_for_many_clusters_cannot_tell_another_s_snapshot_from_an_unknown_one(
    bed: Bed, route: APIRoute
) -> None:
    _, theirs = another_projects(bed.service)
    narrow = signing(client_with(bed.service, policy("dws:*:*", Resource="dws:*:*:cluster:*-*")))
    answers = [narrow(naming(sample(route), route, UNKNOWN, snapshot)) for snapshot in (theirs, UNKNOWN)]
    told = [{**answer.json, "request_id": ""} for answer in answers]
    assert told[0] == told[1] and answers[0].status == answers[1].status


def naming(request: Request, route: APIRoute, cluster: str, snapshot: str) -> Request:
    path = route.path.replace("{project_id}", "{p}")
    path = path.replace("{cluster_id}", cluster).replace("{snapshot_id}", snapshot)
    path = re.sub(r"{(?!p})(\w+)}", lambda found: IDS[found[1]], path)
    body = request.body
    if route.operation_id == "CreateSnapshot":
        body = {"snapshot": {"name": "nightly", "cluster_id": cluster}}
    return replace(request, path=path, body=body)


def another_projects(service: Service) -> tuple[str, str]:
    """A cluster of another project, and a snapshot of it."""
    cluster_id = service.add_cluster()
    snapshot = service.client.request(
        "POST", "/v1.0/{p}/snapshots", {"snapshot": {"name": f"s{cluster_id}", "cluster_id": cluster_id}}
    )
    assert snapshot.status == 200
    with service.control.database.transaction() as transaction:
        for table, column in ((tables.clusters, "id"), (tables.snapshots, "cluster_id")):
            moved = table.update().where(table.c[column] == cluster_id).values(project="f" * 32)
            transaction.execute(moved)
    return cluster_id, snapshot.json["snapshot"]["id"]


def test_the_open_operation_needs_nobody_known(bed: Bed) -> None:
    (route,) = (route for route in ROUTES if needs_of(route).open_to_all and "POST" in (route.methods or ()))
    request = sample(route)
    send = sending(bed.service, {})
    answer = send(replace(request, raw=json.dumps(request.body).encode()))
    assert_refused("a wrong password", answer, 401, "APIGW.0301")
    assert_refused("no JSON", send(unparsable(request)), 400, "DWS.0001")
    assert_refused("too much", send(replace(request, raw=b" " * 65_537)), 413, "APIGW.0201")
    assert bed.service.client.project == PROJECT


def test_the_versions_of_identity_are_told_to_strangers(bed: Bed) -> None:
    open_paths = {
        str(route.path) for route in ROUTES if needs_of(route).open_to_all and "GET" in (route.methods or ())
    }
    assert open_paths == {"/", "/v3", "/v3/"}
    send = sending(bed.service, {})
    assert {path: send(Request("GET", path)).status for path in open_paths} == dict.fromkeys(open_paths, 200)
