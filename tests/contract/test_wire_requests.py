"""Requests in unusual forms, over a real socket to the real service: each is answered, or refused, as HTTP says."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from stillhouse.api.app import create_app
from stillhouse.api.gateway.limits import MAX_HEADERS
from stillhouse.api.wire.crowd import Crowd
from support.api.application import PROJECT, Service, serving_service
from support.api.http_server import serving_http

PATH = f"/v1.0/{PROJECT}/snapshots"
LOGIN = b"/v3/auth/tokens"
SECONDS = 30


@dataclass
class Wire:
    service: Service
    port: int

    def ask(self, sent: bytes, *more: bytes) -> list[tuple[int, bytes]]:
        """Send it, read until the connection ends; the statuses and bodies of the answers."""
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as connection:
            got = b""
            try:
                for part in (sent, *more):
                    connection.sendall(part)
                while read := connection.recv(2**16):
                    got += read
            except ConnectionError:
                pass
        return [(int(one[:3]), one.partition(b"\r\n\r\n")[2]) for one in re.split(rb"HTTP/1\.[01] ", got)[1:]]

    def head(self, method: str = "GET", path: str = PATH, body: bytes = b"") -> list[bytes]:
        signed = self.service.signed_headers(method, path.replace(PROJECT, "{p}"), body)
        return [f"{name}: {value}".encode() for name, value in signed.items()]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with serving_service(tmp_path_factory.mktemp("wire")) as service:
        app = create_app(service.control, is_shutting_down=lambda: False)
        with serving_http(app, Crowd(1000, 1000)) as (_, port):
            yield Wire(service, port)


def lines(*parts: bytes) -> bytes:
    return b"\r\n".join(parts) + b"\r\n\r\n"


CLOSE = b"Connection: close"


def test_http_1_0_and_an_absolute_uri_are_answered(wire: Wire) -> None:
    assert [status for status, _ in wire.ask(lines(b"GET /healthz HTTP/1.0"))] == [200]
    absolute = b"GET http://service.example/healthz HTTP/1.1"
    assert [status for status, _ in wire.ask(lines(absolute, b"Host: service.example", CLOSE))] == [200]


@pytest.mark.parametrize(
    "sent",
    [
        lines(b"GET /healthz HTTP/1.1", b"Host: h", b"Content-Length: 1", b"Content-Length: 2") + b"ab",
        lines(b"POST /healthz HTTP/1.1", b"Host: h", b"Content-Length: 5", b"Transfer-Encoding: chunked")
        + b"0\r\n\r\n",
        lines(b"GET /healthz HTTP/1.1", b"Host: h", b"Content-Length: -1"),
        lines(b"GET /healthz HTTP/1.1", b"Host: h", b"Content-Length: 99999999999999999999999"),
        lines(b"GET /healthz HTTP/1.1", b"Host : h"),
        lines(b"GET /healthz HTTP/1.1", b"Host: h", b" folded: line", CLOSE),
        lines(b"POST /healthz HTTP/1.1", b"Host: h", b"Transfer-Encoding: chunked, gzip", CLOSE),
        lines(b"POST /v3/auth/tokens HTTP/1.1", b"Host: h", b"Transfer-Encoding: chunked", CLOSE)
        + b"zz\r\n\r\n",
        lines(b"PRI * HTTP/2.0") + b"SM\r\n\r\n",
        lines(b"CONNECT other.example:443 HTTP/1.1", b"Host: other.example:443", CLOSE),
        lines(b"OPTIONS * HTTP/1.1", b"Host: h", CLOSE),
        lines(b"GET /health\x00z HTTP/1.1", b"Host: h", CLOSE),
        b"GET /healthz HTTP/1.1\nHost: h\nConnection: close\n\n",
    ],
)
def test_a_request_of_doubtful_meaning_is_refused_once(wire: Wire, sent: bytes) -> None:
    answers = wire.ask(sent)
    assert len(answers) == 1
    ((status, body),) = answers
    assert 400 <= status < 500
    assert json.loads(body)["error_code"]


def test_a_signed_request_with_two_hosts_is_refused(wire: Wire) -> None:
    head = wire.head()
    twice = lines(f"GET {PATH} HTTP/1.1".encode(), *head, b"Host: other.example", CLOSE)
    assert [status for status, _ in wire.ask(twice)] == [401]
    assert [status for status, _ in wire.ask(lines(f"GET {PATH} HTTP/1.1".encode(), *head, CLOSE))] == [200]


def test_more_headers_than_any_client_sends_are_refused_and_not_kept(wire: Wire) -> None:
    many = [b"a:" for _ in range(30_000)]
    ((status, body),) = wire.ask(lines(b"GET /healthz HTTP/1.1", b"Host: h", *many, CLOSE))
    assert (status, json.loads(body)["error_code"]) == (494, "APIGW.0201")
    some = [b"a: b" for _ in range(MAX_HEADERS - 2)]
    assert [status for status, _ in wire.ask(lines(b"GET /healthz HTTP/1.1", b"Host: h", CLOSE, *some))] == [
        200
    ]


def test_trailers_are_no_headers(wire: Wire) -> None:
    """A header that comes behind the body was signed by nobody, and no proxy has looked at it."""
    body = json.dumps({"snapshot_name": "free"}).encode()
    head = wire.head("POST", PATH, body)
    chunked = b"%x\r\n%s\r\n0\r\nX-Security-Token: abc\r\nHost: other.example\r\n\r\n" % (len(body), body)
    sent = lines(f"POST {PATH} HTTP/1.1".encode(), *head, b"Transfer-Encoding: chunked", CLOSE) + chunked
    ((status, _),) = wire.ask(sent)
    assert status == 400, "the body lacks its snapshot; a second Host would have been a 401"


def test_trailers_without_end_are_refused_and_take_no_memory(wire: Wire) -> None:
    begun = psutil.Process().memory_info().rss
    head = lines(b"POST %s HTTP/1.1" % LOGIN, b"Host: h", b"Transfer-Encoding: chunked")
    flood = [b"X-A: " + b"a" * 2**16 + b"\r\n"] * 1000
    answers = wire.ask(head, b"1\r\n{\r\n0\r\n", *flood)
    assert [status for status, _ in answers] in ([494], [])
    assert psutil.Process().memory_info().rss - begun < 40 * 2**20


def test_one_trailer_without_end_is_refused(wire: Wire) -> None:
    head = lines(b"POST %s HTTP/1.1" % LOGIN, b"Host: h", b"Transfer-Encoding: chunked")
    answers = wire.ask(head, b"1\r\n{\r\n0\r\nX-A: ", *[b"a" * 2**16] * 1000)
    assert [status for status, _ in answers] in ([494], [])


def test_a_client_that_waits_to_be_told_to_go_on_is_told_so(wire: Wire) -> None:
    body = b'{"auth": 1}'
    head = lines(
        b"POST %s HTTP/1.1" % LOGIN,
        b"Host: h",
        b"Content-Length: %d" % len(body),
        b"Expect: 100-continue",
        CLOSE,
    )
    with socket.create_connection(("127.0.0.1", wire.port), SECONDS) as connection:
        connection.sendall(head)
        assert connection.recv(2**16).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(2**16).startswith(b"HTTP/1.1 400")


def test_a_stranger_who_waits_to_go_on_is_refused_before_the_body(wire: Wire) -> None:
    head = lines(
        b"POST %s HTTP/1.1" % PATH.encode(), b"Host: h", b"Content-Length: 60000", b"Expect: 100-continue"
    )
    with socket.create_connection(("127.0.0.1", wire.port), SECONDS) as connection:
        connection.sendall(head)
        assert connection.recv(2**16).startswith(b"HTTP/1.1 401")


def test_an_upgrade_is_ignored(wire: Wire) -> None:
    asked = lines(
        b"GET /healthz HTTP/1.1",
        b"Host: h",
        b"Connection: Upgrade, close",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
    )
    assert [status for status, _ in wire.ask(asked)] == [200]


def test_a_password_of_10_kb_is_refused_before_it_is_hashed(wire: Wire) -> None:
    user = {"name": "nobody", "password": "p" * 10_240, "domain": {"name": PROJECT}}
    body = json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}).encode()
    sent = lines(
        b"POST %s HTTP/1.1" % LOGIN,
        b"Host: h",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        CLOSE,
    )
    assert [status for status, _ in wire.ask(sent + body)] == [400]
