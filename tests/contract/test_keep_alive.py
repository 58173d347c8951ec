"""A connection stays open between two polls of a client: the server as `stillhouse serve` configures it."""

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.responses import JSONResponse

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
