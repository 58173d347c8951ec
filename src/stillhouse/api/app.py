"""The DWS API as one ASGI application."""

from collections.abc import Callable
from typing import NoReturn

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from stillhouse import __version__, metrics
from stillhouse.api import clusters, own, snapshots
from stillhouse.api.errors import invalid_input
from stillhouse.api.middleware import Gateway
from stillhouse.api.routing import routes_of
from stillhouse.control.context import Control
from stillhouse.errors import ApiUnknown, InvalidInput

_ROUTERS = (snapshots.routes, clusters.routes, own.routes)


def create_app(control: Control, *, is_shutting_down: Callable[[], bool]) -> ASGIApp:
    """Every operation, behind the gateway that authenticates its callers and words its refusals.

    `/healthz` and `/openapi.json` are open to all; they say nothing about anyone. `/metrics` is open to this host.
    """
    app = FastAPI(
        title="Stillhouse", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.add_api_route("/healthz", _healthz, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/metrics", _metrics, methods=["GET"], include_in_schema=False)
    for router in _ROUTERS:
        app.include_router(router)
    # The gateway answers all errors; the framework's own answers would only differ in shape.
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_unrouted)
    app.add_exception_handler(Exception, _pass_on)
    return Gateway(app, control, routes_of(*_ROUTERS), is_shutting_down)


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


async def _metrics() -> Response:
    return Response(metrics.render(), media_type=metrics.CONTENT_TYPE)


async def _refuse_invalid(_request: Request, error: Exception) -> NoReturn:
    assert isinstance(error, RequestValidationError)
    raise invalid_input(error) from None  # its chain holds the body, which may hold a password


async def _refuse_unrouted(_request: Request, error: Exception) -> NoReturn:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        raise ApiUnknown("The API does not exist.")
    raise InvalidInput("The request cannot be read.") from error


async def _pass_on(_request: Request, error: Exception) -> NoReturn:
    raise error
