"""Parts shared by every route: the control plane, a strictly decoded body, the encoded answer, documented refusals."""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from itertools import chain
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.dependencies.utils import solve_dependencies
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable
from pydantic_core import PydanticUndefined
from starlette.types import Scope

from stillhouse.api.gateway import json_body
from stillhouse.api.gateway.errors import ErrorBody, invalid_input
from stillhouse.api.gateway.published import Answered
from stillhouse.api.shapes.values import Answer, Json
from stillhouse.control.context import Control
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.errors import BodyMissing, InternalError

T = TypeVar("T")

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {
        "model": ErrorBody,
        "description": "The request is malformed, or names a thing that does not exist",
    },
    401: {"model": ErrorBody, "description": "The signature is missing or wrong"},
    403: {"model": ErrorBody, "description": "Not permitted, or ruled out by the resource's state"},
    404: {"model": ErrorBody, "description": "The API or the cluster does not exist"},
    408: {"model": ErrorBody, "description": "The request's head or body did not arrive in time"},
    409: {"model": ErrorBody, "description": "The name is taken, or the cluster is busy"},
    413: {
        "model": ErrorBody,
        "description": "The body is larger than its operation takes: 64 KB, or 1 MB for lists of tables",
    },
    414: {"model": ErrorBody, "description": "The URI is longer than 32 KB"},
    429: {"model": ErrorBody, "description": "The key or the project sends too many requests"},
    494: {"model": ErrorBody, "description": "A header is longer than 32 KB, or all of them than 128 KB"},
    500: {"model": ErrorBody, "description": "Server failure"},
    503: {"model": ErrorBody, "description": "Unavailable for the moment"},
}
_JSON = (b"content-type", b"application/json")
# The framework wants a place for dependencies that are generators; there are none.
_NO_GENERATORS = AsyncExitStack()


class JsonRoute(APIRoute):
    """A route that is answered in one thread: body decoded by `json_body`, parameters read, answer encoded.

    The framework reads the parameters and writes the document. Its own handler would cross from thread to thread three
    times, and encode the answer on the event loop, where all others wait meanwhile.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # `answer` gives the control plane itself, for the framework takes as long for it as for all other parameters.
        given = [one for one in self.dependant.dependencies if one.call is _control]
        self._names_of_control = [one.name for one in given if one.name is not None]
        self.dependant.dependencies = [one for one in self.dependant.dependencies if one not in given]

    def answer(self, scope: Scope, raw: bytes) -> Answered:
        """Do the operation for `scope["state"]["control"]`. Raises its errors, and InvalidInput for its parameters."""
        scope["fastapi_inner_astack"] = scope["fastapi_function_astack"] = _NO_GENERATORS
        request = Request(scope)
        solved = _run(
            solve_dependencies(
                request=request,
                dependant=self.dependant,
                async_exit_stack=_NO_GENERATORS,
                embed_body_fields=self._embed_body_fields,
                body=self._decoded(request, raw),
            )
        )
        if solved.errors:
            # Without its chain, which holds the body, which may hold a password.
            raise invalid_input(RequestValidationError(solved.errors)) from None
        assert self.dependant.call is not None
        control = dict.fromkeys(self._names_of_control, scope["state"]["control"])
        content = self.dependant.call(**control, **solved.values)
        status = solved.response.status_code or self.status_code or 200
        return _answered(status, solved.response.headers.raw, content)

    def _decoded(self, request: Request, raw: bytes) -> object:
        if self.body_field is not None and raw:
            return json_body.decode(raw, request.headers.get("content-type"))
        if self.body_field is not None and self.body_field.field_info.is_required():
            raise BodyMissing("The request is empty.")
        return PydanticUndefined  # so the framework reads an absent body


def _answered(status: int, headers: list[tuple[bytes, bytes]], content: object) -> Answered:
    if not isinstance(content, Iterator):
        body = encode(content)
        return Answered(status, [*headers, _JSON, _length(body)], body)
    first, second = next(content), next(content, None)
    if second is None:
        return Answered(status, [*headers, _JSON, _length(first)], first)
    return Answered(status, [*headers, _JSON], first, chain((second,), content))


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def listed(key: str, batches: Iterable[Iterable[Json]]) -> Iterator[bytes]:
    """Encode an object of a list and its `count`, batch by batch; one batch makes one whole answer."""
    part, count = f'{{"{key}":['.encode(), 0
    for batch in batches:
        items = list(batch)
        if count and items:
            yield part
            part = b","
        part += encode(items)[1:-1]
        count += len(items)
    yield part + f'],"count":{count}}}'.encode()


def encode(content: object) -> bytes:
    """Encode an answer as compact JSON. Keys may be words of an enumeration."""
    return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for anything, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        found: T = ended.value
        return found
    coroutine.close()
    raise InternalError("a parameter of an operation is waited for")


async def _control(request: Request) -> Control:
    """Return the control plane acting for the request's caller; the gateway put it there."""
    control: Control = request.state.control
    return control


ControlOf = Annotated[Control, Depends(_control)]


class Router(APIRouter):
    """Routes of operations that are declared in `domain/api_operations`."""

    def __init__(self) -> None:
        super().__init__(route_class=JsonRoute, responses=_REFUSALS, strict_content_type=False)

    def operation(
        self,
        name: str,
        shape: type[Answer],
        meaning: str,
        status: int = 200,
        others: Mapping[int, tuple[type[Answer], str]] = MappingProxyType({}),
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Return a decorator that routes the declared operation to a function.

        `meaning` describes its successful answer; `others` are its other successful answers, by status. Only the
        document uses the shapes.
        """
        declared = OPERATIONS[name]
        shapes = {**others, status: (shape, meaning)}
        return self.api_route(
            declared.path,
            methods=[declared.method],
            operation_id=name,
            status_code=status,
            response_model=None,
            responses={code: {"model": model, "description": text} for code, (model, text) in shapes.items()},
        )


def routes_of(*routers: APIRouter) -> list[JsonRoute]:
    return [route for router in routers for route in router.routes if isinstance(route, JsonRoute)]
