"""A machine's and a container's metadata service, which hand out keys of a role as Amazon documents them.

Each answer has new keys: `K1`, `K2` and so on. They end so soon after that a client must ask again.
"""

import json
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.networks.listening import answering

_ROLE = "/latest/meta-data/iam/security-credentials/"
CONTAINER = "/container"


class MetadataService(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, good_for: timedelta) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.good_for, self.given, self.is_away = good_for, 0, False
        self.tokens: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def keys(self) -> bytes:
        self.given += 1
        return json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "LastUpdated": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "AccessKeyId": f"K{self.given}",
                "SecretAccessKey": "secret",
                "Token": f"token-{self.given}",
                "Expiration": f"{datetime.now(UTC) + self.good_for:%Y-%m-%dT%H:%M:%SZ}",
            }
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    server: MetadataService
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.server.tokens.append(self.headers.get("Authorization", ""))
        status, body = 200, b""
        if self.server.is_away:
            status = 503
        elif self.path == "/latest/api/token":
            body = b"session"
        elif self.path.rstrip("/") == _ROLE.rstrip("/"):
            body = b"backup"
        elif self.path in (f"{_ROLE}backup", CONTAINER):
            body = self.server.keys()
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def metadata_service(good_for: timedelta) -> AbstractContextManager[MetadataService]:
    return answering(MetadataService(good_for))
