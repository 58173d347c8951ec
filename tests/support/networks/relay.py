"""A relay before a server, on the server's host, that slows down and resets the connections through it."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.networks.listening import accept_each
from support.networks.namespaces import Host

_CHUNK = 64 << 10
_LOOK_SECONDS = 0.2
_AT_ONCE = struct.pack("ii", 1, 0)  # close() sends a reset (SO_LINGER in socket(7))


class Relay:
    """`rate` is the bytes per second that all its connections share. `None` is as fast as it can."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self.rate: int | None = None
        self._listener, self._target = listener, target
        self._links: set[_Link] = set()
        self._turn = threading.Lock()

    def reset(self) -> int:
        """Reset all connections, as a firewall does that has forgotten them. Return how many there were."""
        links = [*self._links]
        for link in links:
            link.is_reset = True
            link.ended.set()
        return len(links)

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        accept_each(self._listener, self._serve)

    def _serve(self, client: socket.socket) -> None:
        link = _Link()
        with client, socket.socket() as server:
            try:
                server.connect(self._target)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                return
            self._links.add(link)
            for one in (client, server):
                one.settimeout(_LOOK_SECONDS)
            back = threading.Thread(target=self._pump, args=(link, server, client), daemon=True)
            back.start()
            self._pump(link, client, server)
            back.join()
            self._links.discard(link)
            if link.is_reset:
                for one in (client, server):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def _pump(self, link: "_Link", source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while not link.ended.is_set():
                try:
                    content = memoryview(source.recv(_CHUNK))
                except TimeoutError:
                    continue
                if not content:
                    break
                self._take_time(len(content))
                while content and not link.ended.is_set():
                    with suppress(TimeoutError):
                        content = content[sink.send(content) :]
        link.ended.set()

    def _take_time(self, length: int) -> None:
        if self.rate is not None:
            with self._turn:
                if (rate := self.rate) is not None:  # it may have been lifted while others had their turn
                    time.sleep(length / rate)


class _Link:
    def __init__(self) -> None:
        self.ended = threading.Event()
        self.is_reset = False


@contextmanager
def relaying(host: Host, port: int, target: tuple[str, int]) -> Iterator[Relay]:
    """A relay at this port of the host. Its target is on the same host."""
    with host.entered():
        listener = socket.create_server((host.address, port))
        relay = Relay(listener, target)
        thread = threading.Thread(target=relay.accept, daemon=True)
        thread.start()
    try:
        yield relay
    finally:
        relay.reset()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
