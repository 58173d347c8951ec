"""The size of a server's databases, for plans and progress."""

from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.postgres.sessions import session


def of_databases(node: Node) -> int:
    """Return the bytes of all databases, free space in files included. Raises NodeUnreachable."""
    with closing(session.connect(node, "postgres")) as connection:
        row = connection.execute("SELECT sum(pg_database_size(oid))::bigint FROM pg_database").fetchone()
    assert row is not None
    return int(row[0])
