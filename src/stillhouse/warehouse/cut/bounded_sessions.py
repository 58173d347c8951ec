"""The sessions of a cut: opened before it, and limited so that they cannot hold the warehouse up."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed, StateForbids
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import Database, enter
from stillhouse.postgres.sessions.session import Connection

# The server frees a vanished client's locks within seconds. By default it would wait two hours for TCP keepalive.
BOUNDS = {
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "5s",
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "5",
}
# Our wait is shorter than deadlock_timeout, so in a deadlock with a writer the gate gives up. A session that has
# waited for deadlock_timeout looks for a cycle and is the one that is killed (storage/lmgr/proc.c, ProcSleep).
_BOUND_LOCKS = """
    SELECT setting::int,
           pg_is_in_recovery(),
           set_config('lock_timeout', greatest(1, least(200, setting::int / 4)) || 'ms', false)
      FROM pg_settings WHERE name = 'deadlock_timeout'
"""


@dataclass(frozen=True)
class Bounded:
    """A warm session with every time-out set. `deadlock_seconds` is its server's deadlock_timeout."""

    node: Node
    database: str
    connection: Connection
    deadlock_seconds: float


@contextmanager
def bounded(node: Node, database: Database | str) -> Iterator[Bounded]:
    """A session on a primary. It is always closed at the end, which releases everything that it holds.

    Raises DatabaseClosed for a database that cannot be entered.
    """
    name = str(database)
    with closing(
        session.connect(node, database, application_name="stillhouse cut", settings=BOUNDS)
        if isinstance(database, str)
        else enter(node, database, application_name="stillhouse cut", settings=BOUNDS)
    ) as opened:
        with answering(node):
            deadlock, standby, _ = opened.execute(_BOUND_LOCKS).fetchall()[0]
        if standby:
            raise StateForbids(f"node {node.name} is a standby; a cut is taken on primaries only")
        yield Bounded(node, name, opened, deadlock / 1000)


def answering(node: Node) -> AbstractContextManager[None]:
    """Wrap a question to a node: a failure by time-outs, ended sessions or others' DDL is worth another try."""
    return session.refusing_as(CaptureFailed, node)
