"""The check that a restored node is sound: every page readable, every row known to its indexes."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from stillhouse.domain.cluster import Node
from stillhouse.errors import ProofFailed
from stillhouse.postgres import session
from stillhouse.postgres.binaries import Binaries

_LONGEST_SECONDS = 24 * 3600.0
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn"
_HAS_AMCHECK = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'amcheck')"


def check_structure(node: Node, binaries: Binaries) -> list[str]:
    """What pg_amcheck finds in any database; nothing = sound.

    Only ever for a clone: the extension amcheck is there meanwhile, and its locks hold writers up.
    """
    unique = ("--checkunique",) if binaries.major >= 17 else ()
    where = (f"--host={node.socket}", f"--port={node.port}", f"--username={session.SUPERUSER}")
    options = ("--all", "--install-missing", "--heapallindexed", "--parent-check", "--rootdescend", *unique)
    with session.refusing_as(ProofFailed, node), _amcheck_removed_afterwards(node):
        done = binaries.run("pg_amcheck", *where, "--no-password", *options, timeout=_LONGEST_SECONDS)
    said = (done.stdout + done.stderr).splitlines()
    if done.returncode and not said:
        said = [f"pg_amcheck ended with code {done.returncode}"]
    return [line for line in said if line.strip()]


@contextmanager
def _amcheck_removed_afterwards(node: Node) -> Iterator[None]:
    """A clone that was checked equals its source still."""
    with closing(session.connect(node, "postgres")) as connection:
        databases = [name for (name,) in connection.execute(_DATABASES).fetchall()]
    lacking = []
    for database in databases:
        with closing(session.connect(node, database)) as connection:
            ((is_there,),) = connection.execute(_HAS_AMCHECK).fetchall()
        if not is_there:
            lacking.append(database)
    try:
        yield
    finally:
        for database in lacking:
            with closing(session.connect(node, database)) as connection:
                connection.execute("DROP EXTENSION IF EXISTS amcheck")
