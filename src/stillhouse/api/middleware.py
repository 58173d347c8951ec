"""The gateway in front of the routes: request ids, limits, signatures, and every refusal's answer.

It stands outside the framework, so what it promises holds for every answer: `X-Request-Id` is on all
of them, and no byte of a body is parsed before the signature over it is verified. As on the cloud's
gateway, an API that does not exist is said to be so before anyone is asked who they are.
"""

import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stillhouse import log
from stillhouse.api import errors, signature
from stillhouse.control import access_keys
from stillhouse.control.context import Caller, Control
from stillhouse.domain import ids
from stillhouse.errors import (
    ApiUnknown,
    InternalError,
    InvalidInput,
    NotPermitted,
    ShuttingDown,
    StillhouseError,
    Unauthenticated,
)

# The cloud gateway's limits.
MAX_BODY_BYTES = 12 * 2**20
MAX_URI_BYTES = 32 * 2**10
MAX_HEADER_BYTES = 32 * 2**10
MAX_HEADERS_BYTES = 128 * 2**10

OPEN_PATHS = frozenset({"/healthz", "/openapi.json"})
METRICS_PATH = "/metrics"


class ClientGone(Exception):
    """The client hung up while its body was being read; nobody is left to answer."""


@dataclass(frozen=True)
class Call:
    """The published API a request is for."""

    operation: str
    project: str


class Gateway:
    """ASGI application around `app`; `routes` are the published APIs that need a signature."""

    def __init__(
        self,
        app: ASGIApp,
        control: Control,
        routes: Sequence[APIRoute],
        is_shutting_down: Callable[[], bool],
    ) -> None:
        self._app = app
        self._control = control
        self._routes = routes
        self._is_shutting_down = is_shutting_down

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = ids.new_hex()
        with log.bound(request_id=request_id, method=scope["method"], path=scope["path"]):
            await self._answer(scope, receive, _Answering(send, request_id))

    async def _answer(self, scope: Scope, receive: Receive, answering: "_Answering") -> None:
        logger, begun, operation = log.get("api"), monotonic(), ""
        try:
            _check_limits(scope)
            if self._is_shutting_down():
                raise ShuttingDown("the service is shutting down")
            if scope["path"] in OPEN_PATHS or self._may_see_metrics(scope):
                await self._app(scope, receive, answering.send)
                return
            call = self._published(scope)
            operation = call.operation
            caller, body = await self._authorised(call, scope, receive, answering.request_id)
            scope.setdefault("state", {})["control"] = self._control.acting_for(caller)
            await self._app(scope, _replay(body, receive), answering.send)
        except ClientGone:
            logger.info("client gone", operation=operation)
            return
        except StillhouseError as error:
            await answering.refuse(error, operation, scope, receive)
            if error.status >= 500:
                logger.error("failed", operation=operation, code=error.code, exc_info=True)
        except Exception:
            await answering.refuse(InternalError("bug"), operation, scope, receive)
            logger.exception("bug", operation=operation)
        seconds = round(monotonic() - begun, 4)
        logger.info("answered", operation=operation, status=answering.status, seconds=seconds)

    def _may_see_metrics(self, scope: Scope) -> bool:
        """They are for a collector on this host, without a signature; to anyone else there is no such path."""
        if scope["path"] != METRICS_PATH or not self._control.settings.metrics or not scope["client"]:
            return False
        try:
            return ipaddress.ip_address(scope["client"][0]).is_loopback
        except ValueError:  # whatever a proxy wrote there
            return False

    def _published(self, scope: Scope) -> Call:
        matched = Match.NONE
        for route in self._routes:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                return Call(route.operation_id or route.name, child_scope["path_params"]["project_id"])
            matched = max(matched, match, key=lambda found: found.value)
        if matched is Match.PARTIAL:
            raise ApiUnknown("The API does not exist.")
        raise ApiUnknown("The API does not exist or has not been published in the environment.")

    async def _authorised(
        self, call: Call, scope: Scope, receive: Receive, request_id: str
    ) -> tuple[Caller, bytes]:
        """The signer and the body, once it is known that they belong together and to the path's project.

        What can be refused by the headers alone is refused before the body is taken in.
        """
        request = signature.RawRequest(
            scope["method"], scope["raw_path"], scope["query_string"], scope["headers"]
        )
        claim = signature.read_claim(request, self._control.clock.now())
        key = await run_in_threadpool(access_keys.find_access_key, self._control, claim.access_key)
        if key is None:
            raise Unauthenticated("Incorrect IAM authentication information: Get secretKey failed")
        body = await _read_body(receive)
        signature.verify(request, hashlib.sha256(body).hexdigest(), claim, key.secret_key)
        _check_project(call.project, key.project)
        return Caller(key.access_key, request_id), body


class _Answering:
    """The sending side of one request: marks what goes out, and knows whether something has."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.request_id
        await self._send(message)

    async def refuse(self, error: StillhouseError, operation: str, scope: Scope, receive: Receive) -> None:
        if self.status is not None:
            raise error  # half an answer is out; only the server can end it, by closing the connection
        status, body = errors.answer(error, operation, self.request_id)
        await JSONResponse(body.model_dump(), status)(scope, receive, self.send)


def _check_limits(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URI_BYTES:
        raise errors.UriTooLong("The URI is longer than 32 KB.")
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if sum(sizes) > MAX_HEADERS_BYTES or any(size > MAX_HEADER_BYTES for size in sizes):
        raise errors.HeadersTooLarge("A header is longer than 32 KB, or all of them than 128 KB.")
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > MAX_BODY_BYTES:
            raise errors.BodyTooLarge("The body is larger than 12 MB.")


async def _read_body(receive: Receive) -> bytes:
    """The whole body; chunked ones do not say their length, so it is counted as well."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise errors.BodyTooLarge("The body is larger than 12 MB.")
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the buffered body once, then what the server has to say."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _check_project(of_path: str, of_key: str) -> None:
    if of_path == of_key:
        return
    if not ids.is_project_id(of_path):
        raise InvalidInput(
            "The project ID in the path is not 32 hexadecimal digits; "
            "put your project's ID where the sample says {project_id}."
        )
    raise NotPermitted("Resource not found or permission denied.")
