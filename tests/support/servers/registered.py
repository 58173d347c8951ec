"""A server as somebody's: reached over TCP alone, by a role with the documented rights and no more."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from stillhouse.domain.cluster import Cluster, Connection, Engine, Node, Provider, Role
from stillhouse.domain.ids import new_hex
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.grants import script
from stillhouse.postgres.wal import lineage
from support.snapshots.cuts import superuser, tell

ROLE, PASSWORD = "backup", "Registered-1"


def make_foreign(node: Node) -> None:
    """Leave nothing of ours on a server: its superuser is called postgres, and our other role goes."""
    rules = Path(node.directory, "pgdata", "pg_hba.conf")
    rules.write_text(f"local all postgres,another trust\n{rules.read_text()}")
    with superuser(node) as connection:
        tell(connection, "SELECT pg_reload_conf()")
        for (database,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datallowconn"
        ).fetchall():
            tell(connection, f"REVOKE ALL ON DATABASE {database} FROM {session.READER}")
        tell(connection, f"DROP OWNED BY {session.READER}")
        tell(connection, f"DROP ROLE {session.READER}")
        tell(connection, "CREATE ROLE another SUPERUSER LOGIN")
    with closing(session.connect(node, "postgres", role="another")) as connection:
        connection.execute(f"ALTER ROLE {session.SUPERUSER} RENAME TO postgres".encode())
    with closing(session.connect(node, "postgres", role="postgres")) as connection:
        connection.execute(b"DROP ROLE another")


def registered(cluster: Cluster, place: Path) -> Cluster:
    """The same servers as a cluster of somebody's. `place` keeps the passwords."""
    is_wired = cluster.engine is Engine.FDW
    nodes = tuple(as_somebodys(node, place, gate=is_wired and node.role is Role.CN) for node in cluster.nodes)
    return replace(cluster, nodes=nodes, provider=Provider.REGISTERED)


def as_somebodys(node: Node, place: Path, *, gate: bool = False) -> Node:
    with superuser(node) as connection:
        tell(connection, f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        tell(connection, script(ROLE, gate=gate))
        tell(connection, "DROP SCHEMA IF EXISTS stillhouse CASCADE")
    let_in(node)
    file = place / f"password-{new_hex()}"
    file.write_text(f"{PASSWORD}\n")
    there = Connection(((node.host, node.port),), ROLE, password_file=str(file), tls="disable")
    somebodys = replace(node, directory="", socket="", secret="", connection=there)
    with closing(session.connect(somebodys, "postgres")) as connection:
        lineage.prepare(connection)  # as a registration does
    return somebodys


def let_in(node: Node, role: str = ROLE) -> None:
    """Let a role in for queries and replication. Each start of the server by us forgets it."""
    rules = Path(node.directory, "pgdata", "pg_hba.conf")
    rules.write_text(f"host all,replication {role} 127.0.0.0/8 scram-sha-256\n{rules.read_text()}")
    with superuser(node) as connection:
        tell(connection, "SELECT pg_reload_conf()")
        seen = "SELECT 1 FROM pg_hba_file_rules WHERE %s = ANY(user_name) LIMIT 1"
        assert connection.execute(seen, [role]).fetchall() == [(1,)]
