"""The DWS API as one ASGI application."""

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NoReturn

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from stillhouse import __version__, metrics
from stillhouse.api.document import openapi
from stillhouse.api.extensions import (
    audit,
    damage,
    difference,
    policy_preview,
    progress,
    proofs,
    registration,
    states,
    trash_and_collection,
)
from stillhouse.api.extensions.readiness import Readyz
from stillhouse.api.gateway.errors import invalid_input
from stillhouse.api.gateway.middleware import Gateway, MakeFace
from stillhouse.api.operations import (
    capacity,
    cluster_facts,
    clusters,
    databases,
    iam,
    jobs,
    not_offered,
    service_catalog,
    snapshot_policies,
    snapshots,
    tables,
    tags,
)
from stillhouse.api.operations.routing import JsonRoute, routes_of
from stillhouse.control.context import Control
from stillhouse.control.reports import readiness
from stillhouse.control.reports.monitoring import Monitor
from stillhouse.errors import ApiUnknown, InvalidInput

_ROUTERS = (
    snapshots.routes,
    tables.routes,
    snapshot_policies.routes,
    clusters.routes,
    tags.routes,
    cluster_facts.routes,
    capacity.routes,
    jobs.routes,
    databases.routes,
    iam.routes,
    service_catalog.routes,
    not_offered.routes,
    proofs.routes,
    progress.routes,
    audit.routes,
    damage.routes,
    difference.routes,
    trash_and_collection.routes,
    states.routes,
    policy_preview.routes,
    registration.routes,
)


def published_routes() -> list[JsonRoute]:
    """Return the routes of all operations, also of those that are always refused."""
    return routes_of(*_ROUTERS)


def create_app(
    control: Control,
    *,
    is_shutting_down: Callable[[], bool],
    faces: Mapping[str, MakeFace] = MappingProxyType({}),
) -> ASGIApp:
    """Make the application: every operation, behind the gateway that authenticates callers and words refusals.

    `faces` are those beside the API, by the first part of their paths; the gateway bounds them together with it.

    `/healthz`, `/readyz` and `/openapi.json` are open to all and hold nothing about a tenant; `/readyz` tells its
    reasons only to this host. `/metrics` is open to this host.
    """
    app = FastAPI(title="Stillhouse", version=__version__, openapi_url=None, redirect_slashes=False)
    app.add_api_route("/healthz", _healthz, methods=["GET", "HEAD"], include_in_schema=False)
    readyz = Readyz(partial(readiness.look, control)).answer
    app.add_api_route("/readyz", readyz, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(
        "/openapi.json", _Document(app).answer, methods=["GET", "HEAD"], include_in_schema=False
    )
    app.add_api_route("/metrics", _Metrics(control).answer, methods=["GET"], include_in_schema=False)
    for router in _ROUTERS:
        app.include_router(router)
    app.openapi = partial(openapi.complete, app)  # type: ignore[method-assign]
    # The gateway answers all errors; the framework's own answers would only differ in shape.
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_unrouted)
    app.add_exception_handler(Exception, _pass_on)
    return Gateway(app, control, published_routes(), is_shutting_down, faces)


class _Document:
    """The route of `/openapi.json`: made once, at the first request, and off the event loop, for it takes a second."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._making: asyncio.Future[bytes] | None = None

    async def answer(self) -> Response:
        if self._making is None or (self._making.done() and self._making.exception() is not None):
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        return Response(await asyncio.shield(self._making), media_type="application/json")

    def _make(self) -> bytes:
        return json.dumps(self._app.openapi(), separators=(",", ":")).encode()


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


class _Metrics:
    """The route of `/metrics`: one scrape at a time, off the event loop. All who ask meanwhile get the same answer."""

    def __init__(self, control: Control) -> None:
        self._monitor = Monitor(control)
        self._making: asyncio.Future[bytes] | None = None

    async def answer(self) -> Response:
        if self._making is None or self._making.done():
            self._making = asyncio.ensure_future(asyncio.to_thread(self._monitor.scrape))
        return Response(await asyncio.shield(self._making), media_type=metrics.CONTENT_TYPE)


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
