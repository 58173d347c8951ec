"""Tokens, temporary keys, lock-out and the record of refusals, as callers and operators meet them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws.v2 import DwsClient, ListSnapshotsRequest
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion

from stillhouse.control.access import users
from stillhouse.control.access.access_keys import disable_access_key, rotate_access_key
from stillhouse.control.audit import list_records
from stillhouse.domain.access.permissions import READ_ONLY_ACCESS
from support.api.application import OTHER_PROJECT, PROJECT, Service, serving_service
from support.api.callers import USER_PASSWORD, a_user, client_with, policy, temporary
from support.api.client import Answer

LIST = "/v1.0/{p}/snapshots"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def service(shared: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Without locks or users of the test before."""
    control = shared.control
    for lockouts in (control.key_lockouts, control.user_lockouts, control.invented_lockouts):
        monkeypatch.setattr(lockouts, "_failures", OrderedDict())
    yield shared
    for user in users.list_users(shared.control):
        if user.disabled is None:
            users.disable_user(shared.control, user.project, user.name)


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One of the test's own: its audit is looked at, or it is broken."""
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def log_in(service: Service, user: dict[str, Any], scope: dict[str, Any] | None = None) -> Answer:
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = scope
    return post(service, "/v3/auth/tokens?nocatalog=", {"auth": auth})


def post(service: Service, path: str, body: Any) -> Answer:
    response = service.client.http.post(service.endpoint + path, json=body)
    return Answer(response.status_code, response.headers, response.content)


def by_name(name: str, password: str = USER_PASSWORD, project: str = PROJECT) -> dict[str, Any]:
    return {"name": name, "password": password, "domain": {"name": project}}


def get_by_token(service: Service, token: str, path: str = LIST) -> Answer:
    return service.client.send("GET", path.replace("{p}", PROJECT), {"X-Auth-Token": token})


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.error_code


# --- tokens -------------------------------------------------------------------------------------------


def test_a_user_gets_a_token_by_password_and_every_call_takes_it(service: Service) -> None:
    user = a_user(service, "op1")
    answer = log_in(service, by_name("op1"), {"project": {"name": "local-1"}})
    token, shown = answer.headers["x-subject-token"], answer.json["token"]
    assert answer.status == 201 and shown["methods"] == ["password"]
    assert shown["project"] == {
        "id": PROJECT,
        "name": "local-1",
        "domain": {"id": PROJECT, "name": PROJECT},
    }
    assert (shown["user"]["id"], shown["user"]["name"]) == (user.id, "op1")
    issued, expires = (datetime.fromisoformat(shown[name]) for name in ("issued_at", "expires_at"))
    assert expires - issued == timedelta(hours=24)
    assert get_by_token(service, token).status == 200
    cluster_id = service.add_cluster()
    response = service.client.http.post(
        f"{service.endpoint}/v1.0/{PROJECT}/snapshots",
        json={"snapshot": {"name": "by-token", "cluster_id": cluster_id}},
        headers={"X-Auth-Token": token},
    )
    assert response.status_code == 200
    assert list_records(service.control, PROJECT, limit=1)[0].access_key == "user/op1"


@pytest.mark.parametrize(
    "scope",
    [
        None,
        {"project": {"id": PROJECT}},
        {"project": {"name": "any", "domain": {"name": PROJECT}}},
        {"domain": {"name": PROJECT}},
        {"domain": {"id": PROJECT}},
    ],
)
def test_a_user_may_be_named_by_id_and_scoped_to_what_is_its_own(service: Service, scope: Any) -> None:
    user = a_user(service, "op1")
    answer = log_in(service, {"id": user.id, "password": USER_PASSWORD}, scope)
    assert answer.status == 201
    assert ("domain" in answer.json["token"]) == (scope is not None and "domain" in scope)


@pytest.mark.parametrize("scope", [{"project": {"id": OTHER_PROJECT}}, {"domain": {"name": OTHER_PROJECT}}])
def test_a_scope_that_is_not_the_user_s_is_refused(service: Service, scope: Any) -> None:
    a_user(service, "op1")
    assert refusal(log_in(service, by_name("op1"), scope)) == (403, "DWS.0015")


