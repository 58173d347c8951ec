"""Bad requests against the whole application in this process: every answer is judged, and memory is watched.

`make fuzz-api` sends 100,000, with `TLS=1` over the wire; the suite some 1,500 of a fresh seed, and 500 over the wire.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import structlog
from sqlalchemy import text
from starlette.types import ASGIApp, Message

from stillhouse import log
from stillhouse.api.gateway.errors import ErrorBody
from stillhouse.catalog import clusters, operations
from stillhouse.domain.cluster import ClusterStatus
from support.api.application import PROJECT, Service, app_of, serving_service
from support.fuzzing.bad_requests import BadRequest, Generator, Known
from support.fuzzing.over_the_wire import wired

OVERLOADED = 503
# What would tell a caller of the inside of the service.
_INSIDE = (b"Traceback", b'File "', b"site-packages", b".py", b"sqlalchemy", b"sqlite", b"/src/")
Send = Callable[[BadRequest], Awaitable[tuple[int, dict[bytes, bytes], bytes]]]
"""Sends a request and returns status, headers and body."""

_KEYS = set(ErrorBody.model_fields)
# Past this many the caches of the interpreter and the libraries are warm.
_WARM = 10_000


class Judgement(AssertionError):
    """An answer that should not have been given, with the request that brought it about."""


def judge(request: BadRequest, status: int, headers: dict[bytes, bytes], body: bytes, data: Path) -> None:
    def must(holds: bool, what: str) -> None:
        if not holds:
            raise Judgement(f"{what}\n{request}\n{status} {headers!r} {body[:2000]!r}")

    must(status < 500 or status == OVERLOADED, "a failure of the server")
    must(len(headers.get(b"x-request-id", b"")) == 32, "no request id")
    if request.method == "HEAD" and not body:
        return
    must(headers.get(b"content-type", b"").startswith(b"application/json"), "not JSON")
    document = json.loads(body)
    must(str(data).encode() not in body, "the data directory is named")
    if status < 400:
        must(isinstance(document, dict), "not an object")
        return
    must(not any(word in body for word in _INSIDE), "a word of the inside")
    must(document.keys() == _KEYS, "not the shape of an error")
    must(all(isinstance(value, str) and value for value in document.values()), "an empty word")
    must(document["request_id"].encode() == headers[b"x-request-id"], "another request id in the body")
    must(document["error_code"] == document["errCode"], "two codes")


async def send_to(app: ASGIApp, request: BadRequest) -> tuple[int, dict[bytes, bytes], bytes]:
    """As uvicorn would hand it over."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.path.decode("latin-1")),
        "raw_path": request.path,
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": (request.address, 1),
        "server": ("127.0.0.1", 80),
    }
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": more}
        for chunk, more in zip(request.chunks, [True] * (len(request.chunks) - 1) + [False], strict=True)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def take(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, take)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


@contextmanager
def prepared(data: Path) -> Iterator[tuple[Service, ASGIApp, Known]]:
    """A service with something in it to be found: clusters, one of them stopped, and a snapshot."""
    with serving_service(data) as service, _quiet():
        cluster, stopped = service.add_cluster(), service.add_cluster()
        snapshot = service.take_snapshot(cluster, "fuzzed-one", plain_bytes=5 * 2**20)
        stopped_snapshot = service.take_snapshot(stopped, "fuzzed-two", plain_bytes=5 * 2**20)
        with service.control.database.transaction() as transaction:
            clusters.set_stopped(transaction, stopped, True, service.control.clock.now())
        client = service.client
        known = Known(
            PROJECT, client.access_key, client.secret_key, cluster, stopped, snapshot, stopped_snapshot
        )
        yield service, app_of(service), known


@contextmanager
def _quiet() -> Iterator[None]:
    """Log next to nothing meanwhile: each refusal would be a line."""
    before = structlog.get_config()
    log.configure("CRITICAL")
    try:
        yield
    finally:
        structlog.configure(**before)


def restore_order(service: Service, known: Known) -> None:
    """Undo what an accidentally good request has begun, so that the next ones find something again."""
    now = service.control.clock.now()
    with service.control.database.transaction() as transaction:
        for cluster in clusters.list_clusters(transaction, known.project):
            operation = operations.active(transaction, cluster.id)
            if operation is not None:
                clusters.end_operation(transaction, operation.id, now, ClusterStatus.AVAILABLE)
        transaction.execute(
            text("UPDATE sh_snapshots SET deleted = NULL WHERE id = :id"), {"id": known.snapshot}
        )


async def run(
    service: Service, send: Send, known: Known, data: Path, seed: int, number: int, *, tell: bool = False
) -> Counter[Any]:
    """Send `number` requests of `seed`; how often each status was answered, by operation."""
    draw, seen, memory = Generator(seed, known), Counter[Any](), 0
    begun = time.monotonic()
    for count in range(1, number + 1):
        request = draw()
        status, headers, body = await send(request)
        judge(request, status, headers, body, data)
        seen[request.operation, status] += 1
        if status < 300 and request.method in ("POST", "DELETE"):
            restore_order(service, known)
        if count == max(_WARM, number // 2):  # until then connections fill their caches, which are bounded
            memory = resident_kb()
        if tell and count % _WARM == 0:
            rate = count / (time.monotonic() - begun)
            sys.stdout.write(f"{count} requests, {rate:.0f}/s, {resident_kb()} KB resident\n")
    if number > 2 * _WARM:
        grown = resident_kb() - memory
        assert grown < 20_000, f"memory grew by {grown} KB over the second half of {number} requests"
    return seen


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def main() -> int:
    parser = argparse.ArgumentParser(description="Send bad requests to the API.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--tls", action="store_true", help="over the wire, instead of in this process")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        prepared(Path(folder)) as (service, app, known),
        wired(service, Path(folder)) as wire,
    ):
        send = wire.send if arguments.tls else partial(send_to, app)
        seen = asyncio.run(
            run(service, send, known, Path(folder), arguments.seed, arguments.requests, tell=True)
        )
        if arguments.tls:
            sys.stdout.write(
                f"{wire.connections} connections by TLS, {wire.dropped} of them were closed in between\n"
            )
    statuses = Counter[int]()
    for (_, status), times in seen.items():
        statuses[status] += times
    sys.stdout.write(f"statuses: {dict(sorted(statuses.items()))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
