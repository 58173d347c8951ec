"""What holds for every request: ids on answers, signatures before parsing, limits, and refusals' shape."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from stillhouse.api.app import create_app
from stillhouse.config import Settings
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.domain.table_restore import MOST_TABLES
from support.api.application import OTHER_PROJECT, Service, serving_service
from support.api.client import Answer
from support.api.server import serving

REFUSAL_KEYS = {"error_code", "error_msg", "errCode", "externalMessage", "request_id"}


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def wait_until(holds: Callable[[], bool]) -> None:
    """The log is written after the answer, so a client may be ahead of it."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_refused(answer: Answer, status: int, code: str) -> None:
    body = answer.json
    assert (answer.status, body["error_code"]) == (status, code), body
    assert body.keys() == REFUSAL_KEYS
    assert body["errCode"] == body["error_code"]
    assert body["externalMessage"] == body["error_msg"] != ""
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"] == body["request_id"]
    assert len(body["request_id"]) == 32


def test_every_answer_has_a_request_id_of_its_own(service: Service) -> None:
    answers = [
        service.client.request("GET", "/v1.0/{p}/snapshots"),
        service.client.send("GET", "/healthz", {}),
        service.client.send("GET", "/nowhere", {}),
        service.client.send("GET", f"/v1.0/{service.client.project}/snapshots", {}),
        service.client.request("POST", "/v1.0/{p}/snapshots", raw=b"{"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 404, 401, 400]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_health_is_open_to_all(service: Service) -> None:
    answer = service.client.send("GET", "/healthz", {})
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert_refused(service.client.send("POST", "/healthz", {}), 404, "APIGW.0101")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v4"),
        ("GET", "/v1/{p}/snapshots"),
        ("GET", "/v2/{p}/snapshots"),
        ("GET", "/v1.0/{p}/snapshots/"),
        ("GET", "/v1.0//snapshots"),
        ("GET", "/docs"),
        ("PUT", "/v1.0/{p}/snapshots"),
        ("PATCH", "/v1.0/{p}/clusters"),
        ("OPTIONS", "/v1.0/{p}/snapshots"),
        ("POST", "/v1.0/{p}/snapshots/c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"),
    ],
)
def test_an_api_that_is_not_published_does_not_exist_signed_or_not(
    service: Service, method: str, path: str
) -> None:
    assert_refused(service.client.request(method, path), 404, "APIGW.0101")
    unsigned = service.client.send(method, path.replace("{p}", service.client.project), {})
    assert_refused(unsigned, 404, "APIGW.0101")


def test_a_request_without_a_signature_is_refused(service: Service) -> None:
    assert_refused(
        service.client.send("GET", f"/v1.0/{service.client.project}/snapshots", {}), 401, "APIGW.0301"
    )


def test_an_unknown_key_and_a_wrong_secret_are_refused(service: Service) -> None:
    for access_key, secret_key in [
        ("UNKNOWNKEY0000000001", service.client.secret_key),
        (service.client.access_key, service.client.secret_key + "x"),
        (service.client.access_key.lower(), service.client.secret_key),
    ]:
        stranger = replace(service.client, access_key=access_key, secret_key=secret_key)
        assert_refused(stranger.request("GET", "/v1.0/{p}/snapshots"), 401, "APIGW.0301")


@pytest.mark.parametrize(("minutes", "status"), [(-16, 401), (-14, 200), (14, 200), (16, 401)])
def test_a_signature_is_good_for_a_quarter_of_an_hour(service: Service, minutes: int, status: int) -> None:
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    assert service.client.request("GET", "/v1.0/{p}/snapshots", now=now).status == status


def test_a_bad_signature_is_told_before_a_bad_body(service: Service) -> None:
    stranger = replace(service.client, secret_key="wrong")
    assert_refused(stranger.request("POST", "/v1.0/{p}/snapshots", raw=b"{not json"), 401, "APIGW.0301")


def test_a_body_altered_on_the_way_is_refused_and_changes_nothing(service: Service) -> None:
    cluster_id = service.add_cluster()
    body = b'{"snapshot": {"name": "first", "cluster_id": "%s"}}' % cluster_id.encode()
    altered = service.client.request("POST", "/v1.0/{p}/snapshots", raw=body)
    assert altered.status == 200
    signed_for_another = service.signed_headers("POST", "/v1.0/{p}/snapshots", body)
    answer = service.client.send(
        "POST",
        f"/v1.0/{service.client.project}/snapshots",
        signed_for_another,
        body.replace(b"first", b"other"),
    )
    assert_refused(answer, 401, "APIGW.0301")
    assert [snapshot["name"] for snapshot in service.list_snapshots()] == ["first"]


