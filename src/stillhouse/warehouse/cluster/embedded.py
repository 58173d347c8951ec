"""Embedded warehouses: the servers of a cluster are planned, made, started and removed on this host."""

import fcntl
import hashlib
import secrets
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from stillhouse.domain import names
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import is_uuid, new_hex
from stillhouse.errors import InvalidInput, ProvisionFailed
from stillhouse.postgres.files.tree import remove_tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import (
    check_traversable,
    database_account,
    fresh_account,
    make_passable,
    remove_cluster_account,
)
from stillhouse.postgres.host.binaries import Binaries, find_binaries
from stillhouse.postgres.host.network import why_none
from stillhouse.postgres.host.outside import Outside
from stillhouse.postgres.host.settings_trial import check_encryption
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import ensure_roles, grant_connect
from stillhouse.postgres.sessions.session import Connection, scram_verifier, sql
from stillhouse.postgres.wal import lineage
from stillhouse.sealing import Sealer
from stillhouse.warehouse.cluster import fdw
from stillhouse.warehouse.cluster.fdw import DATABASES
from stillhouse.warehouse.cluster.planned_nodes import Plan, read_plan, write_plan
from stillhouse.warehouse.gate.lock_plan import COORDINATOR_SETTINGS

_SECOND_OCTETS, _THIRD_OCTETS, _FOURTH_OCTETS = range(1, 255), range(256), range(1, 255)
_PLACES_TRIED = 3
_AT_ONCE = 4
_MAKING_DATABASES = int.from_bytes(b"still db")


CloneNetwork = Literal["own", "host"]

Claim = Callable[[str], str]
"""Makes and returns the account that a cluster's servers run as, by the cluster's id; "" for the shared account.

Asked again, it returns the same account, or one that was never given to any cluster.
"""


@dataclass(frozen=True)
class Site:
    """This host as a place for warehouses: clusters below `<data>/clusters`, their sockets below `<data>/run`.

    `sealer` seals the secrets of nodes in their plans; `clone_network` is the setting of that name (config.py).
    """

    data: Path
    binaries: Binaries
    sealer: Sealer
    claim: Claim
    clone_network: CloneNetwork = "own"

    @property
    def clusters(self) -> Path:
        return self.data / "clusters"

    @property
    def sockets(self) -> Path:
        return self.data / "run"

    def why_no_network(self) -> str:
        """Why a clone has no network of its own here while it is in quarantine; empty when it has one."""
        return "STILLHOUSE_CLONE_NETWORK is host" if self.clone_network == "host" else why_none()


@dataclass(frozen=True)
class ClusterSpec:
    """`number_of_node` 1 is a single server, n > 1 a coordinator and n data nodes."""

    cluster_id: str
    number_of_node: int
    port: int
    user_name: str
    user_pwd: str = field(repr=False)


def open_site(
    data: Path,
    *,
    pg_bin: Path | None = None,
    pg_bins: Sequence[Path] = (),
    os_user: str = "stillhouse",
    claim: Claim = fresh_account,
    clone_network: CloneNetwork = "own",
    outside: Outside | None = None,
) -> Site:
    """Make `data` ready for warehouses. Raises InvalidInput, which names the obstacle."""
    data = data.resolve()
    make_passable(data)
    account = database_account(os_user)
    check_traversable(data, account)
    binaries = find_binaries(data, account, pg_bin=pg_bin, pg_bins=pg_bins)
    if outside is not None:
        binaries = replace(binaries, outside=outside)
        check_encryption(binaries)
    site = Site(data, binaries, Sealer.in_directory(data), claim, clone_network)
    for directory in (site.clusters, site.sockets):
        _open_directory(directory)
    return site


def scratch_of(site: Site) -> Site:
    """A place below the site for clones that no user logs in to. It is made when it is missing."""
    alone = replace(site.binaries, outside=None)
    scratch = replace(site, data=site.data / "scratch", binaries=alone)
    for directory in (scratch.data, scratch.clusters, scratch.sockets):
        _open_directory(directory)
    return scratch


def clear_scratch(site: Site) -> None:
    """Remove the clones, with their servers, that a killed service has left there."""
    scratch = scratch_of(site)
    for directory in scratch.clusters.iterdir():
        if is_uuid(directory.name):
            destroy(scratch, directory.name)


