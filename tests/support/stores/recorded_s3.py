"""An S3 endpoint that gives recorded answers, one after the other: for servers that cannot be had here, as MinIO."""

import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.networks.listening import answering


@dataclass(frozen=True)
class Answer:
    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, **headers: str) -> Answer:
    """As S3 words an error; MinIO's has the same elements, and for some a `Retry-After`."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/xml", **named})


def stored(content: str = "") -> Answer:
    """An object read, or written: both have an ETag; a read also tells when it was written."""
    return Answer(200, content, {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})


class RecordedS3(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._scheme = "http"
        self.answers: list[Answer] = []
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []  # of each request, by their names in small letters

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server_port}"

    def serve_tls(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._scheme = "https"

    def give(self, *answers: Answer) -> None:
        """The answers to come; the last is given again and again."""
        self.answers, self.asked, self.headers = list(answers), [], []


class _Handler(BaseHTTPRequestHandler):
    server: RecordedS3
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        body = b"" if answer.status in (204, 304) else answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":  # which declares the length of a body that does not follow
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def recorded_s3() -> AbstractContextManager[RecordedS3]:
    return answering(RecordedS3())