def test_a_wrong_password_and_a_user_nobody_is_are_told_apart_by_nothing(service: Service) -> None:
    a_user(service, "op1")
    users.disable_user(service.control, PROJECT, a_user(service, "gone").name)
    answers = [
        log_in(service, user)
        for user in (
            by_name("op1", "wrong"),
            by_name("nobody"),
            by_name("gone"),
            by_name("op1", project=OTHER_PROJECT),
            {"id": "0" * 32, "password": USER_PASSWORD},
        )
    ]
    assert {refusal(answer) for answer in answers} == {(401, "APIGW.0301")}
    assert len({answer.json["error_msg"] for answer in answers}) == 1


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"identity": {"methods": ["token"], "token": {"id": "x"}}},
        {"identity": {"methods": ["password", "totp"], "password": {"user": by_name("op1")}}},
        {"identity": {"methods": ["password"], "password": {"user": {"name": "op1", "password": "x"}}}},
        {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}},
        {"identity": {"methods": ["password"], "password": {"user": by_name("op1", password=["x"])}}},  # type: ignore[arg-type]
    ],
)
def test_a_log_in_of_another_form_is_malformed(service: Service, auth: Any) -> None:
    assert refusal(post(service, "/v3/auth/tokens", {"auth": auth})) == (400, "DWS.0001")


def test_a_token_ends_with_its_user(service: Service) -> None:
    a_user(service, "op1")
    token = log_in(service, by_name("op1")).headers["x-subject-token"]
    users.disable_user(service.control, PROJECT, "op1")
    assert refusal(get_by_token(service, token)) == (401, "APIGW.0301")


def test_a_signature_counts_before_a_token(service: Service) -> None:
    a_user(service, "op1")
    token = log_in(service, by_name("op1")).headers["x-subject-token"]
    assert service.client.request("GET", LIST, unsigned={"X-Auth-Token": "nobody's"}).status == 200
    forger = replace(service.client, secret_key="wrong")
    assert refusal(forger.request("GET", LIST, unsigned={"X-Auth-Token": token})) == (401, "APIGW.0301")


def test_neither_passwords_nor_tokens_nor_secrets_are_in_the_catalog(service: Service) -> None:
    a_user(service, "op1")
    token = log_in(service, by_name("op1")).headers["x-subject-token"]
    bearer, security_token = temporary(service.client)
    written = b"".join(path.read_bytes() for path in service.data.glob("catalog.sqlite*"))
    assert b"op1" in written
    for secret in (USER_PASSWORD, token, security_token, bearer.secret_key, service.client.secret_key):
        assert secret.encode() not in written


# --- temporary keys -----------------------------------------------------------------------------------


def use(service: Service, made: tuple[Any, str]) -> Answer:
    bearer, token = made
    answer: Answer = bearer.request("GET", LIST, signed={"X-Security-Token": token})
    return answer


def test_a_temporary_key_says_when_it_ends(service: Service) -> None:
    identity = {"methods": ["token"], "token": {"id": "anything", "duration_seconds": 3600}}
    answer = service.client.request(
        "POST", "/v3.0/OS-CREDENTIAL/securitytokens", {"auth": {"identity": identity}}
    )
    ends = datetime.fromisoformat(answer.json["credential"]["expires_at"])
    assert timedelta(minutes=59) < ends - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize(
    "identity",
    [
        {"methods": ["assume_role"], "assume_role": {"agency_name": "a", "domain_name": "b"}},
        {"methods": ["token"], "token": {"duration_seconds": 899}},
        {"methods": ["token"], "token": {"duration_seconds": 86_401}},
        {"methods": ["token"], "token": {"duration_seconds": 10**30}},
        {"methods": ["token"], "policy": {}},
        {"methods": ["token"], "policy": policy("obs:*:*")},
        {"methods": ["token"], "policy": policy("dws:*:*", Condition={})},
    ],
)
def test_a_temporary_key_that_is_not_understood_is_not_made(service: Service, identity: Any) -> None:
    answer = service.client.request(
        "POST", "/v3.0/OS-CREDENTIAL/securitytokens", {"auth": {"identity": identity}}
    )
    assert refusal(answer) == (400, "DWS.0001")