def provision(site: Site, spec: ClusterSpec) -> tuple[Node, ...]:
    """Build the cluster and leave it running. If it is killed, the next call finishes it."""
    names.check_user_name(spec.user_name)
    nodes = plan_nodes(site, spec.cluster_id, spec.number_of_node, spec.port)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda node: _raise_node(site, spec, node), nodes))
    coordinator, data_nodes = nodes[0], nodes[1:]
    if data_nodes:
        fdw.wire(coordinator, data_nodes, spec.user_name)
    return nodes


def plan_nodes(
    site: Site, cluster_id: str, number_of_node: int, port: int, taken: AbstractSet[str] = frozenset()
) -> tuple[Node, ...]:
    """The cluster's nodes, coordinator first: their names, addresses and directories.

    The plan is written to the cluster's directory before anything is built, so that every later call means the same
    servers. Addresses avoid `taken`, all other plans of the site, and other programs' listeners.
    """
    directory = cluster_directory(site, cluster_id)
    with _planning(site):
        if known := planned_nodes(site, cluster_id):
            return known
        roles = [("cn", Role.CN)]
        if number_of_node > 1:
            roles += [(f"dn{number}", Role.DN) for number in range(1, number_of_node + 1)]
        hosts = _free_hosts(len(roles), taken | planned_hosts(site), cluster_id, port)
        os_user = site.claim(cluster_id)
        nodes = tuple(
            _node(site, cluster_id, name, role, host, port, os_user)
            for (name, role), host in zip(roles, hosts, strict=True)
        )
        for node in nodes:
            server.check_paths(node)
        outside = site.binaries.outside
        if outside is not None and not _can_bind(outside.address, port):
            raise ProvisionFailed(f"port {port} is in use on {outside.name}", hint="choose another port")
        _open_directory(directory)
        write_plan(directory, site.sealer, Plan(nodes))
        return nodes


def planned_nodes(site: Site, cluster_id: str) -> tuple[Node, ...]:
    """The nodes as they were planned; empty for a cluster that was never planned, or is destroyed."""
    plan = read_plan(cluster_directory(site, cluster_id), site.sealer)
    return plan.nodes if plan else ()


def standing_nodes(site: Site, cluster_id: str) -> tuple[Node, ...]:
    """The nodes of a cluster that is whole on this host, whether its servers run or not; empty for any other."""
    nodes = planned_nodes(site, cluster_id)
    return nodes if all(Path(node.directory, "pgdata").exists() for node in nodes) else ()


def start_all(site: Site, nodes: Sequence[Node]) -> None:
    """Start data nodes first: when the coordinator answers, the warehouse works."""
    for role in (Role.DN, Role.CN):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda node: server.start(site.binaries, node), _of(nodes, role)))


def stop_all(site: Site, nodes: Sequence[Node], mode: server.StopMode = "fast") -> None:
    for role in (Role.CN, Role.DN):
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda node: server.stop(site.binaries, node, mode), _of(nodes, role)))


def restart(site: Site, nodes: Sequence[Node]) -> None:
    stop_all(site, nodes)
    start_all(site, nodes)


def destroy(site: Site, cluster_id: str) -> None:
    """Stop the cluster's servers and remove all its files. If it is killed, the next call finishes it."""
    directory = cluster_directory(site, cluster_id)
    nodes = planned_nodes(site, cluster_id)
    for node in nodes:
        _refuse_outside(directory, Path(node.directory))
        _refuse_outside(site.sockets, Path(node.socket))
    stop_all(site, nodes, "immediate")
    for node in nodes:
        remove_tree(Path(node.directory))
        remove_tree(Path(node.socket))
    for os_user in {node.os_user for node in nodes} - {""}:
        remove_cluster_account(os_user)
    # The plan goes last: it lists the directories that are still to be removed.
    remove_tree(directory)


def allocate_hosts(number: int, taken: AbstractSet[str], seed: str) -> tuple[str, ...]:
    """`number` loopback addresses that are not `taken`, beginning at a place that `seed` decides.

    Different seeds lead far apart, so that services that do not know each other hardly ever meet.
    """
    seconds, thirds, fourths = len(_SECOND_OCTETS), len(_THIRD_OCTETS), len(_FOURTH_OCTETS)
    blocks = seconds * thirds
    first = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) % blocks
    candidates = (
        f"127.{_SECOND_OCTETS[block // thirds]}.{_THIRD_OCTETS[block % thirds]}.{_FOURTH_OCTETS[place]}"
        for block in ((first + step) % blocks for step in range(blocks))
        for place in range(fourths)
    )
    hosts = tuple(islice((host for host in candidates if host not in taken), number))
    if len(hosts) < number:
        raise ProvisionFailed("no loopback addresses are left on this host")
    return hosts


