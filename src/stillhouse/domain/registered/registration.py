"""The registration of a cluster whose servers are somebody's, as it is written in a YAML file or a request. Pure.

name: orders
engine: fdw                      # or single
role: stillhouse_backup          # this and the following are for all nodes, and each node may have its own
password_file: /etc/stillhouse/orders.password
tls: verify-full
ca_file: /etc/stillhouse/ca.pem
coordinator: {hosts: [cn.example.org:5432]}
data_nodes:
  - {hosts: [dn1.example.org:5432, dn1b.example.org:5432], known_as: [10.0.0.11:5432]}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stillhouse.domain import names
from stillhouse.domain.cluster import Engine
from stillhouse.errors import InvalidInput

DEFAULT_ROLE = "stillhouse_backup"
DEFAULT_TLS = "verify-full"
MOST_DATA_NODES = 256

_PORT = 5432
_SHARED = ("role", "password", "password_file", "pgpass_file", "tls", "ca_file", "ca_certificate")
_OF_NODE = ("hosts", "known_as", *_SHARED)
_OF_CLUSTER = ("name", "engine", "coordinator", "data_nodes", *_SHARED)
_FILES = ("password_file", "pgpass_file", "ca_file")

Address = tuple[str, int]


@dataclass(frozen=True)
class WantedNode:
    """A server to be registered. `hosts` are as in a connection. The coordinator knows a data node by the first of
    `known_as`, or else by the first of its hosts. Without a file, `password` is kept sealed, and so is
    `ca_certificate`, a PEM text.
    """

    hosts: tuple[Address, ...]
    known_as: tuple[Address, ...] = ()
    role: str = DEFAULT_ROLE
    password: str = field(default="", repr=False)
    password_file: str = ""
    pgpass_file: str = ""
    tls: str = DEFAULT_TLS
    ca_file: str = ""
    ca_certificate: str = ""


@dataclass(frozen=True)
class Registration:
    """A cluster to be registered: a single server, or a coordinator with data nodes."""

    name: str
    engine: Engine
    coordinator: WantedNode
    data_nodes: tuple[WantedNode, ...] = ()

    @property
    def nodes(self) -> tuple[WantedNode, ...]:
        return (self.coordinator, *self.data_nodes)


def read(document: object, *, may_name_files: bool = True) -> Registration:
    """Read a decoded document. Raises InvalidInput, naming the part that is not understood, and never a value.

    Files of this host may be named by its operator alone.
    """
    given = _members(document, "the registration", _OF_CLUSTER)
    shared = {name: given[name] for name in _SHARED if name in given}
    engine = given.get("engine", Engine.SINGLE.value)
    if engine not in [*Engine]:
        raise InvalidInput(f"engine is one of {', '.join(Engine)}")
    data_nodes = given.get("data_nodes", [])
    if not isinstance(data_nodes, list) or len(data_nodes) > MOST_DATA_NODES:
        raise InvalidInput(f"data_nodes is a list of at most {MOST_DATA_NODES}")
    wanted = Registration(
        _text(given, "name"),
        Engine(str(engine)),
        _node(given.get("coordinator"), "coordinator", shared),
        tuple(_node(one, f"data_nodes[{at}]", shared) for at, one in enumerate(data_nodes)),
    )
    check(wanted, may_name_files=may_name_files)
    return wanted


def check(wanted: Registration, *, may_name_files: bool = True) -> None:
    """Check a registration, but for its name. Raises InvalidInput."""
    if wanted.engine is Engine.SINGLE and wanted.data_nodes:
        raise InvalidInput("a single server has no data nodes", hint="its engine is fdw")
    for node in wanted.nodes:
        names.check_connection(node.hosts, node.role, node.tls)
        names.check_connection(node.known_as or node.hosts, node.role, node.tls)
        if not may_name_files and any(getattr(node, name) for name in _FILES):
            raise InvalidInput(
                "only the operator of the service may name files on its host",
                hint="send `password` and `ca_certificate`, or register it there by `stillhouse cluster add`",
            )
        if (node.password_file != "") + (node.pgpass_file != "") + (node.password != "") > 1:
            raise InvalidInput("a node has one of password, password_file and pgpass_file")
        if node.ca_file and node.ca_certificate:
            raise InvalidInput("a node has one of ca_file and ca_certificate")
        if "\0" in node.password + node.ca_certificate:
            raise InvalidInput("a text cannot hold the character NUL")
    hosts = [address for node in wanted.nodes for address in node.hosts]
    if len({*hosts}) < len(hosts):
        raise InvalidInput("two nodes have the same address")


def address(text: str) -> Address:
    """Read HOST, HOST:PORT or [ADDRESS]:PORT. Raises InvalidInput."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, str(_PORT)
    if not port.isascii() or not port.isdigit():
        raise InvalidInput("an address is HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def written(value: Address) -> str:
    """Return an address as `address` reads it."""
    host, port = value
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def proposed(name: str, coordinator: WantedNode, found: Sequence[Sequence[Address]]) -> dict[str, object]:
    """Return the document that registers a coordinator with the data nodes that were found. It has no password."""
    shared = {
        key: getattr(coordinator, key) for key in ("role", "password_file", "pgpass_file", "tls", "ca_file")
    }
    return {
        "name": name,
        "engine": Engine.FDW.value,
        **{key: value for key, value in shared.items() if value},
        "coordinator": {"hosts": [*map(written, coordinator.hosts)]},
        "data_nodes": [{"hosts": [*map(written, one)]} for one in found],
    }


def _node(value: object, where: str, shared: Mapping[str, object]) -> WantedNode:
    own = _members(value, where, _OF_NODE)
    secrets = ("password", "password_file", "pgpass_file"), ("ca_file", "ca_certificate")
    # A node's own password or authority takes the place of the shared one, in whichever form either is.
    hidden = {name for group in secrets if any(name in own for name in group) for name in group}
    given = {**{name: text for name, text in shared.items() if name not in hidden}, **own}
    texts = {name: _text(given, name) for name in _SHARED if name in given}
    return WantedNode(_addresses(given, "hosts", where), _addresses(given, "known_as", where), **texts)


def _addresses(given: Mapping[str, object], name: str, where: str) -> tuple[Address, ...]:
    value = given.get(name, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise InvalidInput(f"{where}.{name} is a list of addresses")
    return tuple(map(address, values))


def _text(given: Mapping[str, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is a text")
    return value


def _members(value: object, where: str, known: Sequence[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is an object")
    unknown = sorted(str(name) for name in value if name not in known)
    if unknown:
        raise InvalidInput(f"{where} has {unknown[0][:80]!r}, which is not understood")
    return value