def test_a_temporary_key_never_has_more_than_its_maker(service: Service) -> None:
    reader = client_with(service, READ_ONLY_ACCESS)
    bearer, token = temporary(reader, policy("dws:*:*"))
    assert use(service, (bearer, token)).status == 200
    body = {"snapshot": {"name": "nightly", "cluster_id": service.add_cluster()}}
    refused = bearer.request("POST", LIST, body, signed={"X-Security-Token": token})
    assert refusal(refused) == (403, "DWS.0015")


def test_a_temporary_key_ends_with_the_key_that_made_it(service: Service) -> None:
    parent = client_with(service)
    made = temporary(parent)
    assert use(service, made).status == 200
    disable_access_key(service.control, PROJECT, parent.access_key)
    assert refusal(use(service, made)) == (401, "APIGW.0301")


def test_a_temporary_key_made_by_a_token_ends_with_the_user(service: Service) -> None:
    a_user(service, "op1")
    token = log_in(service, by_name("op1")).headers["x-subject-token"]
    response = service.client.http.post(
        f"{service.endpoint}/v3.0/OS-CREDENTIAL/securitytokens",
        json={"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}},
        headers={"X-Auth-Token": token},
    )
    made = response.json()["credential"]
    bearer = replace(service.client, access_key=made["access"], secret_key=made["secret"])
    assert use(service, (bearer, made["securitytoken"])).status == 200
    users.disable_user(service.control, PROJECT, "op1")
    assert refusal(use(service, (bearer, made["securitytoken"]))) == (401, "APIGW.0301")


def test_a_temporary_key_past_its_end_is_refused(service: Service) -> None:
    made = temporary(service.client)
    ended = "UPDATE sh_temporary_keys SET expires = '2020-01-01'"
    with service.control.database.transaction() as transaction:
        transaction.exec_driver_sql(ended)
    assert refusal(use(service, made)) == (401, "APIGW.0301")


# --- rotation -----------------------------------------------------------------------------------------


def test_both_pairs_are_good_during_the_overlap_and_the_new_one_after_it(service: Service) -> None:
    old = client_with(service, READ_ONLY_ACCESS)
    new, _ = rotate_access_key(service.control, PROJECT, old.access_key, timedelta(hours=1))
    successor = replace(old, access_key=new.access_key, secret_key=new.secret_key)
    assert [client.request("GET", LIST).status for client in (old, successor)] == [200, 200]
    assert refusal(successor.request("POST", LIST, {})) == (403, "DWS.0015")
    newest, _ = rotate_access_key(service.control, PROJECT, new.access_key, timedelta(0))
    last = replace(old, access_key=newest.access_key, secret_key=newest.secret_key)
    assert [client.request("GET", LIST).status for client in (successor, last)] == [401, 200]


# --- lock-out -----------------------------------------------------------------------------------------


def test_a_key_is_locked_after_six_failures_even_for_the_right_signature(service: Service) -> None:
    forger = replace(service.client, secret_key="wrong")
    before = {forger.request("GET", LIST).json["error_msg"] for _ in range(6)}
    locked = service.client.request("GET", LIST)
    assert refusal(locked) == (401, "APIGW.0301")
    assert "AK access failed to reach the limit,forbidden" in locked.json["error_msg"]
    unknown = replace(forger, access_key="UNKNOWNKEY0000000001")
    assert {unknown.request("GET", LIST).json["error_msg"] for _ in range(6)} == before
    assert unknown.request("GET", LIST).json["error_msg"] == locked.json["error_msg"]


def test_a_success_in_between_keeps_the_key_open(service: Service) -> None:
    forger = replace(service.client, secret_key="wrong")
    for _ in range(3):
        assert {forger.request("GET", LIST).status for _ in range(5)} == {401}
        assert service.client.request("GET", LIST).status == 200


def test_a_wrong_security_token_counts_as_a_failure(service: Service) -> None:
    made = temporary(service.client)
    for _ in range(6):
        assert made[0].request("GET", LIST).status == 401
    assert refusal(use(service, made)) == (401, "APIGW.0301")


def test_a_user_is_locked_after_six_wrong_passwords(service: Service) -> None:
    a_user(service, "op1")
    answers = [log_in(service, by_name("op1", "wrong")) for _ in range(6)]
    locked = log_in(service, by_name("op1"))
    assert {refusal(answer) for answer in [*answers, locked]} == {(401, "APIGW.0301")}
    assert "reach the limit" in locked.json["error_msg"] != answers[0].json["error_msg"]
    a_user(service, "op2")
    assert log_in(service, by_name("op2")).status == 201


def test_a_user_is_locked_by_whatever_spelling_of_them_the_guesses_came(service: Service) -> None:
    user = a_user(service, "op1")
    spellings: list[dict[str, Any]] = [
        {"id": user.id, "password": "wrong", "name": f"invented-{number}"} for number in range(4)
    ]
    spellings += [by_name("op1", "wrong"), {"name": "op1", "password": "wrong", "domain": {"id": PROJECT}}]
    for spelling in spellings:
        assert refusal(log_in(service, spelling)) == (401, "APIGW.0301")
    for right in (by_name("op1"), {"id": user.id, "password": USER_PASSWORD}):
        assert "failed to reach the limit" in log_in(service, right).json["error_msg"]


def test_many_invented_names_do_not_push_out_a_user_s_lock(service: Service) -> None:
    a_user(service, "op1")
    for _ in range(6):
        log_in(service, by_name("op1", "wrong"))
    for number in range(10_001):
        service.control.invented_lockouts.failed(("name", str(number)), service.control.clock)
    assert "failed to reach the limit" in log_in(service, by_name("op1")).json["error_msg"]


def test_an_unknown_id_is_locked_as_a_known_one_is(service: Service) -> None:
    for number in range(6):
        log_in(service, {"id": "no-such-id", "name": f"invented-{number}", "password": "wrong"})
    told = log_in(service, {"id": "no-such-id", "password": "wrong"})
    assert "failed to reach the limit" in told.json["error_msg"]


def test_passwords_beyond_the_queue_are_told_503_and_known_callers_are_served(fresh: Service) -> None:
    going_on = threading.Event()
    held = [fresh.control.password_checks.submit(f"10.0.0.{number}", going_on.wait) for number in range(64)]
    told = log_in(fresh, by_name("op1"))
    assert refusal(told) == (503, "DWS.0005") and int(told.headers["retry-after"]) > 0
    assert fresh.client.request("GET", LIST).status == 200
    going_on.set()
    assert all(one.result(30) for one in held)


# --- the audit ----------------------------------------------------------------------------------------


def records_of(service: Service, *outcomes: str) -> list[Any]:
    return [each for each in list_records(service.control)[::-1] if each.outcome in outcomes]


def test_every_refusal_is_in_the_audit_with_who_what_why_and_the_answer_s_id(fresh: Service) -> None:
    reader = client_with(fresh, READ_ONLY_ACCESS)
    a_user(fresh, "op1")
    forger = replace(fresh.client, secret_key="wrong")
    answers = [
        fresh.client.send("GET", f"/v1.0/{PROJECT}/snapshots", {}),
        forger.request("GET", LIST),
        fresh.client.request("GET", LIST, now=datetime.now(UTC) - timedelta(hours=1)),
        reader.request("POST", LIST, {}),
        reader.request("GET", f"/v1.0/{OTHER_PROJECT}/snapshots"),
        log_in(fresh, by_name("op1", "wrong")),
    ]
    found = records_of(fresh, "auth.failed", "auth.not-permitted")
    assert [(each.access_key, each.action, each.outcome) for each in found] == [
        ("", "ListSnapshots", "auth.failed"),
        (fresh.client.access_key, "ListSnapshots", "auth.failed"),
        (fresh.client.access_key, "ListSnapshots", "auth.failed"),
        (reader.access_key, "CreateSnapshot", "auth.not-permitted"),
        (reader.access_key, "ListSnapshots", "auth.not-permitted"),
        ("user/op1", "KeystoneCreateUserTokenByPassword", "auth.failed"),
    ]
    assert [each.request_id for each in found] == [answer.headers["x-request-id"] for answer in answers]
    for each, answer in zip(found, answers, strict=True):
        assert each.detail == f"from 127.0.0.1: {answer.json['error_msg']}"


def test_a_stranger_does_not_choose_whom_the_record_blames(fresh: Service) -> None:
    victim = a_user(fresh, "victim")
    log_in(fresh, {"id": victim.id, "name": "somebody", "password": "wrong"})
    log_in(fresh, {"id": "no-such-id", "name": "victim", "password": "wrong"})
    log_in(fresh, {"name": "victim" + "x" * 200, "password": "wrong", "domain": {"id": PROJECT}})
    replace(fresh.client, access_key="user/victim").request("GET", LIST)
    found = [each.access_key for each in records_of(fresh, "auth.failed")]
    assert found == ["user/victim", "unknown/victim", "unknown/victim" + "x" * 58, ""]


def test_a_flood_of_refusals_leaves_few_records_that_count_it(fresh: Service) -> None:
    for _ in range(100):
        fresh.client.send("GET", f"/v1.0/{PROJECT}/snapshots", {})
    found = records_of(fresh, "auth.failed")
    assert len(found) == 7
    assert "number 64 of its kind" in found[-1].detail


def test_a_refusal_that_cannot_be_recorded_is_not_given(fresh: Service) -> None:
    fresh.plant_bug("no audit today", good_calls=1)
    forger = replace(fresh.client, secret_key="wrong")
    assert refusal(forger.request("GET", LIST)) == (500, "DWS.0005")


def test_what_is_made_for_identity_is_in_the_audit(fresh: Service) -> None:
    a_user(fresh, "op1")
    log_in(fresh, by_name("op1"))
    bearer, _ = temporary(fresh.client)
    told = [(each.action, each.resource) for each in records_of(fresh, "accepted")]
    assert told[-3:] == [
        ("CreateUser", "op1"),
        ("CreateToken", "user/op1"),
        ("CreateTemporaryAccessKey", bearer.access_key),
    ]


# --- the official SDK ---------------------------------------------------------------------------------


def sdk(service: Service, monkeypatch: pytest.MonkeyPatch, home: Any, credentials: Any) -> Any:
    monkeypatch.setenv("HOME", str(home))  # the SDK keeps an application id there
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1", service.endpoint)
    monkeypatch.setenv("HUAWEICLOUD_SDK_IAM_ENDPOINT", service.endpoint)
    builder = DwsClient.new_builder().with_credentials(credentials)
    return builder.with_region(DwsRegion.value_of("local-1")).build()


def test_the_sdk_finds_its_project_by_itself(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    credentials = BasicCredentials(service.client.access_key, service.client.secret_key)
    client = sdk(service, monkeypatch, tmp_path, credentials)
    assert client.list_snapshots(ListSnapshotsRequest()).status_code == 200


def test_the_sdk_s_temporary_credentials_are_good_with_their_token_only(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    bearer, token = temporary(service.client)
    bare = BasicCredentials(bearer.access_key, bearer.secret_key, PROJECT)
    with_token = BasicCredentials(bearer.access_key, bearer.secret_key).with_security_token(token)
    client = sdk(service, monkeypatch, tmp_path, with_token)
    assert client.list_snapshots(ListSnapshotsRequest()).status_code == 200
    with pytest.raises(ServiceResponseException) as refused:
        sdk(service, monkeypatch, tmp_path, bare).list_snapshots(ListSnapshotsRequest())
    assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")


def test_whoever_asks_for_projects_and_domains_is_told_their_own(service: Service) -> None:
    projects = service.client.request("GET", "/v3/projects", query={"name": "cn-north-4"}).json["projects"]
    assert [(each["id"], each["name"], each["domain_id"]) for each in projects] == [
        (PROJECT, "cn-north-4", PROJECT)
    ]
    domains = service.client.request("GET", "/v3/auth/domains").json["domains"]
    assert [(each["id"], each["name"]) for each in domains] == [(PROJECT, PROJECT)]
