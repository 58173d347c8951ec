"""The signature's older form: recorded requests, an implementation of its own, and every way to alter them.

The recorded ones were signed by gophertelekomcloud v0.9.4.
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.api.gateway import signature
from stillhouse.api.gateway.signature import RawRequest
from stillhouse.errors import Unauthenticated
from support.api.derived_signer import ACCESS_KEY, DATE, HOST, ROOT, SECRET_KEY, go_escape, request_of, signed

NOW = datetime(2026, 11, 29, 12, 17, 34, tzinfo=UTC)
BODY = b'{"snapshot":{"cluster_id":"44b277eb-39be-4921-be31-3d61b43651d7","name":"by-gopher"}}'
LIST = (
    f"{ROOT}/clusters/c%201~*+%C3%A9/snapshots"
    "?limit=10&offset=0&sort_key=started+at&sort_Dir=desc&sort_=%C3%A9"
)
HEADERS = {
    "accept": "application/json",
    "host": HOST,
    "user-agent": "golangsdk/2.0.0  twice",
    "x-sdk-date": DATE,
}
TYPED = HEADERS | {"content-type": "application/json"}


RECORDED = {
    "create": ("POST", f"{ROOT}/snapshots", TYPED, BODY),
    "list": ("GET", LIST, HEADERS, b""),
    "a query and no body": ("POST", f"{ROOT}/x?b=2+3&a=~1*", HEADERS, b""),
}
SIGNATURES = {
    ("create", "/"): "7acf0a4e884e16ea45825743b4e875a4f01fd5c268924801bccca338f70572bb",
    ("create", "eu-de/dws"): "2772632081d8e6c3074e8e2a75777b792a36002ac74f73436f5a16fa7f2cb481",
    ("list", "/"): "ff335b25bae77ef170db8740aeb31209da3632e29a954338b02fd7fe524b2964",
    ("list", "eu-de/dws"): "3082ab8163d08235f1e23f012a5ff7eebff2738c9daacb70a13a48f87b74edfb",
    ("a query and no body", "/"): "25b6e00e8c64a0c4502a795a62bb988225f002412885eb8c120da4453b077a4a",
    ("a query and no body", "eu-de/dws"): "da1b095525c3970e670ab26a0433f63a1fe4496b9a2eef0fe8f0d7534f397d15",
}


def recorded(case: tuple[str, str]) -> tuple[RawRequest, bytes]:
    method, url, headers, body = RECORDED[case[0]]
    scope = f"{DATE[:8]}/{case[1]}/sdk_request"
    return request_of(method, url, headers, scope, SIGNATURES[case]), body


every_recorded = pytest.mark.parametrize("case", SIGNATURES, ids=" ".join)


def refusal(request: RawRequest, body: bytes, now: datetime = NOW, secret_key: str = SECRET_KEY) -> str:
    """Why the request is refused; empty if it is accepted."""
    try:
        claim = signature.read_claim(request, now)
        if claim.access_key != ACCESS_KEY:
            return "another key"
        signature.verify(request, hashlib.sha256(body).hexdigest(), claim, secret_key)
    except Unauthenticated as error:
        return str(error)
    return ""


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_word = st.from_regex(r"[A-Za-z0-9_.-]{0,12}", fullmatch=True)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=_text.map(lambda text: f"/v3/{text}"),
    query=st.lists(
        st.tuples(_text.filter(bool), _text),
        max_size=4,
        unique_by=lambda pair: go_escape(pair[0].encode()).lower(),
    ),
    agent=st.from_regex(r"[!-~]([ \t!-~]{0,20}[!-~])?", fullmatch=True),
    body=st.none() | st.binary(max_size=40),
    region=_word,
    service=_word,
)
def test_what_is_signed_by_the_rules_is_accepted_and_by_another_secret_refused(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    agent: str,
    body: bytes | None,
    region: str,
    service: str,
) -> None:
    request = signed(method, path, query, {"user-agent": agent}, body, region=region, service=service)
    assert refusal(request, body or b"") == ""
    assert "verify aksk signature fail" in refusal(request, body or b"", secret_key=SECRET_KEY[:-1] + "2")
    assert refusal(request, (body or b"") + b"x")


@every_recorded
def test_a_recorded_request_is_accepted(case: tuple[str, str]) -> None:
    request, body = recorded(case)
    assert refusal(request, body) == ""
    assert refusal(request, body, secret_key=SECRET_KEY[::-1])


@every_recorded
def test_no_byte_that_is_signed_can_change(case: tuple[str, str]) -> None:
    request, body = recorded(case)
    for place in range(len(body)):
        assert refusal(request, _changed(body, place))
    for place in range(len(request.path)):
        assert refusal(replace(request, path=_changed(request.path, place)), body)
    for place in range(len(request.query)):
        assert refusal(replace(request, query=_changed(request.query, place)), body)
    for index, (name, value) in enumerate(request.headers):
        for place in range(len(value) if name != b"x-project-id" else 0):
            headers = list(request.headers)
            headers[index] = (name, _changed(value, place))
            if value[place : place + 1] != b" " or name == b"authorization":
                assert refusal(replace(request, headers=headers), body), headers[index]
    assert refusal(replace(request, method="PUT"), body)


def _changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_query_cannot_be_added_dropped_or_moved_between_query_and_body() -> None:
    request, _ = recorded(("a query and no body", "/"))
    assert refusal(replace(request, query=b""), b"")
    with_body, body = recorded(("create", "/"))
    assert refusal(replace(with_body, query=b"a=1"), body)
    assert refusal(replace(with_body, query=body), b"")


def test_a_repeated_name_is_refused_since_only_its_first_value_is_signed() -> None:
    for query in ([("limit", "1"), ("limit", "1")], [("limit", "1"), ("LIMIT", "2")]):
        request = signed("GET", "/x", query[:1], {}, None)
        doubled = b"&".join(f"{name}={value}".encode() for name, value in query)
        assert "repeated" in refusal(replace(request, query=doubled), b"")


def test_an_unsigned_or_declared_payload_counts_as_in_the_newer_form() -> None:
    body = b'{"a":1}'
    declared = signed("PUT", "/x", [], {"x-sdk-content-sha256": hashlib.sha256(body).hexdigest()}, body)
    assert refusal(declared, body) == ""
    assert "not the hash" in refusal(declared, b'{"a":2}')


@pytest.mark.parametrize("off", [timedelta(minutes=-16), timedelta(minutes=16)])
def test_a_clock_further_off_than_a_quarter_of_an_hour_is_refused(off: timedelta) -> None:
    request, body = recorded(("create", "/"))
    assert refusal(request, body, NOW + off / 2) == ""
    assert "signature expired" in refusal(request, body, NOW + off)


def test_the_date_of_the_scope_must_be_that_of_the_request() -> None:
    request = signed("GET", "/x", [], {}, None, scope_date="20261128")
    assert "not that of X-Sdk-Date" in refusal(request, b"")


@pytest.mark.parametrize(
    "credential",
    [
        "",
        ACCESS_KEY,
        f"/{DATE[:8]}///sdk_request",
        f"{ACCESS_KEY}/{DATE[:8]}//sdk_request",
        f"{ACCESS_KEY}/{DATE[:8]}///aws4_request",
        f"{ACCESS_KEY}/{DATE[:8]}/eu-de/dws/sdk_request/",
        f"{ACCESS_KEY}/{DATE[:7]}/eu-de/dws/sdk_request",
        f"{ACCESS_KEY}/{DATE[:8]}/eu\xa0de/dws/sdk_request",
        f"{ACCESS_KEY}/{DATE[:8]}/٣/dws/sdk_request",
    ],
)
def test_a_credential_of_another_form_is_refused(credential: str) -> None:
    request, body = recorded(("create", "/"))
    headers = [
        (name, value.replace(f"{ACCESS_KEY}/{DATE[:8]}///sdk_request".encode(), credential.encode()))
        for name, value in request.headers
    ]
    assert "Credential" in refusal(replace(request, headers=headers), body)


def test_a_claim_names_its_signer_once() -> None:
    request, body = recorded(("create", "/"))
    both = [
        (name, value.replace(b"Credential=", b"Access=" + ACCESS_KEY.encode() + b", Credential="))
        for name, value in request.headers
    ]
    assert "Access or Credential" in refusal(replace(request, headers=both), body)


def test_one_form_s_signature_is_no_proof_in_the_other() -> None:
    request, body = recorded(("create", "/"))
    plain = [
        (
            name,
            value.replace(
                f"Credential={ACCESS_KEY}/{DATE[:8]}///sdk_request".encode(), b"Access=" + ACCESS_KEY.encode()
            ),
        )
        for name, value in request.headers
    ]
    assert "verify aksk signature fail" in refusal(replace(request, headers=plain), body)
