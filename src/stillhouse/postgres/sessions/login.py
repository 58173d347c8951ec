"""Logins to a server: the connection parameters, by the private socket of a node here, or over the network."""

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import psycopg
from psycopg import pq, waiting
from psycopg.abc import PQGenConn
from psycopg.pq.abc import PGconn

from stillhouse.domain.cluster import Connection, Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions.text import encode

CONNECT_SECONDS = 10
_POLL_SECONDS = 0.1

# No matter how the network fails, a session notices within half a minute. Seconds, and milliseconds for the last one.
_NETWORK = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_NO_FILE = "/dev/null/stillhouse"  # nothing can lie below a device
_MOST_FILES = 256
# The host and port that led to each node of several hosts, by the node's id. A wrong one costs time alone.
_answered_last: dict[str, tuple[str, str]] = {}


def log_in(node: Node, role: str, own: Mapping[str, str]) -> PGconn:
    """Log in as psycopg.connect does, but also to a database with a name that is not valid UTF-8. `own` are the
    parameters of this session.

    libpq's `connect_timeout` does not hold for its calls that do not block, and it would wait for a silent host until
    all the time is gone. So each host has an even share of the time that is left, and the one that answered last is
    asked first.

    Raises the driver's OperationalError, and NodeUnreachable if the password cannot be read.
    """
    ways = _ways(node, role)
    latest = time.monotonic() + CONNECT_SECONDS
    errors: list[psycopg.OperationalError] = []
    for number, way in enumerate(ways):
        share = max((latest - time.monotonic()) / (len(ways) - number), _POLL_SECONDS)
        attempt = _connecting(encode(as_conninfo({**way, **own})))
        try:
            pgconn = waiting.wait_conn(attempt, interval=_POLL_SECONDS, timeout=share)
        except psycopg.OperationalError as error:
            errors.append(error)
            continue
        _answered_last[node.id] = way["host"], way["port"]
        return pgconn
    if len(ways) == 1:
        raise errors[0]
    told = [f"{way['host']}:{way['port']}: {error}" for way, error in zip(ways, errors, strict=True)]
    raise psycopg.OperationalError("; ".join(told))


@lru_cache(_MOST_FILES)
def _in_file(certificates: str) -> TextIO:
    """Lay certificates that came with a registration into a file, which libpq reads at each login and cancellation.

    The file is in memory: each replica and each of its processes has the text by the catalog, and needs no file of
    another host. It is closed when many others have been used since.
    """
    file = os.fdopen(os.memfd_create("certificates"), "w", encoding="utf-8", errors="replace")
    file.write(certificates)
    file.flush()
    return file


def _ways(node: Node, role: str) -> list[dict[str, str]]:
    """Return the parameters of libpq that say where the server is, for each of its hosts, and as whom we come.

    Over the network that is one role, whichever of ours is meant by `role`. All that the service's environment
    variables could set is set.
    """
    if node.connection is not None:
        ways = _over_the_network(node, node.connection)
        last = _answered_last.get(node.id)
        return sorted(ways, key=lambda way: (way["host"], way["port"]) != last)
    return [
        {
            "host": node.socket,
            "port": str(node.port),
            "user": role,
            "password": node.password(role),
            "sslmode": "disable",
            "gssencmode": "disable",
            "target_session_attrs": "any",
        }
    ]


def as_conninfo(parameters: Mapping[str, str]) -> str:
    """Return a connection string. Values are quoted, because a database's name may hold any characters, even '='."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _over_the_network(node: Node, connection: Connection) -> list[dict[str, str]]:
    as_whom = {
        "user": connection.role,
        **_secret(node, connection),
        "sslmode": connection.tls,
        "sslrootcert": _authorities(connection),
        "gssencmode": "disable",
        # Several hosts are a primary and its standbys, in any order. With "read-write" libpq would refuse those of our
        # own sessions that only read.
        "target_session_attrs": "primary" if len(connection.hosts) > 1 else "any",
        **_NETWORK,
    }
    return [{"host": host, "port": str(port), **as_whom} for host, port in connection.hosts]


def _authorities(connection: Connection) -> str:
    """Return the name of the file of authorities, "" if there is none."""
    if not connection.ca_certificate:
        return connection.ca_file
    return f"/proc/self/fd/{_in_file(connection.ca_certificate).fileno()}"


def _connecting(conninfo: bytes) -> PQGenConn[PGconn]:
    pgconn = pq.PGconn.connect_start(conninfo)
    while pgconn.status != pq.ConnStatus.BAD:
        status = pgconn.connect_poll()
        if status == pq.PollingStatus.OK:
            pgconn.nonblocking = 1
            return pgconn
        if status == pq.PollingStatus.FAILED:
            break
        wait = waiting.Wait.R if status == pq.PollingStatus.READING else waiting.Wait.W
        while not (yield pgconn.socket, wait):
            pass
    reason = pgconn.get_error_message("utf-8")
    pgconn.finish()
    raise psycopg.OperationalError(reason)


def _secret(node: Node, connection: Connection) -> dict[str, str]:
    """Read the password at each login, so that it may change at any time. libpq reads a .pgpass file by itself."""
    if connection.pgpass_file:
        return {"passfile": connection.pgpass_file}
    if not connection.password_file:
        # libpq would look for an empty password in the file of our own account.
        return {"password": node.secret, "passfile": _NO_FILE}
    try:
        with Path(connection.password_file).open(encoding="utf-8") as file:
            return {"password": file.readline().rstrip("\r\n")}
    except (OSError, ValueError) as error:
        raise NodeUnreachable(
            f"the password of node {node.name} cannot be read from {connection.password_file}: {error}"
        ) from error
