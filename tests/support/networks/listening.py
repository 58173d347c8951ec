"""Connections to a listener, each in a thread of its own."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


def accept_each(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Take connections until the listener is closed."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()
