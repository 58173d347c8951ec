"""`stillhouse serve`: one process that answers the API and carries out flows until it is told to stop."""

import asyncio
import gc
import ipaddress
import os
import re
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, cast

import uvicorn
from starlette.types import ASGIApp

from stillhouse import log
from stillhouse.api.gateway import addresses
from stillhouse.api.gateway.forwarded import Networks
from stillhouse.api.wire.certificate import Certificate
from stillhouse.api.wire.crowd import Crowd
from stillhouse.api.wire.handshake import Handshake
from stillhouse.api.wire.protocol import PATIENCE, BoundedProtocol, Patience
from stillhouse.bootstrap.faces import application
from stillhouse.bootstrap.host import leave_servers
from stillhouse.bootstrap.service import Service, open_service
from stillhouse.cli.host import banner
from stillhouse.config import Settings
from stillhouse.control.clusters.addresses import outside_of
from stillhouse.errors import InvalidInput
from stillhouse.workers import process

_DRAIN_SECONDS = 20
_DATE_SECONDS = 1.0
# Clients poll every 5 to 30 s on one connection. An earlier close could meet the next request on its way.
KEEP_ALIVE_SECONDS = 75
_LAST_PORT = 65535
# Pipes, files and sockets of everything that is not a caller's connection.
_OTHER_DESCRIPTORS = 1000
_ADDRESS = re.compile(r"(?P<host>.+):(?P<port>[0-9]{1,5})", re.ASCII)


class Place(NamedTuple):
    """A resolved address to listen on."""

    family: socket.AddressFamily
    address: tuple[str, int]


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then drain, stop the clusters' servers if that is wanted, and return.

    Raises InvalidInput for an address that cannot be listened on, and for settings that no client can use, before
    anything else is touched.
    """
    addresses.check(settings)
    place = place_of(settings.listen)
    certificate = certificate_of(settings, place)
    outside_of(settings)
    crowd = _crowd(settings)
    log.configure(settings.log_level)
    log.take_over()
    process.get_ready()
    with _bound(place, settings.listen) as listener, open_service(settings) as service:
        control = service.control
        stopping = threading.Event()
        app = application(control, is_shutting_down=stopping.is_set)
        scheme = "http" if certificate is None else "https"
        address = f"{scheme}://{_shown(listener.getsockname())}"
        server = _Server(http(app, crowd, certificate=certificate), service, address)

        def stop(*_: object) -> None:
            # 503 from now on, not only when the socket closes. A second signal stops waiting for open requests.
            server.force_exit = stopping.is_set()
            stopping.set()
            server.end()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        _spare_collector()
        server.run(sockets=[listener])
        drained = control.flows.shutdown(0)
        leave_servers(control)
    if not drained:
        # A step's thread would keep the interpreter alive; its step is done again at the next start.
        sys.stderr.flush()
        os._exit(0)


def http(
    app: ASGIApp, crowd: Crowd, patience: Patience = PATIENCE, certificate: Certificate | None = None
) -> uvicorn.Config:
    """Return the configuration of the HTTP server, whose connections are bounded by `crowd` and `patience`.

    Each begins with a TLS handshake if there is a `certificate`.
    """

    def protocol(**given: Any) -> asyncio.Protocol:
        made = partial(BoundedProtocol, crowd, patience, **given)
        if certificate is None:
            return made()
        return Handshake(certificate.context, crowd, patience.handshake, made)

    return uvicorn.Config(
        app,
        # uvloop accepts one connection in a round of its loop: under load new callers waited for ten seconds.
        loop="asyncio",
        http=cast(Any, protocol),
        ws="none",
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # uvicorn would believe X-Forwarded-For from every program on this host; api/gateway/forwarded.py decides.
        proxy_headers=False,
    )


def _spare_collector() -> None:
    """Take what was made at the start, and stays, out of the collections of garbage.

    Python's collector looked at all of it again and again: a third of the time of a loaded service.
    """
    gc.collect()
    gc.freeze()


def _crowd(settings: Settings) -> Crowd:
    """Return the counter of connections, and see to it that there are descriptors for as many.

    Raises InvalidInput for proxies that are no addresses, and where the system's limit on descriptors is too low.
    """
    trusted = Networks.parse(settings.trusted_proxies)
    wanted = settings.max_connections + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise InvalidInput(
            f"{settings.max_connections} connections need {wanted} open files, and the limit is {hard}",
            hint="raise the limit (ulimit -Hn, LimitNOFILE=), or set STILLHOUSE_MAX_CONNECTIONS lower",
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return Crowd(settings.max_connections, settings.max_connections_per_address, trusted)


class _Server(uvicorn.Server):
    """Answers until the flows have come to a stop, so that callers are told 503 instead of nothing."""

    def __init__(self, config: uvicorn.Config, service: Service, address: str) -> None:
        super().__init__(config)
        self._service, self._address = service, address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        service = self._service
        banner.tell(banner.facts(service.control, service.repository, self._address))

    def end(self) -> None:
        """Call it in a handler of signals."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Look once a second, which sets the date of answers. uvicorn's own loop looks ten times as often, for ends."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _DATE_SECONDS)
        await asyncio.to_thread(self._service.drain, _DRAIN_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us: uvicorn would raise them anew when it is done, and end the process too early."""
        yield


def certificate_of(settings: Settings, place: Place) -> Certificate | None:
    """Return the certificate, if there is one. Raises InvalidInput where plain HTTP could be read on its way."""
    if settings.tls_cert is not None and settings.tls_key is not None:
        return Certificate(settings.tls_cert, settings.tls_key)
    if settings.tls_cert is not None or settings.tls_key is not None:
        raise InvalidInput(
            "a certificate needs its key, and a key its certificate",
            hint="give both --tls-cert (STILLHOUSE_TLS_CERT) and --tls-key (STILLHOUSE_TLS_KEY)",
        )
    if not settings.insecure and not ipaddress.ip_address(place.address[0].partition("%")[0]).is_loopback:
        raise InvalidInput(
            f"plain HTTP is not served on {settings.listen}, where others could read passwords on their way: "
            "give --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy with TLS, or accept it by --insecure"
        )
    return None


def place_of(listen: str) -> Place:
    """Resolve the address to listen on; IPv4 comes first where a name has both. Raises InvalidInput."""
    address = _ADDRESS.fullmatch(listen)
    if address is None or int(address["port"]) > _LAST_PORT:
        raise InvalidInput(f"{listen!r} is not HOST:PORT")
    host = address["host"].removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(host, int(address["port"]), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"cannot listen on {listen}: {error}") from error
    family, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    return Place(family, cast(Any, place))


def _shown(address: tuple[Any, ...]) -> str:
    """Return a socket's address as it stands in a URL."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(place: Place, listen: str) -> socket.socket:
    """Return a socket that holds the address; it refuses connections until the server listens, when all is ready."""
    listener = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place.address)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"cannot listen on {listen}: {error}", hint="is another program listening there?"
        ) from error
    return listener
