"""Where clients find the service: versions and catalog over the wire, and the older signature that asks for it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stillhouse.api.app import create_app
from stillhouse.domain.ids import new_uuid
from support.api.application import PROJECT, Service, serving_service
from support.api.callers import USER_PASSWORD, a_token, a_user, client_with
from support.api.client import Answer
from support.api.derived_signer import signed
from support.api.server import serving

EVIL = "evil.example:8080"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        a_user(service, "op1")
        yield service


@pytest.fixture
def public(service: Service) -> Iterator[Service]:
    """The same, set to a public address and a region."""
    settings = service.control.settings.model_copy(
        update={"public_url": "https://warehouse.example", "region": "eu-de"}
    )
    control = replace(service.control, settings=settings)
    with serving(create_app(control, is_shutting_down=service.shutting_down.is_set)) as endpoint:
        yield replace(
            service, control=control, endpoint=endpoint, client=replace(service.client, endpoint=endpoint)
        )


def log_in(service: Service, host: str = "", query: str = "") -> Answer:
    user = {"name": "op1", "password": USER_PASSWORD, "domain": {"name": PROJECT}}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"id": PROJECT}},
    }
    response = service.client.http.post(
        f"{service.endpoint}/v3/auth/tokens{query}",
        json={"auth": auth},
        headers={"Host": host} if host else {},
    )
    return Answer(response.status_code, response.headers, response.content)


def ask(of: Service, path: str, host: str = "", **client: Any) -> Answer:
    """Signed in the older form."""
    headers = {"accept": "application/json"}
    given = {"access_key": of.client.access_key, "secret_key": of.client.secret_key, **client}
    asked = host or of.endpoint.removeprefix("http://")
    date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    request = signed("GET", path, [], headers, None, date=date, host=asked, **given)
    sent = {name.decode(): value.decode() for name, value in request.headers if name != b"x-project-id"}
    return of.client.send("GET", path, sent)


def places(catalog: list[dict[str, Any]], region: str) -> dict[str, str]:
    """Where each type is, as clients look it up: by interface and region."""
    return {
        entry["type"]: endpoint["url"]
        for entry in catalog
        for endpoint in entry["endpoints"]
        if (endpoint["interface"], endpoint["region"]) == ("public", region)
    }


def test_a_token_and_the_catalog_name_the_service_at_the_address_asked(service: Service) -> None:
    here = {"dws": service.endpoint, "dwsv1": f"{service.endpoint}/v1.0/{PROJECT}"}
    token = log_in(service).json["token"]
    assert places(token["catalog"], "local-1") == here and "hint" not in token
    listed = service.client.request("GET", "/v3/auth/catalog").json
    assert places(listed["catalog"], "local-1") == here and listed["links"]["next"] is None
    by_token = {"X-Auth-Token": a_token(service, a_user(service, f"user-{new_uuid()}"))}
    assert service.client.send("GET", "/v3/auth/catalog", by_token).json == listed


def test_the_addresses_lead_to_the_service(service: Service) -> None:
    urls = places(service.client.request("GET", "/v3/auth/catalog").json["catalog"], "local-1")
    by_token = {"X-Auth-Token": a_token(service, a_user(service, f"user-{new_uuid()}"))}
    for url in (f"{urls['dws']}/v1.0/{PROJECT}/clusters", f"{urls['dwsv1']}/clusters"):
        assert service.client.http.get(url, headers=by_token).status_code == 200


def test_a_catalog_is_of_the_region_and_the_public_address_that_are_set(public: Service) -> None:
    there = {"dws": "https://warehouse.example", "dwsv1": f"https://warehouse.example/v1.0/{PROJECT}"}
    for host in ("", EVIL):
        assert places(log_in(public, host).json["token"]["catalog"], "eu-de") == there
    assert places(public.client.request("GET", "/v3/auth/catalog").json["catalog"], "eu-de") == there
    for path in ("/", "/v3"):
        assert "https://warehouse.example/v3/" in public.client.send("GET", path, {"Host": EVIL}).raw.decode()


def test_a_stranger_s_host_decides_nothing(service: Service) -> None:
    """Neither where tokens go nor where passwords do; a token is made all the same, since not all need a catalog."""
    answer = log_in(service, EVIL)
    assert answer.status == 201 and answer.json["token"]["catalog"] == []
    assert "STILLHOUSE_PUBLIC_URL" in answer.json["token"]["hint"]
    refused = [
        service.client.send("GET", "/", {"Host": EVIL}),
        service.client.send("GET", "/v3", {"Host": EVIL}),
        service.client.send("GET", "/v3/", {"Host": EVIL}),
        ask(service, "/v3/auth/catalog", EVIL),
        service.client.send(
            "GET", "/v3", {"Host": "127.0.0.1.evil.example", "X-Forwarded-Host": "localhost"}
        ),
    ]
    for answer in refused:
        assert (answer.status, answer.error_code) == (400, "DWS.0001")
        assert "STILLHOUSE_PUBLIC_URL" in answer.json["error_msg"]
    assert not any(b"evil" in answer.raw for answer in refused)
    forwarded = service.client.send("GET", "/v3", {"X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"})
    assert b"evil" not in forwarded.raw and forwarded.status == 200


def test_without_its_catalog_a_token_has_an_empty_one_and_no_hint(service: Service) -> None:
    token = log_in(service, query="?nocatalog=").json["token"]
    assert token["catalog"] == [] and "hint" not in token


def test_the_versions_lead_to_identity(service: Service) -> None:
    (listed,) = service.client.send("GET", "/", {}).json["versions"]["values"]
    assert listed["id"].startswith("v3") and listed["status"] == "stable"
    (link,) = listed["links"]
    assert link == {"rel": "self", "href": f"{service.endpoint}/v3/"}
    for path in ("/v3", "/v3/"):
        assert service.client.send("GET", path, {}).json == {"version": listed}


def test_the_catalog_is_for_callers_of_the_service_only(service: Service) -> None:
    answer = service.client.send("GET", "/v3/auth/catalog", {})
    assert (answer.status, answer.error_code) == (401, "APIGW.0301")


# --- the older form of the signature, over the wire -------------------------------------------------------


def test_a_request_signed_in_the_older_form_is_its_signer_s(service: Service) -> None:
    assert ask(service, f"/v1.0/{PROJECT}/clusters").status == 200
    assert ask(service, f"/v1.0/{PROJECT}/clusters", region="eu-de", service="dws").status == 200
    assert ask(service, "/v1.0/" + "f" * 32 + "/clusters").status == 403
    reader = client_with(
        service, {"Version": "1.1", "Statement": [{"Effect": "Deny", "Action": ["dws:*:*"]}]}
    )
    narrow = {"access_key": reader.access_key, "secret_key": reader.secret_key}
    assert ask(service, f"/v1.0/{PROJECT}/clusters", **narrow).status == 403


def test_both_forms_share_one_lock_out(service: Service) -> None:
    victim = client_with(service)
    key = {"access_key": victim.access_key}
    refused = [ask(service, f"/v1.0/{PROJECT}/clusters", **key, secret_key="wrong") for _ in range(6)]
    assert {(answer.status, answer.error_code) for answer in refused} == {(401, "APIGW.0301")}
    locked = ask(service, f"/v1.0/{PROJECT}/clusters", **key, secret_key=victim.secret_key)
    assert locked.status == 401 and "reach the limit" in locked.json["error_msg"]
    assert "reach the limit" in victim.request("GET", "/v1.0/{p}/clusters").json["error_msg"]


def test_a_key_that_nobody_has_is_refused_in_the_same_words(service: Service) -> None:
    unknown = ask(service, f"/v1.0/{PROJECT}/clusters", access_key="UNKNOWNKEY0000000001")
    wrong = ask(service, f"/v1.0/{PROJECT}/clusters", secret_key="wrong")
    assert unknown.json["error_msg"] == wrong.json["error_msg"]
