"""The TLS handshake of one connection, which counts as a connection from its first byte and ends in bounded time.

A server that is given an `ssl` context by asyncio hears of a connection only after its handshake. `loop.start_tls`
needs a connection that reads nothing before, and uvloop begins to read in any case. So the handshake is made by the
protocol that asyncio itself puts between a connection and its user.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.utils import get_remote_addr

from stillhouse.api.wire.crowd import Crowd


class Handshake(asyncio.Protocol):
    """One connection until its handshake is done; then `make` gives the protocol that takes it over."""

    def __init__(
        self, context: ssl.SSLContext, crowd: Crowd, seconds: float, make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._context, self._crowd, self._seconds, self._make = context, crowd, seconds, make
        self._address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast(asyncio.Transport, transport)
        peer = get_remote_addr(self._plain)
        self._address = peer[0] if peer else ""
        if not self._crowd.admit(self, self._address):  # without a handshake there is no way to say why
            self._plain.abort()
            return
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        ended.add_done_callback(self._ended)
        between = SSLProtocol(
            loop,
            _Secured(self._take_over),
            self._context,
            ended,
            server_side=True,
            ssl_handshake_timeout=self._seconds,  # type: ignore[arg-type]  # call_later takes it
            ssl_shutdown_timeout=self._seconds,
        )
        self._plain.set_protocol(between)
        between.connection_made(self._plain)

    @property
    def is_idle(self) -> bool:
        """Tell that no request is under way."""
        return True

    def give_way(self) -> None:
        """Close the connection at once."""
        self._plain.abort()

    def _take_over(self, secured: asyncio.Transport) -> None:
        self._crowd.leave(self, self._address)  # its successor is counted in its place
        successor = self._make()
        secured.set_protocol(successor)
        successor.connection_made(secured)

    def _ended(self, ended: asyncio.Future[None]) -> None:
        """Count out a handshake that failed: the peer spoke no TLS, went away or was too slow."""
        ended.exception()
        self._crowd.leave(self, self._address)


class _Secured(asyncio.Protocol):
    """Hears of the end of the handshake, before anything is read."""

    def __init__(self, take_over: Callable[[asyncio.Transport], None]) -> None:
        self._take_over = take_over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._take_over(cast(asyncio.Transport, transport))
