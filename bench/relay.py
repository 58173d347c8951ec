"""A relay to a server that counts the bytes of each connection, by the name that the server is given by it."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

WAL = "stream of WAL"
_AT_ONCE = 1 << 18


class Relay:
    """`counted` are the bytes in both directions, by the name of the application."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.counted: Counter[str] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(self._target)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = client.recv(_AT_ONCE)
            name = _application(first)
            self._count(name, len(first))
            server.sendall(first)
            back = threading.Thread(target=self._carry, args=(name, server, client), daemon=True)
            back.start()
            self._carry(name, client, server)
            back.join()

    def _carry(self, name: str, from_: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while content := from_.recv(_AT_ONCE):
                self._count(name, len(content))
                to.sendall(content)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self.counted[name] += number


def _application(startup: bytes) -> str:
    """Read the name of the application, or that it is a stream of WAL, from the message that begins a connection.

    "StartupMessage" in PostgreSQL's manual.
    """
    (length,) = struct.unpack_from("!I", startup)
    words = startup[8:length].split(b"\0")
    given = dict(zip(words[::2], words[1::2], strict=False))
    if b"replication" in given:
        return WAL
    return given.get(b"application_name", b"").decode() or "without a name"


@contextmanager
def relay_to(host: str, port: int) -> Iterator[Relay]:
    relay = Relay(host, port)
    try:
        yield relay
    finally:
        relay.close()
