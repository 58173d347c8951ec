"""Replication slots as other sessions see them: the position of the WAL that they keep, their names, their removal."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.wal.lsn import parse_lsn

_END_MILLISECONDS = 5000
_SETTINGS = {"statement_timeout": "20s", "lock_timeout": "10s"}


class WalPosition:
    """The position up to which a server's WAL is on its disk. Safe to use from several threads.

    It has a session of its own. If that breaks, it is opened again, and the backup's session is not affected.
    """

    def __init__(self, node: Node) -> None:
        """Open the session. Raises NodeUnreachable."""
        self._node = node
        self._lock = threading.Lock()
        self._connection = self._connect()

    def flushed(self) -> int:
        """Return the LSN. Raises NodeUnreachable, or the driver's error if the second try fails as well."""
        with self._lock:
            try:
                return self._ask()
            except session.Error:
                self._connection.close()
                self._connection = self._connect()
                return self._ask()

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> session.Connection:
        return session.connect(self._node, "postgres", application_name="stillhouse wal", settings=_SETTINGS)

    def _ask(self) -> int:
        row = self._connection.execute("SELECT pg_catalog.pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None, "a function without a set returns one row"
        return parse_lsn(row[0])


def list_slots(node: Node) -> list[str]:
    """Return the names of all slots on the server, by any creator. Raises NodeUnreachable."""
    with _looking(node) as connection:
        rows = connection.execute("SELECT slot_name FROM pg_catalog.pg_replication_slots").fetchall()
    return [name for (name,) in rows]


def remove_slots(node: Node, names: Sequence[str]) -> list[str]:
    """End the sessions that hold these slots, and drop slots without a session. Return the names that were there.

    A temporary slot goes with its session. Raises NodeUnreachable.
    """
    with _looking(node) as connection:
        return [name for name in names if _remove(connection, name)]


def _remove(connection: session.Connection, name: str) -> bool:
    held = connection.execute(
        "SELECT pg_catalog.pg_terminate_backend(active_pid, %s) FROM pg_catalog.pg_replication_slots"
        " WHERE slot_name = %s AND active_pid IS NOT NULL",
        (_END_MILLISECONDS, name),
    ).fetchall()
    try:
        dropped = connection.execute(
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name)::text FROM pg_catalog.pg_replication_slots"
            " WHERE slot_name = %s AND active_pid IS NULL",
            (name,),
        ).fetchall()
    except (psycopg.errors.UndefinedObject, psycopg.errors.ObjectInUse):
        dropped = []  # the slot was dropped or taken between the two statements
    return bool(held or dropped)


@contextmanager
def _looking(node: Node) -> Iterator[session.Connection]:
    """Open a session for the block. An error of the server becomes NodeUnreachable, because a later try may help."""
    with (
        session.refusing_as(NodeUnreachable, node),
        closing(
            session.connect(node, "postgres", application_name="stillhouse slots", settings=_SETTINGS)
        ) as connection,
    ):
        yield connection