def test_headers_added_after_signing_and_an_unsigned_host_do_not_matter(service: Service) -> None:
    """Terraform adds the token after signing; Go signs no host."""
    answer = service.client.request(
        "GET", "/v1.0/{p}/snapshots", host_signed=False, unsigned={"X-Security-Token": "anything"}
    )
    assert answer.status == 200


def test_a_signed_body_may_end_with_a_line_break(service: Service) -> None:
    """Go's encoder ends it so, and signs what it sends; Python's SDK writes its charset in lower case."""
    body = b'{"snapshot": {"name": "by-go", "cluster_id": "%s"}}\n' % service.add_cluster().encode()
    for content_type, status in [
        ("application/json;charset=utf-8", 200),
        ("application/json;charset=UTF-8", 400),  # read, and refused because the name is taken
    ]:
        answer = service.client.request(
            "POST", "/v1.0/{p}/snapshots", raw=body, content_type=content_type, host_signed=False
        )
        assert answer.status == status, answer.raw


def test_the_same_signature_twice_in_a_second_is_no_replay(service: Service) -> None:
    headers = service.signed_headers("GET", "/v1.0/{p}/snapshots", b"")
    path = f"/v1.0/{service.client.project}/snapshots"
    assert [service.client.send("GET", path, headers).status for _ in range(2)] == [200, 200]


def test_a_key_acts_in_its_own_project_only(service: Service) -> None:
    answer = service.client.request("GET", f"/v1.0/{OTHER_PROJECT}/snapshots")
    assert_refused(answer, 403, "DWS.0015")


@pytest.mark.parametrize("project", ["%7Bproject_id%7D", "0A1B2C", "project"])
def test_a_project_that_was_never_filled_in_is_said_to_be_so(service: Service, project: str) -> None:
    answer = service.client.request("GET", f"/v1.0/{project}/snapshots")
    assert_refused(answer, 400, "DWS.0001")
    assert "{project_id}" in answer.json["error_msg"]


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/v1.0/{p}/snapshots", 2**16),
        ("/v1/{p}/snapshots/c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35/table-restore", 2**20),
    ],
)
def test_a_body_may_be_as_large_as_its_operation_needs_and_no_larger(
    service: Service, path: str, limit: int
) -> None:
    padding = b" " * limit
    fits = service.client.request("POST", path, raw=padding[: limit - 2] + b"{}")
    assert_refused(fits, 400, "DWS.0001")
    assert_refused(service.client.request("POST", path, raw=padding + b"x"), 413, "APIGW.0201")


def test_no_body_of_as_many_names_as_there_may_be_is_too_large() -> None:
    """A name has 63 bytes, and each may be written as an escape of six."""
    name = "\\u0061" * 63
    table = f'{{"schema_name": "{name}", "table_name": "{name}"}}, '
    assert 2 * MOST_TABLES * len(table) < OPERATIONS["RestoreTable"].largest_body
    assert 2 * MOST_TABLES * len(table) < OPERATIONS["CheckTableRestore"].largest_body
    assert 1000 * len(f'"{name}.{name}", ') < OPERATIONS["ValidateDbData"].largest_body


def test_a_chunked_body_is_counted(service: Service) -> None:
    body = b" " * (2**16 + 1)
    headers = service.signed_headers("POST", "/v1.0/{p}/snapshots", body)
    response = service.client.http.post(
        f"{service.endpoint}/v1.0/{service.client.project}/snapshots",
        headers=headers,
        content=(body[start : start + 2**12] for start in range(0, len(body), 2**12)),
    )
    assert (response.status_code, response.json()["error_code"]) == (413, "APIGW.0201")


def test_a_key_at_full_rate_is_told_429_and_another_project_is_served(service: Service) -> None:
    settings = service.control.settings.model_copy(update={"requests_per_second_per_key": 0.5})
    app = create_app(replace(service.control, settings=settings), is_shutting_down=lambda: False)
    with serving(app) as endpoint:
        greedy = replace(service.client, endpoint=endpoint)
        answers = [greedy.request("GET", "/v1.0/{p}/snapshots") for _ in range(20)]
        other = replace(service.client_of_other_project(), endpoint=endpoint)
        assert other.request("GET", "/v1.0/{p}/snapshots").status == 200
    assert answers[0].status == 200
    refused = next(answer for answer in answers if answer.status != 200)
    assert_refused(refused, 429, "APIGW.0308")
    assert int(refused.headers["retry-after"]) > 0


