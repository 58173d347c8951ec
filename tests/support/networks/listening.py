"""Servers of tests: connections to a listener, each in a thread of its own, and HTTP servers beside the test."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseServer
from typing import TypeVar

Server = TypeVar("Server", bound=BaseServer)


def accept_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Take connections until the listener is closed."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()


@contextmanager
def answering(server: Server) -> Iterator[Server]:
    """Let the server answer in a thread, until the end; then it is closed."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
