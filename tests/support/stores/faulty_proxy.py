"""An HTTP proxy before a real S3 server that fails requests in a chosen way, while it is told to."""

import http.client
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock
from typing import Literal

from support.networks.listening import answering

Fault = Literal["none", "reply lost", "503", "slow down", "reset", "slow", "cut short", "range ignored"]

_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>'
_SLOW_SECONDS = 0.5


class FaultyProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target_port = target_port
        self.fault: Fault = "none"
        self.times, self.share = 0, 1.0
        self.faults = 0
        self._moment: tuple[str, str, Callable[[], None]] | None = None
        self._lock = Lock()
        self.reached = Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, fault: Fault, times: int = 10**9, share: float = 1.0) -> None:
        """Fail so many requests from now on: each, or a share of them by chance."""
        self.fault, self.times, self.share, self.faults = fault, times, share, 0

    def at(self, method: str, part: str, act: Callable[[], None]) -> None:
        """Act once, before the first request is passed on that is of this method and has `part` in its path."""
        self.reached.clear()
        self._moment = method, part, act

    def note(self, method: str, path: str) -> None:
        with self._lock:
            moment = self._moment
            if moment is None or method != moment[0] or moment[1] not in path:
                return
            self._moment = None
            moment[2]()
        self.reached.set()

    def next_fault(self) -> Fault:
        with self._lock:
            if self.faults >= self.times or random.random() > self.share:
                return "none"
            self.faults += 1
            return self.fault


class _Handler(BaseHTTPRequestHandler):
    server: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.note(self.command, self.path)
        fault = self.server.next_fault()
        if fault in ("503", "slow down"):
            self._refuse(_SLOW_DOWN if fault == "slow down" else b"")
            return
        if fault == "reset":
            # With no time to linger, the kernel answers what comes with a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if fault == "slow":
            time.sleep(_SLOW_SECONDS)
        headers = dict(self.headers.items())
        if fault == "range ignored":
            headers = {name: value for name, value in headers.items() if name.lower() != "range"}
        # How long a silence is borne is the client's to say.
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target_port, timeout=600)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # as the server does that is away
            return
        finally:
            upstream.close()
        if fault == "reply lost":
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if fault == "cut short":
            content = content[: len(content) // 2]
            self.close_connection = True
        with suppress(OSError):  # the client has given up
            self.wfile.write(content)

    def _refuse(self, body: bytes) -> None:
        self.send_response(503)
        if body:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def faulty_proxy(target_port: int) -> AbstractContextManager[FaultyProxy]:
    return answering(FaultyProxy(target_port))
