"""The HTTP protocol of one connection, with a limit on everything that a sender can make the service wait for or keep.

uvicorn has a limit for idle connections alone. A connection here also ends when a head or a body does not arrive in
time, when an answer is not read, when a head grows without end, and when requests are sent far ahead of their answers.
"""

import asyncio
import json
import socket
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from stillhouse.api.gateway import errors
from stillhouse.api.gateway.limits import MAX_HEADERS, MAX_HEADERS_BYTES, MAX_URI_BYTES
from stillhouse.api.wire.crowd import Crowd
from stillhouse.domain import ids
from stillhouse.errors import InvalidInput, Overloaded, StillhouseError

# Of a head that has not come to its end. The gateway counts names and values, and names the limit that it refuses by;
# here their separators and the method count as well.
_MAX_HEAD_BYTES = MAX_URI_BYTES + MAX_HEADERS_BYTES + 4 * 2**10
# Sizes of chunks and trailers between two bytes of a body, and after the last.
_MAX_FRAMING_BYTES = 64 * 2**10
# Clients of this API wait for an answer before they ask again; some libraries send a few requests ahead.
_MOST_WAITING_REQUESTS = 16


@dataclass(frozen=True)
class Patience:
    """How long a connection may keep the service waiting, in seconds.

    As Apache's mod_reqtimeout does it, a body's time grows with the bytes that arrive, up to a longest time.
    """

    handshake: float = 10
    head: float = 20
    body: float = 20
    body_bytes_per_second: int = 2048
    longest_body: float = 300
    write: float = 30
    close: float = 10


PATIENCE = Patience()


class _Awaited(Enum):
    HEAD = "head"
    BODY = "body"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. The event loop calls its methods, as those of every `asyncio.Protocol`."""

    def __init__(
        self,
        crowd: Crowd,
        patience: Patience,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd, self._patience = crowd, patience
        self._address = ""
        self._is_admitted = False
        self._awaited: _Awaited | None = None
        self._since = 0.0
        self._arrived = 0  # bytes of the awaited head or body
        self._framing = 0  # bytes since the last one of a body
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = get_remote_addr(transport)
        self._address = peer[0] if peer else ""
        if not self._crowd.admit(self, self._address):
            transport.write(_refusal(Overloaded("there are too many connections", retry_after=5)))
            transport.close()
            return
        self._is_admitted = True
        _send_at_once(transport)
        super().connection_made(transport)
        self._await(_Awaited.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_admitted:
            return
        self._crowd.leave(self, self._address)
        self._await(None)
        for timer in (self._writing, self._closing, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        self._see_out()

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is under way."""
        return self.cycle is None or (self.cycle.response_complete and not self.pipeline)

    def give_way(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    # Reading

    def data_received(self, data: bytes) -> None:
        if not self._is_admitted or self.transport.is_closing():
            return
        self._framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._awaited is _Awaited.HEAD:
            self._arrived += len(data)
            if self._arrived > _MAX_HEAD_BYTES:
                self._refuse(errors.HeadersTooLarge("The request's head is too long."))
        elif self._awaited is _Awaited.BODY and self._framing > _MAX_FRAMING_BYTES:
            self._refuse(errors.HeadersTooLarge("The body's chunks or trailers are too long."))
        elif self._awaited is None and self.is_idle and self.timeout_keep_alive_task is None:
            self._await(_Awaited.HEAD)  # blank lines begin no request, but ended uvicorn's wait for one

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await(_Awaited.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, unless it is one too many or a trailer: that comes behind the body, where nobody signed it."""
        if self._awaited is _Awaited.HEAD and len(self.headers) <= MAX_HEADERS:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MOST_WAITING_REQUESTS:
            raise InvalidInput(
                "too many requests were sent ahead"
            )  # the parser's refusal ends the connection
        super().on_headers_complete()
        self._await(_Awaited.BODY)

    def on_body(self, body: bytes) -> None:
        self._arrived += len(body)
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._await(None)
        super().on_message_complete()

    def _await(self, awaited: _Awaited | None) -> None:
        """Begin to wait for a part of a request, or stop waiting."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._awaited, self._arrived, self._framing, self._since = awaited, 0, 0, self.loop.time()
        if awaited is not None:
            self._reading = self.loop.call_later(self._seconds_allowed(), self._look_at_progress)

    def _seconds_allowed(self) -> float:
        if self._awaited is _Awaited.HEAD:
            return self._patience.head
        grown = self._patience.body + self._arrived / self._patience.body_bytes_per_second
        return min(grown, self._patience.longest_body)

    def _look_at_progress(self) -> None:
        left = self._since + self._seconds_allowed() - self.loop.time()
        if self.flow.read_paused:  # we do not read at present, so the sender cannot go on
            self._since = self.loop.time()
            left = self._seconds_allowed()
        if left > 0:
            self._reading = self.loop.call_later(left, self._look_at_progress)
            return
        if self._awaited is _Awaited.HEAD and not self._arrived:  # there is no request to answer
            self.transport.close()
            self._see_out()
            return
        part = "head" if self._awaited is _Awaited.HEAD else "body"
        self._refuse(errors.RequestTooSlow(f"The request's {part} did not arrive in time."))

    # Writing

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self._patience.write, self.give_way)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._see_out()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._see_out()

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidInput(msg))

    def _refuse(self, error: StillhouseError) -> None:
        """Answer and close; close without an answer where another one is under way, or was given already."""
        is_answered = self._awaited is _Awaited.BODY and self.is_idle
        self._await(None)
        if is_answered or (not self.is_idle and (self.cycle.response_started or self.pipeline)):
            self.give_way()
            return
        if not self.is_idle:
            self.cycle.disconnected = True
        self.transport.write(_refusal(error))
        self.transport.close()
        self._see_out()

    def _see_out(self) -> None:
        """Cut the connection if its last bytes are not taken: closing waits for them without end."""
        if self.transport.is_closing() and self._closing is None:
            self._closing = self.loop.call_later(self._patience.close, self.give_way)


def _send_at_once(transport: asyncio.Transport) -> None:
    """Let the head of an answer and its body, which are written apart, leave without waiting for each other.

    asyncio asks for that only on sockets that name their protocol, and uvicorn's listening socket does not.
    """
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refusal(error: StillhouseError) -> bytes:
    """Return a whole answer that closes the connection, in the shape of the gateway's refusals."""
    request_id = ids.new_hex()
    status, body = errors.answer(error, "", request_id)
    content = json.dumps(body.model_dump()).encode()
    retry = f"retry-after: {error.retry_after}\r\n" if error.retry_after else ""
    head = (
        f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
        f"x-request-id: {request_id}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + content
