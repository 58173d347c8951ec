"""The gateway in front of the routes: request ids, limits, signatures, and every refusal's answer.

It stands outside the framework, so its promises hold for every answer: `X-Request-Id` is on all of
them, and no byte of a body is parsed before its caller is known and permitted to call. As on the
cloud's gateway, a request to an API that does not exist is told so before it is authenticated.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stillhouse import log, metrics
from stillhouse.api.gateway import errors, forwarded
from stillhouse.api.gateway.authentication import authenticate, is_keeping_body
from stillhouse.api.gateway.limits import check_length, check_limits, has_body
from stillhouse.api.gateway.published import Answered, Published, Route
from stillhouse.api.gateway.rates import Rates
from stillhouse.api.gateway.raw_body import ClientGone, UnprovenBodies, read_body
from stillhouse.api.gateway.signature import RawRequest
from stillhouse.api.gateway.turns import Turns
from stillhouse.api.gateway.worker_threads import WorkerThreads
from stillhouse.control.access import permissions
from stillhouse.control.access.refusals import Refused, record_refusal
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.domain import ids
from stillhouse.domain.access.senders import sender_of
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.domain.api_operations.operation import SMALL_BODY, Need
from stillhouse.errors import (
    InternalError,
    InvalidInput,
    NotPermitted,
    Overloaded,
    ShuttingDown,
    StillhouseError,
    Unauthenticated,
)

# Bodies whose senders have not proven who they are, all together.
_UNPROVEN_BYTES = 32 * 2**20

_NO_NEED = Need()
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
METRICS_PATH = "/metrics"
READY_PATH = "/readyz"

# Another face of the service, below a path of its own. It answers a request of which the body is given, and knows and
# permits its callers itself. It is made of the gateway's `WorkerThreads.run` and `Rates.spend`, which it shares.
Face = Callable[[Scope, bytes, Receive, Send], Awaitable[None]]
MakeFace = Callable[[Callable[..., Awaitable[Any]], Callable[[str, str, float], None]], Face]


@dataclass(frozen=True)
class Call:
    """The published API that a request is for; `project` is `None` if the path has no project."""

    operation: str = ""
    need: Need = _NO_NEED
    project: str | None = None
    cluster: str | None = None
    snapshot: str | None = None
    largest_body: int = SMALL_BODY
    checks_password: bool = False
    is_light: bool = False


class Gateway:
    """ASGI application around `app`; `routes` are the published APIs, `faces` the other ones by the first of a path.

    Raises KeyError with the name of an operation that `domain.actions` does not list.
    """

    def __init__(
        self,
        app: ASGIApp,
        control: Control,
        routes: Sequence[Route],
        is_shutting_down: Callable[[], bool],
        faces: Mapping[str, MakeFace],
    ) -> None:
        self._app = app
        self._control = control
        self._published = Published(routes)
        self._operations = {_operation_of(route): OPERATIONS[_operation_of(route)] for route in routes}
        self._turns = Turns()
        self._threads = WorkerThreads()
        self._is_shutting_down = is_shutting_down
        settings = control.settings
        self._trusted = forwarded.Networks.parse(settings.trusted_proxies)
        self._rates = Rates(settings.requests_per_second_per_key, settings.requests_per_second_per_project)
        self._unproven = UnprovenBodies(_UNPROVEN_BYTES)
        self._overloads = _Overloads()
        self._faces = {name: make(self._threads.run, self._rates.spend) for name, make in faces.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering, method = _Answering(send, ids.new_hex()), scope["method"]
        bound = log.bound(request_id=answering.request_id, method=method, path=scope["path"])
        with bound, metrics.answering(method, answering):
            await self._answer(scope, receive, answering)

    async def _answer(self, scope: Scope, receive: Receive, answering: "_Answering") -> None:
        logger, begun, call = log.get("api"), monotonic(), Call()
        try:
            check_limits(scope)
            peer, sender = self._name_sender(scope)
            if (name := scope["path"].partition("/")[2].partition("/")[0]) in self._faces:
                answering.operation = name
                await self._turns.take()
                await self._show(self._faces[name], scope, receive, answering)
                return
            if self._is_shutting_down():
                raise ShuttingDown("the service is shutting down")
            if self._is_open(scope, peer, sender):
                answering.operation = scope["path"].removeprefix("/")
                await self._app(scope, receive, answering.send)
                return
            await self._turns.take()
            route, named = self._published.find(scope["method"], scope["path"])
            scope["path_params"], scope["route"] = named, route
            call = self._call(route, named)
            answering.operation = call.operation
            check_length(scope, call.largest_body)
            await self._carry_out(call, scope, receive, answering)
        except ClientGone:
            logger.debug("client gone", operation=call.operation)
            return
        except Overloaded as error:
            await answering.refuse(error, call.operation, scope, receive)
            self._overloads.tell(logger, monotonic())
            return
        except StillhouseError as error:
            await answering.refuse(error, call.operation, scope, receive)
            if error.status >= 500:
                logger.error("failed", operation=call.operation, code=error.code, exc_info=True)
        except Exception:
            await answering.refuse(InternalError("bug"), call.operation, scope, receive)
            logger.exception("bug", operation=call.operation)
        seconds = round(monotonic() - begun, 4)
        logger.debug("answered", operation=call.operation, status=answering.status, seconds=seconds)

    def _name_sender(self, scope: Scope) -> tuple[str, forwarded.Sender]:
        """Put the request's sender into the scope, in place of a trusted proxy. Returns the peer's address, too."""
        peer = scope["client"][0] if scope.get("client") else ""
        sender = forwarded.find_sender(peer, scope["scheme"], scope["headers"], self._trusted)
        scope["client"], scope["scheme"] = (sender.address, 0), sender.scheme
        return peer, sender

    async def _show(self, face: Face, scope: Scope, receive: Receive, answering: "_Answering") -> None:
        check_length(scope, SMALL_BODY)
        scope.setdefault("state", {})["request_id"] = answering.request_id
        with self._unproven.share() as take:
            body = await read_body(receive, SMALL_BODY, take=take) if has_body(scope) else b""
            await face(scope, body, receive, answering.send)

    def _is_open(self, scope: Scope, peer: str, sender: forwarded.Sender) -> bool:
        """Tell whether a signature is needless.

        Only this host sees, without a signature, the metrics and the reasons why the service is not ready.
        """
        path = scope["path"]
        if path == READY_PATH:
            scope.setdefault("state", {})["is_told_reasons"] = self._is_this_host(peer, sender)
        return path in OPEN_PATHS or (path == METRICS_PATH and self._is_this_host(peer, sender))

    def _is_this_host(self, peer: str, sender: forwarded.Sender) -> bool:
        """Tell whether the sender surely is this host itself. A proxy on this host may speak for anybody."""
        settings = self._control.settings
        if not settings.metrics or (sender.is_through_proxy and not settings.metrics_through_proxy):
            return False
        try:
            return ipaddress.ip_address(peer).is_loopback
        except ValueError:  # a socket of another kind has no address
            return False

    def _call(self, route: Route, named: Mapping[str, str]) -> Call:
        operation = self._operations[_operation_of(route)]
        places = {kind: named.get(f"{kind}_id") for kind in ("project", "cluster", "snapshot")}
        return Call(
            operation.id,
            operation.need,
            **places,
            largest_body=operation.largest_body,
            checks_password=operation.checks_password,
            is_light=operation.is_light,
        )

    async def _carry_out(self, call: Call, scope: Scope, receive: Receive, answering: "_Answering") -> None:
        """Answer the request in one thread. Where it has a body, another call asks first whether to keep that.

        Calls that check a password have threads and a queue of their own, where they hold up no other call.
        """
        address = scope["client"][0]
        caller = Caller(request_id=answering.request_id, address=address)
        request = RawRequest(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"])
        is_kept = True
        if has_body(scope) and not call.need.open_to_all:
            is_kept = await self._threads.run(self._is_keeping_body, call, scope, request, caller)
        # Until its sender is proven, a body shares a bound with all others of that kind.
        with self._unproven.share() as take:
            body = b""
            if has_body(scope):
                body = await read_body(receive, call.largest_body, keep=is_kept, take=take)
            given = call, scope, request, body, caller
            if call.checks_password:
                checks = self._control.password_checks
                checked = checks.submit(sender_of(address), partial(self._perform, *given))
                answered = await asyncio.wrap_future(checked)
            elif call.is_light and not body and self._control.database.reads_never_wait:
                answered = await self._answer_here(*given)
            else:
                answered = await self._threads.run(self._perform, *given)
        await answering.begin(answered)
        if answered.rest is not None:
            await self._go_on(answered.rest, receive, answering)

    async def _go_on(self, rest: Iterator[bytes], receive: Receive, answering: "_Answering") -> None:
        """Send the further parts of an answer for as long as the client is there."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while not gone.done():
                part = await self._threads.run(next, rest, None, is_begun=True)
                await answering.go_on(part)
                if part is None:
                    return
        finally:
            gone.cancel()
        raise ClientGone

    def _is_keeping_body(self, call: Call, scope: Scope, request: RawRequest, caller: Caller) -> bool:
        with self._refusals_recorded(call, scope) as known:
            known.append(caller)
            return is_keeping_body(self._control, request, caller.address)

    async def _answer_here(
        self, call: Call, scope: Scope, request: RawRequest, body: bytes, caller: Caller
    ) -> Answered:
        """Do a light operation on the event loop: to change threads takes as long as the operation itself.

        Only the record of a refusal, which writes, is made in a thread.
        """
        known = [caller]
        try:
            return self._do(known, call, scope, request, body)
        except (Unauthenticated, NotPermitted) as error:
            await self._threads.run(_record, self._control.acting_for(known[-1]), call, scope["path"], error)
            raise

    def _perform(
        self, call: Call, scope: Scope, request: RawRequest, body: bytes, caller: Caller
    ) -> Answered:
        with self._refusals_recorded(call, scope) as known:
            known.append(caller)
            return self._do(known, call, scope, request, body)

    def _do(
        self, known: list[Caller], call: Call, scope: Scope, request: RawRequest, body: bytes
    ) -> Answered:
        """Do the operation once its caller is known, who is added to `known`, and permitted."""
        caller = known[-1]
        if not call.need.open_to_all:
            signer = authenticate(self._control, request, body, caller.address)
            known.append(replace(signer, request_id=caller.request_id))
            self._rates.spend(signer.project, signer.access_key, monotonic())
            _check_project(call.project, signer.project)
        control = self._control.acting_for(known[-1])
        if not call.need.open_to_all:
            _check_permissions(control, call)
        scope.setdefault("state", {})["control"] = control
        route: Route = scope["route"]
        return route.answer(scope, body)

    @contextmanager
    def _refusals_recorded(self, call: Call, scope: Scope) -> Iterator[list[Caller]]:
        """Record a refusal under the last caller in the list."""
        known: list[Caller] = []
        try:
            yield known
        except (Unauthenticated, NotPermitted) as error:
            _record(self._control.acting_for(known[-1]), call, scope["path"], error)
            raise


