"""An HTTP proxy before a real S3 server that fails requests in a chosen way, while it is told to."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Literal

Fault = Literal["none", "reply lost", "503", "cut short", "range ignored"]


class FaultyProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target_port = target_port
        self.fault: Fault = "none"
        self.times = 0
        self.faults = 0
        self._moment: tuple[str, str, Callable[[], None]] | None = None
        self._lock = Lock()
        self.reached = Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fail(self, fault: Fault, times: int = 10**9) -> None:
        self.fault, self.times, self.faults = fault, times, 0

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
        if self.faults >= self.times:
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
        if fault == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
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

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def faulty_proxy(target_port: int) -> Iterator[FaultyProxy]:
    with FaultyProxy(target_port) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
