"""Slots as other sessions see them: how far the WAL has come that they keep, who holds them, how they are removed."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres import session
from stillhouse.postgres.wal import parse_lsn

_END_MILLISECONDS = 5000
_SETTINGS = {"statement_timeout": "20s", "lock_timeout": "10s"}


class WalPosition:
    """How far a server's WAL is on its disk. Safe to use from several threads.

    Asked in a session that may break: it is opened anew, and the backup's own does not suffer.
    """

    def __init__(self, node: Node) -> None:
        """Raises NodeUnreachable."""
        self._node = node
        self._lock = threading.Lock()
        self._connection = self._connect()

    def flushed(self) -> int:
        """The LSN. Raises NodeUnreachable, or the driver's error when the server answers with one twice."""
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
    """Names of all slots on the server, whoever made them. Raises NodeUnreachable."""
    with _looking(node) as connection:
        rows = connection.execute("SELECT slot_name FROM pg_catalog.pg_replication_slots").fetchall()
    return [name for (name,) in rows]


def remove_slots(node: Node, names: Sequence[str]) -> list[str]:
    """End the sessions that hold these slots, and drop those that nobody holds; the names of those that were there.

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
        dropped = []  # gone, or taken, between the look and the drop
    return bool(held or dropped)


@contextmanager
def _looking(node: Node) -> Iterator[session.Connection]:
    """A server that answers with an error is asked again another time, as one that does not answer is."""
    with (
        session.refusing_as(NodeUnreachable, node),
        closing(
            session.connect(node, "postgres", application_name="stillhouse slots", settings=_SETTINGS)
        ) as connection,
    ):
        yield connection
