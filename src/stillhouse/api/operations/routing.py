"""Parts shared by every route: the control plane, a strictly decoded body, the documented refusals."""

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable

from stillhouse.api.gateway import json_body
from stillhouse.api.gateway.errors import ErrorBody
from stillhouse.api.shapes.values import Answer
from stillhouse.control.context import Control
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.errors import BodyMissing

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {
        "model": ErrorBody,
        "description": "The request is malformed, or names a thing that does not exist",
    },
    401: {"model": ErrorBody, "description": "The signature is missing or wrong"},
    403: {"model": ErrorBody, "description": "Not permitted, or ruled out by the resource's state"},
    404: {"model": ErrorBody, "description": "The API or the cluster does not exist"},
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


class JsonRoute(APIRoute):
    """A route that decodes its body, if it takes one, by `json_body` instead of the framework's parser."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        field = self.body_field
        if field is None:
            return handle

        async def decode_and_handle(request: Request) -> Response:
            decoded = _Decoded(request.scope, request.receive)
            raw = await decoded.body()
            if raw:
                decoded.document = json_body.decode(raw, request.headers.get("content-type"))
            elif field.field_info.is_required():
                raise BodyMissing("The request is empty.")
            return await handle(decoded)

        return decode_and_handle


class _Decoded(Request):
    document: object = None

    async def json(self) -> object:
        return self.document


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


def routes_of(*routers: APIRouter) -> list[APIRoute]:
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
