"""The place of a catalog: a file in the data directory, or a database of a PostgreSQL server, named by a URL."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, exc, make_url

from stillhouse.errors import InvalidInput

FILE_NAME = "catalog.sqlite"
IN_A_FILE = "sqlite"
"""The word for the file in the data directory, where a place must be named."""

_FORM = "postgresql://ROLE@HOST:PORT/DATABASE"
_SECRETS = ("password", "sslpassword")
# A connection that a server or a network has dropped is noticed within half a minute, and not by the next request.
_PARAMETERS = {
    "application_name": "stillhouse",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


@dataclass(frozen=True)
class Place:
    """`shown` is for people and logs. Neither it nor `url` holds a password: libpq reads that at each login."""

    url: str
    shown: str
    is_file: bool


def place_of(said: str, data: Path) -> Place:
    """Return the place of the catalog of a data directory. Raises InvalidInput, which never repeats a password."""
    if said in ("", IN_A_FILE):
        file = data / FILE_NAME
        return Place(URL.create("sqlite", database=str(file)).render_as_string(), str(file), is_file=True)
    try:
        url = make_url(said)
    except (exc.ArgumentError, ValueError):
        raise InvalidInput("the URL of the catalog cannot be read", hint=f"its form is {_FORM}") from None
    if url.drivername not in ("postgresql", "postgres"):
        raise InvalidInput(
            f"the catalog cannot be in {url.drivername!r}", hint=f"set {_FORM}, or nothing for SQLite"
        )
    if url.password is not None or any(name in url.query for name in _SECRETS):
        raise InvalidInput(
            "the URL of the catalog holds a password, which lists of processes would show",
            hint="write it into ~/.pgpass of the service's account, or into a file of that form that the URL names by"
            " passfile=",
        )
    if not url.database:
        raise InvalidInput("the URL of the catalog names no database", hint=f"its form is {_FORM}")
    return _complete(url)


def _complete(url: URL) -> Place:
    hosts = [part for part in (url.host, *_listed(url.query.get("host", ""))) if part]
    known = dict(_PARAMETERS)
    if not all(map(_is_here, hosts)):
        known["sslmode"] = "verify-full"
    missing = {name: value for name, value in known.items() if name not in url.query}
    whole = url.set(drivername="postgresql").update_query_dict(missing)
    # A socket's directory would be mistaken for a path.
    place = f"{hosts[0] if hosts else ''}{f':{url.port}' if url.port else ''}"
    role = f"{url.username}@" if url.username else ""
    shown = f"postgresql://{role}{'' if place.startswith('/') else place}/{url.database}"
    if place.startswith("/"):
        shown += f"?host={place}"
    return Place(whole.render_as_string(), shown, is_file=False)


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _is_here(host: str) -> bool:
    """Tell whether the host is this one: a socket's directory or a loopback address, which need no TLS."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