def _raise_node(site: Site, spec: ClusterSpec, node: Node) -> None:
    """One server, running, with both databases and the user."""
    is_coordinator = spec.number_of_node > 1 and node.role is Role.CN
    server.initialise(site.binaries, node, COORDINATOR_SETTINGS if is_coordinator else None)
    server.start(site.binaries, node)
    with session.refusing_as(ProvisionFailed, node):
        with closing(session.connect(node, "postgres")) as connection:
            _ensure_databases(connection)
            ensure_roles(connection, node)
            grant_connect(connection)
            _ensure_user(connection, spec, node.role)
            lineage.prepare(connection)  # before the user could make a schema of that name
        for database in DATABASES:
            with closing(session.connect(node, database)) as connection:
                _let_user_create(connection, database, spec.user_name)


def _ensure_databases(connection: Connection) -> None:
    # The server may still be at work for a service that was killed: wait until it has finished.
    connection.execute("SELECT pg_advisory_lock(%s)", [_MAKING_DATABASES])
    present = {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}
    for database in DATABASES:
        if database not in present:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def _ensure_user(connection: Connection, spec: ClusterSpec, role: Role) -> None:
    """Create the user.

    On the coordinator he gets the given password; on a data node he has no password until the wiring sets one.
    """
    user = sql.Identifier(spec.user_name)
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [spec.user_name]).fetchall()
    if not known:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(user))
    rights = sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS ").format(user)
    if role is Role.CN:
        verifier = scram_verifier(connection, spec.user_name, spec.user_pwd)
        rights += sql.SQL("CREATEDB PASSWORD {}").format(sql.Literal(verifier))
    connection.execute(rights)


def _let_user_create(connection: Connection, database: str, user_name: str) -> None:
    user = sql.Identifier(user_name)
    connection.execute(
        sql.SQL("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(database), user
        )
    )
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(user))


@contextmanager
def _planning(site: Site) -> Iterator[None]:
    """Allow one plan at a time on a site: two must not pick the same address."""
    with (site.clusters / ".planning").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def planned_hosts(site: Site) -> set[str]:
    """The addresses of all its clusters."""
    clusters = [path.name for path in site.clusters.iterdir() if is_uuid(path.name)]
    return {node.host for cluster_id in clusters for node in planned_nodes(site, cluster_id)}


def _free_hosts(number: int, taken: AbstractSet[str], seed: str, port: int) -> tuple[str, ...]:
    for _ in range(_PLACES_TRIED):
        hosts = allocate_hosts(number, taken, seed)
        busy = {host for host in hosts if not _can_bind(host, port)}
        if not busy:
            return hosts
        taken |= busy
    raise ProvisionFailed(
        f"port {port} is in use on {', '.join(sorted(busy))} and other loopback addresses",
        hint="a program listens on this port of all addresses: choose another port",
    )


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # PostgreSQL does the same: connections that have just ended do not count as listeners.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _node(site: Site, cluster_id: str, name: str, role: Role, host: str, port: int, os_user: str) -> Node:
    node_id = str(uuid.uuid5(uuid.UUID(cluster_id), name))
    return Node(
        id=node_id,
        name=name,
        role=role,
        host=host,
        port=port,
        directory=str(cluster_directory(site, cluster_id) / name),
        # Short: the path of a socket has at most 107 bytes.
        socket=str(site.sockets / node_id.replace("-", "")[:12]),
        lineage=new_hex(),
        os_user=os_user,
        secret=secrets.token_hex(32),
    )


def cluster_directory(site: Site, cluster_id: str) -> Path:
    if not is_uuid(cluster_id):
        raise InvalidInput("a cluster id is a UUID")
    return site.clusters / cluster_id


def _open_directory(path: Path) -> None:
    """Set the mode in spite of our umask or an earlier mode: the servers' accounts pass through, and see no names."""
    path.mkdir(exist_ok=True)
    path.chmod(0o711)


def _refuse_outside(root: Path, path: Path) -> None:
    if root.is_symlink() or path.is_symlink() or path.resolve().parent != root.resolve():
        raise InvalidInput(f"{path} is not inside {root}; it is not removed")


def _of(nodes: Sequence[Node], role: Role) -> list[Node]:
    return [node for node in nodes if node.role is role]