class _Overloads:
    """Logs refusals for overload, one line in a second: a line for each would cost as much as the refusal itself."""

    def __init__(self) -> None:
        self._refused, self._told = 0, 0.0

    def tell(self, logger: Any, now: float) -> None:
        self._refused += 1
        if now - self._told >= 1:
            logger.warning("overloaded", refused=self._refused)
            self._refused, self._told = 0, now


class _Answering:
    """The sending side of one request: adds its headers, and knows whether a part of the answer was sent."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None
        self.operation = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    async def begin(self, answered: Answered) -> None:
        """Send an answer, or its first part."""
        await self.send(
            {"type": "http.response.start", "status": answered.status, "headers": answered.headers}
        )
        is_part = answered.rest is not None
        await self.send({"type": "http.response.body", "body": answered.body, "more_body": is_part})

    async def go_on(self, part: bytes | None) -> None:
        """Send a further part; `None` ends the answer."""
        await self.send({"type": "http.response.body", "body": part or b"", "more_body": part is not None})

    async def refuse(self, error: StillhouseError, operation: str, scope: Scope, receive: Receive) -> None:
        if self.status is not None:
            raise error  # half an answer is out; only the server can end it, by closing the connection
        status, body = errors.answer(error, operation, self.request_id)
        later = {"Retry-After": str(error.retry_after)} if error.retry_after else None
        await JSONResponse(body.model_dump(), status, later)(scope, receive, self.send)


async def _gone(receive: Receive) -> None:
    """Wait until the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _operation_of(route: Route) -> str:
    return route.operation_id or route.name


def _check_project(of_path: str | None, of_caller: str) -> None:
    if of_path is None or of_path == of_caller:
        return
    if not ids.is_project_id(of_path):
        raise InvalidInput(
            "The project ID in the path is not 32 hexadecimal digits; "
            "put your project's ID where the sample says {project_id}."
        )
    raise NotPermitted("Resource not found or permission denied.")


def _check_permissions(control: Control, call: Call) -> None:
    """Check the caller's policies; those on a cluster that the body names are checked again by the route."""
    if call.need.cluster_in_body:
        if not control.caller.permissions.may_allow(call.need.names):
            raise permissions.refusal(call.operation)
        return
    permissions.demand_for_path(control, call.operation, call.cluster, call.snapshot)


def _record(control: Control, call: Call, path: str, error: Unauthenticated | NotPermitted) -> None:
    caller = control.caller
    claimed = error.who if isinstance(error, Unauthenticated) else ""
    refused = Refused(
        who=caller.access_key or claimed,
        project=caller.project or (call.project if call.project and ids.is_project_id(call.project) else ""),
        operation=call.operation,
        path=path,
        address=caller.address,
        request_id=caller.request_id,
    )
    record_refusal(control, refused, error)
