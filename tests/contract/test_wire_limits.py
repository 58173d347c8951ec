"""A stranger's connection keeps the service waiting for no longer, and keeps no more of it, than its limits say."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from stillhouse.api.wire.crowd import Crowd
from stillhouse.api.wire.protocol import BoundedProtocol, Patience
from support.api.http_server import serving_http

SHORT = Patience(head=0.3, body=0.3, body_bytes_per_second=10**6, longest_body=1, write=0.3, close=0.3)
ANSWER = b"a" * 2**24
WHOLE = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
SECONDS = 30


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers `/large` with 16 MB at once, `/early` before the body is read, everything else after it."""
    while scope["path"] != "/early":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": ANSWER if scope["path"] == "/large" else b"ok"})


class Server:
    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self._server, self._port = server, port

    def connect(self, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), SECONDS, (source, 0))
        connection.sendall(sent)
        return connection

    def connections(self) -> list[BoundedProtocol]:
        return list(self._server.server_state.connections)  # type: ignore[arg-type]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{len(self.connections())} connections are there"
            time.sleep(0.01)


@contextmanager
def serving(crowd: Crowd, patience: Patience = SHORT) -> Iterator[Server]:
    with serving_http(app, crowd, patience) as (running, port):
        yield Server(running, port)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(Crowd(1000, 1000)) as server:
        yield server


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    answer = bytearray()
    with connection:
        try:
            while more := connection.recv(2**16):
                answer += more
        except ConnectionResetError:
            pass
    return bytes(answer)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def test_a_connection_that_asks_nothing_is_closed(server: Server) -> None:
    assert received(server.connect()) == b""


@pytest.mark.parametrize("half", [b"G", b"GET / HTTP/1.1\r\nHost: h\r\n", b"\r\n\r\n"])
def test_a_head_that_does_not_come_to_an_end_is_refused(server: Server, half: bytes) -> None:
    answer = received(server.connect(half))
    assert status(answer) == 408
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["error_code"] == told["errCode"] == "APIGW.0201" and len(told["request_id"]) == 32


def test_blank_lines_after_an_answer_do_not_keep_a_connection(server: Server) -> None:
    connection = server.connect(WHOLE)
    assert connection.recv(2**16).startswith(b"HTTP/1.1 200")
    connection.sendall(b"\r\n")
    received(connection)


def test_a_body_that_stops_is_refused(server: Server) -> None:
    answer = received(server.connect(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf"))
    assert status(answer) == 408


def test_a_trickling_body_is_refused_although_it_never_stops(server: Server) -> None:
    deadline = time.monotonic() + SECONDS
    with server.connect(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n") as connection:
        connection.settimeout(0.02)
        while time.monotonic() < deadline:
            try:
                connection.send(b"x")
                if connection.recv(2**16).startswith(b"HTTP/1.1 408"):
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("it is still served")


def test_a_body_that_comes_after_its_answer_keeps_nothing(server: Server) -> None:
    connection = server.connect(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
    assert status(received(connection)) == 200


def test_an_answer_that_is_not_read_ends_its_connection(server: Server) -> None:
    with server.connect(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n") as connection:
        assert connection.recv(1)
        server.until(lambda: not server.connections())


def test_an_answer_that_is_not_read_ends_its_connection_where_that_was_to_close(server: Server) -> None:
    with server.connect(b"GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n") as connection:
        assert connection.recv(1)
        server.until(lambda: not server.connections())


def test_a_head_without_end_is_refused_when_it_is_too_long() -> None:
    ten_megabytes = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(10_000))
    with (
        serving(Crowd(10, 10), Patience()) as patient,
        patient.connect(b"GET / HTTP/1.1\r\n") as connection,
        pytest.raises(ConnectionError),
    ):
        connection.sendall(ten_megabytes)


def test_requests_far_ahead_of_their_answers_are_refused(server: Server) -> None:
    assert received(server.connect(WHOLE * 5000)).count(b"HTTP/1.1 200") <= 17


def test_a_few_requests_ahead_are_answered_in_turn(server: Server) -> None:
    connection = server.connect(WHOLE * 8)
    answer = bytearray()
    while answer.count(b"HTTP/1.1 200") < 8:
        answer += connection.recv(2**16)
    connection.close()


def test_one_address_has_its_share_of_the_connections() -> None:
    with serving(Crowd(100, 5), Patience()) as bounded:
        held = [bounded.connect() for _ in range(5)]
        bounded.until(lambda: len(bounded.connections()) == 5)
        refused = received(bounded.connect())
        assert status(refused) == 503 and b"retry-after: " in refused
        elsewhere = bounded.connect(WHOLE, source="127.0.0.2")
        assert elsewhere.recv(2**16).startswith(b"HTTP/1.1 200")
        held.pop().close()
        bounded.until(lambda: len(bounded.connections()) == 5)  # four, and the one from elsewhere
        again = bounded.connect(WHOLE)
        assert again.recv(2**16).startswith(b"HTTP/1.1 200")
        for one in (*held, elsewhere, again):
            one.close()


def test_one_sender_of_many_connections_shuts_out_nobody() -> None:
    with serving(Crowd(10, 10), Patience()) as full:
        held = [full.connect() for _ in range(10)]
        full.until(lambda: len(full.connections()) == 10)
        elsewhere = full.connect(WHOLE, source="127.0.0.2")
        assert elsewhere.recv(2**16).startswith(b"HTTP/1.1 200")
        full.until(lambda: len(full.connections()) == 10)
        for one in (*held, elsewhere):
            one.close()


def test_hundreds_of_half_requests_leave_no_connection_behind(server: Server) -> None:
    held = [server.connect(b"GET / HTTP/1.1\r\nHost:") for _ in range(100)]
    server.until(lambda: not server.connections())
    for one in held:
        one.close()


class Held:
    """A connection that is only counted."""

    is_idle = True

    def give_way(self) -> None:
        pass


def test_an_ipv6_network_counts_as_one_sender() -> None:
    crowd = Crowd(100, 2)
    assert [crowd.admit(Held(), f"2001:db8::{number}") for number in range(1, 4)] == [True, True, False]
    assert crowd.admit(Held(), "2001:db8:0:1::1")


def test_those_who_have_no_more_than_others_are_not_made_room_for() -> None:
    crowd = Crowd(2, 2)
    assert crowd.admit(Held(), "10.0.0.1") and crowd.admit(Held(), "10.0.0.2")
    assert not crowd.admit(Held(), "10.0.0.3")
