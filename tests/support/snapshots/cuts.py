"""How the tests of the cut take one, and how they look at the warehouse."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import Cut
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cut import cut
from support.databases.writers import Bank, until

OUR_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stillhouse cut'"
OUR_LOCKS = """
    SELECT c.relname, l.mode
      FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
     WHERE a.application_name = 'stillhouse cut' AND l.locktype = 'relation' AND l.granted
       AND l.mode IN ('ShareLock', 'ExclusiveLock', 'ShareRowExclusiveLock') ORDER BY l.relation
"""


def take(bank: Bank, *, deadline: float = 30, **options: Any) -> Cut:
    return cut.take_cut(
        bank.cluster,
        "test",
        deadline_seconds=deadline,
        clock=SystemClock(),
        should_stop=options.pop("should_stop", lambda: False),
        **options,
    )


@contextmanager
def superuser(node: Node, database: str = "postgres") -> Iterator[session.Connection]:
    with closing(session.connect(node, database, autocommit=True, application_name="test")) as connection:
        yield connection


def ask(connection: Any, question: str) -> list[Any]:
    return list(connection.execute(question.encode()).fetchall())


def tell(connection: Any, command: str) -> None:
    connection.execute(command.encode())


def grow_old(connection: Any) -> None:
    """Wait until the connection's transaction is older than what the gate locks against."""
    old = "SELECT clock_timestamp() > xact_start + interval '1 s' FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    until(lambda: ask(connection, old) == [(True,)], 10)


def without_autovacuum(node: Node) -> None:
    """Stop autovacuum: a worker with an id at the moment of a cut leaves the node without a witness, as it should."""
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET autovacuum = off")
        tell(connection, "SELECT pg_reload_conf()")
