"""A balancer before several services: each connection goes to the next of them that takes it."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from support.networks.listening import accept_each

_CHUNK = 64 << 10


class Balancer:
    """`served` counts the connections of each target, by its port."""

    def __init__(self, listener: socket.socket, ports: Sequence[int]) -> None:
        self.port: int = listener.getsockname()[1]
        self.served = dict.fromkeys(ports, 0)
        self._listener, self._ports, self._turns = listener, list(ports), count()

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        accept_each(self._listener, self._serve)

    def _serve(self, client: socket.socket) -> None:
        with client:
            if (server := self._connected()) is None:
                return
            with server:
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    def _connected(self) -> socket.socket | None:
        first = next(self._turns)
        for number in range(len(self._ports)):
            port = self._ports[(first + number) % len(self._ports)]
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", port))
                self.served[port] += 1
                return server
        return None


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes until the source ends, and tell the target so."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def balancing(*ports: int) -> Iterator[Balancer]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        balancer = Balancer(listener, ports)
        threading.Thread(target=balancer.accept, daemon=True).start()
        yield balancer
        listener.shutdown(socket.SHUT_RDWR)