def test_what_is_asked_is_recorded_with_who_asked_and_the_answer_s_id(service: Service) -> None:
    body = {"snapshot": {"name": "nightly", "cluster_id": service.add_cluster()}}
    accepted = service.client.request("POST", "/v1.0/{p}/snapshots", body)
    refused = service.client.request("POST", "/v1.0/{p}/snapshots", body)  # the name is taken
    with service.control.database.reading() as reading:
        rows = reading.execute(
            text("SELECT access_key, request_id, outcome FROM sh_audit WHERE action = 'CreateSnapshot'")
        ).all()
    assert [tuple(row) for row in rows] == [
        (service.client.access_key, accepted.headers["x-request-id"], "accepted"),
        (service.client.access_key, refused.headers["x-request-id"], "name.taken"),
    ]


def test_a_uri_and_headers_have_their_limits(service: Service) -> None:
    path = f"/v1.0/{service.client.project}/snapshots"
    long = service.client.send("GET", path, {}, query={"limit": "1" * 2**15})
    assert_refused(long, 414, "APIGW.0201")
    assert_refused(service.client.send("GET", path, {"X-Long": "a" * 2**15}), 494, "APIGW.0201")
    many = {f"X-Many-{index}": "a" * 30_000 for index in range(5)}
    assert_refused(service.client.send("GET", path, many), 494, "APIGW.0201")


def test_a_client_that_polls_in_a_hurry_is_not_told_to_ask_less_often(service: Service) -> None:
    """Terraform gives up at a 429, so the rates that hold without settings must be out of its reach."""
    settings = Settings(data=service.data)
    app = create_app(replace(service.control, settings=settings), is_shutting_down=lambda: False)
    cluster_id = service.add_cluster()
    paths = [f"/v1.0/{{p}}/clusters/{cluster_id}", "/v1.0/{p}/clusters", "/v1.0/{p}/snapshots"]
    with serving(app) as endpoint:
        hurried = replace(service.client, endpoint=endpoint)
        answered = Counter(hurried.request("GET", paths[turn % 3]).status for turn in range(300))
    assert answered == {200: 300}


def test_a_client_that_hangs_up_while_sending_harms_nobody(service: Service) -> None:
    headers = service.signed_headers("POST", "/v1.0/{p}/snapshots", b"")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    address = urlsplit(service.endpoint)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            f"POST /v1.0/{service.client.project}/snapshots HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\n{{".encode()
        )
    assert service.client.request("GET", "/v1.0/{p}/snapshots").status == 200


def test_while_shutting_down_every_call_gets_503(service: Service) -> None:
    service.shutting_down.set()
    assert_refused(service.client.request("GET", "/v1.0/{p}/snapshots"), 503, "DWS.0005")
    assert_refused(service.client.send("GET", "/healthz", {}), 503, "DWS.0005")


def test_an_unusable_catalog_gets_503_and_no_word_of_the_inside(service: Service) -> None:
    service.break_catalog()
    answer = service.client.request("GET", "/v1.0/{p}/snapshots")
    assert_refused(answer, 503, "DWS.0005")
    assert "sqlite" not in answer.raw.decode().lower()


def test_a_bug_gets_500_and_no_word_of_the_inside_but_in_the_log(service: Service) -> None:
    service.plant_bug("secret inside")
    with capture_logs(processors=[merge_contextvars]) as lines:
        answer = service.client.request("GET", "/v1.0/{p}/snapshots")
        wait_until(lambda: any(line["event"] == "answered" for line in lines))
    assert_refused(answer, 500, "DWS.0005")
    assert answer.json["error_msg"] == "Server failure."
    bug = next(line for line in lines if line["event"] == "bug")
    assert (bug["request_id"], bug["operation"]) == (answer.json["request_id"], "ListSnapshots")
    assert bug["exc_info"]


def test_a_bug_in_the_gateway_itself_gets_500_with_a_request_id(service: Service) -> None:
    service.plant_bug_in_authentication()
    assert_refused(service.client.request("GET", "/v1.0/{p}/snapshots"), 500, "DWS.0005")
