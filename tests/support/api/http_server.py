"""An application on the server that `stillhouse serve` uses, in a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from stillhouse.api.wire.certificate import Certificate
from stillhouse.api.wire.crowd import Crowd
from stillhouse.api.wire.protocol import PATIENCE, Patience
from stillhouse.cli.host import serve

_SECONDS = 30


@contextmanager
def serving_http(
    app: ASGIApp, crowd: Crowd, patience: Patience = PATIENCE, certificate: Certificate | None = None
) -> Iterator[tuple[uvicorn.Server, int]]:
    """Give the server and its port on 127.0.0.1, for as long as the context lasts."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    config = serve.http(app, crowd, patience, certificate)
    config.lifespan = "off"
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield running, listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(_SECONDS)
    assert not thread.is_alive()


@contextmanager
def serving_tls(
    app: ASGIApp, certificate: Certificate, crowd: Crowd, patience: Patience = PATIENCE
) -> Iterator[int]:
    """Give the port of a server with TLS."""
    with serving_http(app, crowd, patience, certificate) as (_, port):
        yield port
