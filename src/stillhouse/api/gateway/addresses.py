"""Chooses the address of this service that clients are told. They send their tokens and passwords there.

A Host header cannot be trusted: a proxy passes it on, and a name may lead elsewhere tomorrow. So the address that the
client asked is told only if it is surely this service's own; else STILLHOUSE_PUBLIC_URL has to name it.
"""

import ipaddress
import re
from dataclasses import dataclass

from starlette.requests import Request

from stillhouse.config import Settings
from stillhouse.errors import InvalidInput

HINT = "The address asked is not known to be this service's: set STILLHOUSE_PUBLIC_URL to the address that clients use."

_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_PUBLIC_URL = re.compile(rf"(?P<scheme>https?)://(?P<authority>{_AUTHORITY.pattern})/?", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535


@dataclass(frozen=True)
class Asked:
    """How a request reached the service; `socket` is the connection's end on this host, if it is known."""

    scheme: str
    host: str
    socket: tuple[str, int] | None


def check(settings: Settings) -> None:
    """Check the settings. Raises InvalidInput for a public address or a region that clients cannot use."""
    url = settings.public_url
    if url and (_PUBLIC_URL.fullmatch(url) is None or _authority(url.split("/")[2], "http") is None):
        raise InvalidInput(
            f"STILLHOUSE_PUBLIC_URL is {url!r}, which is not http(s)://HOST or http(s)://HOST:PORT",
            hint="it has no path: clients sign the path that they send",
        )
    if _REGION.fullmatch(settings.region) is None:
        raise InvalidInput(
            f"STILLHOUSE_REGION is {settings.region!r}; it takes 1 to 64 letters, digits, hyphens and underscores"
        )


def told(request: Request, settings: Settings) -> str:
    """Return the address for the request's sender, without a slash at its end; empty if no address is safe."""
    server = request.scope.get("server")
    hosts = request.headers.getlist("host")
    asked = Asked(
        request.scope["scheme"],
        hosts[0] if len(hosts) == 1 else "",
        (server[0], server[1]) if server and server[1] else None,
    )
    return choose(asked, public_url=settings.public_url, listen=settings.listen)


def choose(asked: Asked, *, public_url: str, listen: str) -> str:
    """Choose the public address; else the one asked, if it is on loopback, the one listened on, or the connection's."""
    if public_url:
        return public_url.rstrip("/")
    named = _authority(asked.host, asked.scheme)
    if named is None:
        return ""
    own = {_authority(listen, "http")} - {None}
    if asked.socket is not None:
        own.add((_plain(asked.socket[0]), asked.socket[1]))
    # Any port is good on loopback: a tunnel's differs from the service's, and it ends at the client's own host.
    is_own = _is_loopback(named[0]) or (named in own and not _is_unspecified(named[0]))
    return f"{asked.scheme}://{asked.host}" if is_own else ""


def _authority(text: str, scheme: str) -> tuple[str, int] | None:
    """Parse host and port; `None` for any other text."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else _PORTS.get(scheme, 0)
    return (_plain(found["host"].strip("[]")), port) if 0 < port <= _LAST_PORT else None


def _plain(host: str) -> str:
    """Return an address in its canonical form, for comparison; a name in lower case."""
    address = _ip(host)
    return str(address) if address else host.lower()


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_unspecified(host: str) -> bool:
    address = _ip(host)
    return address is not None and address.is_unspecified
