"""Connections to the server as `stillhouse serve` configures it: kept between two polls, and taken all at once."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from stillhouse.api.wire.crowd import Crowd
from support.api.http_server import serving_http

# The longest pause between two polls of a vendor's client (Terraform), in seconds.
_LONGEST_PAUSE = 30


@pytest.fixture
def server() -> Iterator[tuple[uvicorn.Server, int]]:
    with serving_http(JSONResponse({"status": "ok"}), Crowd(10, 10)) as served:
        yield served


def _seconds_left(running: uvicorn.Server) -> float:
    """How long the server means to keep its one connection, once its answer is out."""
    protocol: Any
    (protocol,) = running.server_state.connections
    deadline = time.monotonic() + 30
    while protocol.timeout_keep_alive_task is None:
        assert time.monotonic() < deadline, "the connection was not left idle"
        time.sleep(0.01)
    left: float = protocol.timeout_keep_alive_task.when() - protocol.loop.time()
    return left


def test_a_connection_outlives_the_pause_between_two_polls(server: tuple[uvicorn.Server, int]) -> None:
    """The time at which the server means to close it is looked at, not waited for."""
    running, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/first")
    connection.getresponse().read()
    kept = connection.sock
    assert _seconds_left(running) > _LONGEST_PAUSE
    connection.request("GET", "/second")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    assert connection.sock is kept
    connection.close()


def test_all_callers_that_have_come_are_begun_within_a_few_rounds_of_the_event_loop() -> None:
    """A loop that accepts one connection in a round lets new callers wait behind everybody else's answers."""
    count, rounds, all_sent = 100, 20, threading.Event()
    begun, begun_at_first_answer = [0], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun[0] += 1
        all_sent.wait(30)  # holds the event loop, as a busy service does
        for _ in range(rounds):
            await asyncio.sleep(0)
        begun_at_first_answer.append(begun[0])
        await JSONResponse({})(scope, receive, send)

    with serving_http(app, Crowd(200, 200)) as (_, port):
        callers = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(count)]
        for caller in callers:
            caller.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        all_sent.set()
        for caller in callers:
            assert caller.recv(1000).startswith(b"HTTP/1.1 200")
            caller.close()
    assert begun_at_first_answer[0] == count


def test_the_parts_of_an_answer_do_not_wait_for_each_other(server: tuple[uvicorn.Server, int]) -> None:
    """Without TCP_NODELAY the body leaves when the head is acknowledged, which may take 40 ms."""
    running, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    connection.getresponse().read()
    protocol: Any
    (protocol,) = running.server_state.connections
    accepted = protocol.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.close()
