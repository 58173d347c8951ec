"""Every malformed body, parameter and id gets the same clear 400, and leaves nothing behind."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.api.application import Service, a_cluster, serving_service

UUID = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service
        assert service.list_clusters() == service.list_snapshots() == []


def snapshot_body(**changes: Any) -> dict[str, Any]:
    return {"snapshot": {"name": "nightly", "cluster_id": UUID, **changes}}


def assert_invalid(service: Service, method: str, path: str, raw: bytes, **options: Any) -> str:
    answer = service.client.request(method, path, raw=raw, **options)
    assert (answer.status, answer.error_code) == (400, "DWS.0001"), answer.raw
    message = answer.json["error_msg"]
    assert isinstance(message, str)
    return message


MALFORMED = {
    "not json": b"snapshot=1",
    "cut short": b'{"snapshot": {"name": "nightly"',
    "two documents": b"{} {}",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"snapshot"',
    "a number": b"7",
    "empty object": b"{}",
    "the same key twice": b'{"snapshot": {"name": "nightly", "name": "other", "cluster_id": "%s"}}'
    % UUID.encode(),
    "NaN": b'{"snapshot": NaN}',
    "Infinity": b'{"x": -Infinity}',
    "deep nesting": b"[" * 100_000,
    "deep nesting of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of a million digits": b'{"x": ' + b"9" * 1_000_000 + b"}",
    "UTF-16": '{"snapshot": {}}'.encode("utf-16"),
    "latin-1": '{"snapshot": {"name": "é"}}'.encode("latin-1"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "half a surrogate pair": b'{"snapshot": {"description": "\\ud800"}}',
    "half a surrogate pair as a key": b'{"\\udfff": 1}',
    "a NUL character": b'{"snapshot": {"description": "a\\u0000b"}}',
    "a raw control character": b'{"snapshot": {"description": "a\x01b"}}',
    "only blanks": b"   ",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_document_is_refused(service: Service, raw: bytes) -> None:
    for method, path in [
        ("POST", "/v1.0/{p}/snapshots"),
        ("POST", f"/v1.0/{{p}}/snapshots/{UUID}/actions"),
        ("POST", "/v1.0/{p}/clusters"),
        ("DELETE", f"/v1.0/{{p}}/clusters/{UUID}"),
    ]:
        assert_invalid(service, method, path, raw)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.0/{p}/snapshots"),
        ("POST", f"/v1.0/{{p}}/snapshots/{UUID}/actions"),
        ("POST", "/v1.0/{p}/clusters"),
        ("DELETE", f"/v1.0/{{p}}/clusters/{UUID}"),
    ],
)
def test_no_body_where_one_is_needed_has_a_code_of_its_own(service: Service, method: str, path: str) -> None:
    answer = service.client.request(method, path)
    assert (answer.status, answer.error_code) == (400, "DWS.0006")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        ";;;",
    ],
)
def test_another_content_type_is_refused(service: Service, content_type: str) -> None:
    raw = json.dumps(snapshot_body()).encode()
    assert_invalid(service, "POST", "/v1.0/{p}/snapshots", raw, content_type=content_type)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "APPLICATION/JSON;charset=utf-8", 'application/json; charset="UTF-8"', None],
)
def test_the_content_types_that_clients_send_are_taken(service: Service, content_type: str | None) -> None:
    raw = json.dumps(snapshot_body()).encode()
    answer = service.client.request("POST", "/v1.0/{p}/snapshots", raw=raw, content_type=content_type)
    assert (answer.status, answer.error_code) == (404, "DWS.0047")


WRONG_SNAPSHOTS: dict[str, Any] = {
    "no name": {"cluster_id": UUID},
    "no cluster": {"name": "nightly"},
    "name is a number": {"name": 7, "cluster_id": UUID},
    "name is null": {"name": None, "cluster_id": UUID},
    "description is a list": {"name": "nightly", "cluster_id": UUID, "description": []},
    "cluster id is no UUID": {"name": "nightly", "cluster_id": "nope"},
    "cluster id is longer": {"name": "nightly", "cluster_id": UUID + "0"},
    "cluster id has no dashes": {"name": "nightly", "cluster_id": UUID.replace("-", "")},
    "a string": "nightly",
    "a list": [{"name": "nightly", "cluster_id": UUID}],
}


@pytest.mark.parametrize("snapshot", WRONG_SNAPSHOTS.values(), ids=WRONG_SNAPSHOTS.keys())
def test_a_snapshot_with_a_wrong_field_is_refused(service: Service, snapshot: Any) -> None:
    raw = json.dumps({"snapshot": snapshot}).encode()
    assert "snapshot" in assert_invalid(service, "POST", "/v1.0/{p}/snapshots", raw)


WRONG_CLUSTERS: dict[str, dict[str, Any]] = {
    "no node": {"number_of_node": 0},
    "too many nodes": {"number_of_node": 257},
    "nodes as text": {"number_of_node": "3"},
    "nodes as a fraction": {"number_of_node": 3.0},
    "nodes as a truth": {"number_of_node": True},
    "nodes beyond 64 bits": {"number_of_node": 10**30},
    "port below": {"port": 7999},
    "port above": {"port": 30001},
    "port as text": {"port": "8000"},
    "short name": {"name": "abc"},
    "long name": {"name": "a" * 65},
    "user with a capital": {"user_name": "Admin"},
    "user is a keyword": {"user_name": "select"},
    "user of 64": {"user_name": "a" * 64},
    "password of 11": {"user_pwd": "Str0ng-Pass"},
    "password of 33": {"user_pwd": "Str0ng-Pass" * 3},
    "password of two classes": {"user_pwd": "onlyletters12345"},
    "password is a number": {"user_pwd": 123456789012},
    "tags as text": {"tags": "team"},
    "tag without key": {"tags": [{"value": "bi"}]},
    "empty tag key": {"tags": {"key": "", "value": "bi"}},
    "tag key of 129": {"tags": {"key": "k" * 129, "value": "bi"}},
    "tag value of 257": {"tags": {"key": "team", "value": "v" * 257}},
    "tag with a slash": {"tags": {"key": "a/b", "value": "bi"}},
    "tag with a blank at its end": {"tags": {"key": "team ", "value": "bi"}},
    "public ip of an unknown kind": {"public_ip": {"public_bind_type": "maybe"}},
    "no coordinator": {"number_of_cn": 0},
    "too many coordinators": {"number_of_cn": 21},
    "vpc is a number": {"vpc_id": 5},
    "vpc with a NUL": {"vpc_id": "a\0b"},
    "vpc with half a surrogate pair": {"vpc_id": "a\ud800"},
}
REQUIRED = ["name", "node_type", "number_of_node", "vpc_id", "subnet_id", "user_name", "user_pwd"]


@pytest.mark.parametrize("change", WRONG_CLUSTERS.values(), ids=WRONG_CLUSTERS.keys())
def test_a_cluster_with_a_wrong_field_is_refused_and_leaves_nothing(
    service: Service, change: dict[str, Any]
) -> None:
    raw = json.dumps({"cluster": a_cluster() | change}).encode()
    message = assert_invalid(service, "POST", "/v1.0/{p}/clusters", raw)
    assert "Str0ng" not in message
    assert service.list_clusters() == []


@pytest.mark.parametrize("field", REQUIRED)
def test_a_cluster_without_a_required_field_is_refused(service: Service, field: str) -> None:
    cluster = a_cluster()
    del cluster[field]
    raw = json.dumps({"cluster": cluster}).encode()
    assert field in assert_invalid(service, "POST", "/v1.0/{p}/clusters", raw)


@pytest.mark.parametrize("kept", [-1, "0", True, None, 1.5, 2**31])
def test_the_number_of_snapshots_to_keep_is_a_number(service: Service, kept: Any) -> None:
    raw = json.dumps({"keep_last_manual_snapshot": kept}).encode()
    assert_invalid(service, "DELETE", f"/v1.0/{{p}}/clusters/{UUID}", raw)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "1.0"},
        {"limit": "1_0"},
        {"limit": "٣"},
        {"limit": ""},
        {"limit": str(2**31)},
        {"limit": "9" * 400},
        {"offset": "-1"},
        {"offset": "x"},
        {"sort_key": "password"},
        {"sort_key": "started; drop"},
        {"sort_dir": "DESC"},
    ],
    ids=str,
)
def test_a_wrong_page_is_refused(service: Service, query: dict[str, str]) -> None:
    assert_invalid(service, "GET", f"/v1.0/{{p}}/clusters/{UUID}/snapshots", b"", query=query)


@pytest.mark.parametrize("cluster_id", ["nope", UUID + "0", "%00", "%ED%A0%80", "a" * 300])
def test_a_cluster_id_that_is_no_uuid_is_refused(service: Service, cluster_id: str) -> None:
    for method, tail, body in [
        ("GET", "", b""),
        ("GET", "/snapshots", b""),
        ("POST", "/restart", b""),
        ("DELETE", "", b'{"keep_last_manual_snapshot": 0}'),
    ]:
        assert_invalid(service, method, f"/v1.0/{{p}}/clusters/{cluster_id}{tail}", body)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["snapshot", "name"]), inner)
        ),
        max_leaves=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_document_whatever_is_answered_with_anything_but_a_refusal(
    service: Service, document: Any
) -> None:
    answer = service.client.request(
        "POST", "/v1.0/{p}/snapshots", raw=json.dumps(document).encode("utf-8", "surrogatepass")
    )
    assert (answer.status, answer.error_code) == (400, "DWS.0001")
