"""The connection of the commands to a service: kept, and opened anew where the service has closed it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from stillhouse.cli.service.connection import Connection
from stillhouse.errors import InvalidInput, ServiceUnreachable

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: seven\r\n\r\n{}"


@contextmanager
def listening(answers: list[list[bytes]]) -> Iterator[tuple[int, threading.Semaphore]]:
    """Serve a connection after the other: each gives its answers, and is closed then, which is told each time."""
    closed = threading.Semaphore(0)
    with closing(socket.create_server(("127.0.0.1", 0))) as door:

        def serve() -> None:
            for one in answers:
                peer, _ = door.accept()
                with closing(peer):
                    for answer in one:
                        peer.recv(65536)
                        peer.sendall(answer)
                closed.release()

        threading.Thread(target=serve, daemon=True).start()
        yield door.getsockname()[1], closed


def test_a_connection_is_kept_and_one_that_the_service_has_closed_is_opened_anew() -> None:
    with (
        listening([[ANSWER, ANSWER], [ANSWER]]) as (port, closed),
        closing(Connection(f"http://127.0.0.1:{port}", None, 60)) as connection,
    ):
        for _ in range(2):
            assert connection.send("GET", "/", {}, b"").request_id == "seven"
        assert closed.acquire(timeout=60)
        assert connection.send("GET", "/", {}, b"").content == b"{}"


def test_a_service_that_ends_in_an_answer_is_told() -> None:
    with listening([[ANSWER[:-1]], [b""]]) as (port, _):
        for said, hint in (("IncompleteRead", "stillhouse serve"), ("without response", "https://")):
            with closing(Connection(f"http://127.0.0.1:{port}", None, 60)) as connection:
                with pytest.raises(ServiceUnreachable, match=said) as told:
                    connection.send("GET", "/", {}, b"")
                assert hint in told.value.hint


def test_a_service_that_says_nothing_is_not_waited_for() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as door,
        closing(Connection(f"http://127.0.0.1:{door.getsockname()[1]}", None, 0.01)) as connection,
        pytest.raises(ServiceUnreachable, match="timed out"),
    ):
        connection.send("GET", "/", {}, b"")


@pytest.mark.parametrize("address", ["http://127.0.0.1:http", "http://127.0.0.1:99999", "http://[::1"])
def test_an_address_with_a_port_or_host_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="is no address of a service"):
        Connection(address, None, 60)


def test_the_host_is_named_as_it_is_signed() -> None:
    connection = Connection("http://somebody@[::1]:8080/behind/a/proxy", None, 60)
    assert (connection.host, connection.prefix) == ("[::1]:8080", "/behind/a/proxy")
