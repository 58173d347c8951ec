"""Embedded warehouses for tests: how one is made, logged in to, and looked at from outside."""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import furnish
from stillhouse.warehouse.cluster import embedded, fdw
from stillhouse.warehouse.cluster.embedded import ClusterSpec, Site

USER = "dbadmin"
PASSWORD = "Str0ng-Pass-11"
PORT = 8000


class MakeWarehouse(Protocol):
    """The fixture `make_warehouse`."""

    def __call__(self, number_of_node: int, name: str = "warehouse") -> tuple[Cluster, str]:
        """A running cluster (1 = a single server, n = CN and n DNs) and its user's password."""
        ...


def new_spec(number_of_node: int, *, port: int = PORT) -> ClusterSpec:
    return ClusterSpec(new_uuid(), number_of_node, port, USER, PASSWORD)


def build(site: Site, number_of_node: int, name: str = "warehouse", *, port: int = PORT) -> Cluster:
    """A cluster at work, as the control plane would know it."""
    spec = new_spec(number_of_node, port=port)
    return as_cluster(spec, embedded.provision(site, spec), name)


def take_in(site: Site, copied: Node, settings: Mapping[str, str] | None = None) -> None:
    """Start a server in a copy of another's directory, whose passwords it knows, and give it those of its own."""
    server.start(site.binaries, copied, settings, locked=True)
    furnish(copied)
    server.reload(site.binaries, copied)


def as_cluster(spec: ClusterSpec, nodes: tuple[Node, ...], name: str = "warehouse") -> Cluster:
    now = datetime.now(UTC)
    return Cluster(
        id=spec.cluster_id,
        project=new_hex(),
        name=name,
        engine=Engine.SINGLE if spec.number_of_node == 1 else Engine.FDW,
        status=ClusterStatus.AVAILABLE,
        number_of_node=spec.number_of_node,
        port=spec.port,
        user_name=spec.user_name,
        created=now,
        updated=now,
        nodes=nodes,
    )


def log_in(
    node: Node, *, user: str = USER, password: str = PASSWORD, database: str = "postgres"
) -> psycopg.Connection[Any]:
    """As any program of the warehouse's users does: over TCP, with a password."""
    return psycopg.connect(
        host=node.host, port=node.port, user=user, password=password, dbname=database, autocommit=True
    )


def let_user_into_data_nodes(cluster: Cluster, password: str = PASSWORD) -> None:
    """Replace the data nodes' secret password by a known one, so that a test can log in to them by itself."""
    user = sql.Identifier(cluster.user_name)
    for node in cluster.data_nodes:
        fdw.set_password(node, cluster.user_name, password)
        for database in fdw.DATABASES:
            with closing(session.connect(cluster.coordinator, database)) as connection:
                connection.execute(
                    sql.SQL("ALTER USER MAPPING FOR {} SERVER {} OPTIONS (SET password {})").format(
                        user, sql.Identifier(node.name), sql.Literal(password)
                    )
                )


def rows(node: Node, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    """What the node's superuser sees."""
    with closing(session.connect(node, database)) as connection:
        return list(connection.execute(query.encode()).fetchall())


def servers_below(directory: Path) -> list[int]:
    """Every process that works below `directory`, as servers do, and the programs that make and start them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            works_in, parent = (process / "cwd").readlink(), (process / "stat").read_text().rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        # A server's own processes are its children, and not counted.
        if works_in.is_relative_to(directory) and int(parent.split()[1]) == 1:
            found.append(int(process.name))
    return found
