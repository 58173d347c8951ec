"""Logins to a server: the connection parameters, by the private socket of a node here, or over the network."""

from collections.abc import Mapping
from pathlib import Path

from stillhouse.domain.cluster import Connection, Node
from stillhouse.errors import NodeUnreachable

# No matter how the network fails, a session notices within half a minute. Seconds, and milliseconds for the last one.
_NETWORK = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_NO_FILE = "/dev/null/stillhouse"  # nothing can lie below a device


def parameters(node: Node, role: str) -> dict[str, str]:
    """Return the parameters of libpq that say where the server is, and as whom we come.

    Over the network that is one role, whichever of ours is meant by `role`. All that the service's environment
    variables could set is set. Raises NodeUnreachable if the password cannot be read.
    """
    if node.connection is not None:
        return _over_the_network(node, node.connection)
    return {
        "host": node.socket,
        "port": str(node.port),
        "user": role,
        "password": node.password(role),
        "sslmode": "disable",
        "gssencmode": "disable",
        "target_session_attrs": "any",
    }


def as_conninfo(parameters: Mapping[str, str]) -> str:
    """Return a connection string. Values are quoted, because a database's name may hold any characters, even '='."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parameters.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _over_the_network(node: Node, connection: Connection) -> dict[str, str]:
    return {
        "host": ",".join(host for host, _ in connection.hosts),
        "port": ",".join(str(port) for _, port in connection.hosts),
        "user": connection.role,
        **_secret(node, connection),
        "sslmode": connection.tls,
        "sslrootcert": connection.ca_file,
        "gssencmode": "disable",
        # Several hosts are a primary and its standbys, in any order.
        "target_session_attrs": "read-write" if len(connection.hosts) > 1 else "any",
        **_NETWORK,
    }


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
