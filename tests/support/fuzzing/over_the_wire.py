"""Bad requests over one TLS connection after another, byte by byte as they were drawn, to the server of `serve`."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from stillhouse.api.app import create_app
from stillhouse.api.wire.certificate import Certificate
from stillhouse.api.wire.crowd import Crowd
from stillhouse.api.wire.protocol import Patience
from support.api.application import Service
from support.api.http_server import serving_tls
from support.fuzzing.bad_requests import BadRequest
from support.servers.certificates import Authority

# A request may promise more than it sends: then the answer comes when the service's patience ends.
_PATIENCE = Patience(head=1, body=1, body_bytes_per_second=2**20, longest_body=5)
_SECONDS = 600  # a starved machine may take long: only what is never answered is a fault

Answered = tuple[int, dict[bytes, bytes], bytes]


class Wire:
    """A caller that keeps its connection for as long as the service does."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._connection: ssl.SSLSocket | None = None
        self.connections = self.dropped = 0

    async def send(self, request: BadRequest) -> Answered:
        """Return the answer: status, headers in lower case, body. A coroutine, as the sender in this process is one.

        As clients do, it asks anew when a connection that was kept ended meanwhile; a new one must be answered.
        """
        if self._connection is not None:
            try:
                return self._ask(self._connection, request)
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
                self.close()
                self.dropped += 1
        plain = socket.create_connection(("127.0.0.1", self._port), _SECONDS)
        self._connection = self._context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.connections += 1
        return self._ask(self._connection, request)

    def _ask(self, connection: ssl.SSLSocket, request: BadRequest) -> Answered:
        # A request may be refused before it was sent whole; then the answer tells why.
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            connection.sendall(_bytes_of(request))
        answer = http.client.HTTPResponse(connection, method=request.method)
        try:
            answer.begin()
        except (OSError, http.client.HTTPException) as error:
            error.add_note(f"the request: {_bytes_of(request)[:2000]!r}")
            raise
        body = answer.read()
        if answer.will_close:
            self.close()
        headers = {name.lower().encode(): value.encode("latin-1") for name, value in answer.getheaders()}
        return answer.status, headers, body

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _bytes_of(request: BadRequest) -> bytes:
    """Write the request down. A body without a length is sent in chunks, as HTTP has it."""
    target = request.path + (b"?" + request.query if request.query else b"")
    lines = [request.method.encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in request.headers]
    lines.append(b"x-forwarded-for: " + request.address.encode())
    is_chunked = not any(name == b"content-length" for name, _ in request.headers)
    if is_chunked:
        lines.append(b"transfer-encoding: chunked")
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if not is_chunked:
        return head + b"".join(request.chunks)
    chunks = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in request.chunks if chunk]
    return head + b"".join(chunks) + b"0\r\n\r\n"


@contextmanager
def wired(service: Service, directory: Path) -> Iterator[Wire]:
    """A caller over TLS; the service believes the address that each request names."""
    settings = service.control.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    control = replace(service.control, settings=settings)
    app = create_app(control, is_shutting_down=service.shutting_down.is_set)
    authority = Authority(directory)
    certificate = Certificate(*authority.issue())
    with serving_tls(app, certificate, Crowd(100, 100), _PATIENCE) as port:
        wire = Wire(port, authority.trusted())
        yield wire
        wire.close()
