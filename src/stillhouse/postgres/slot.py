"""A capture's replication slot: keeps the server's WAL until it is durable with us, and no longer."""

import shutil
import threading

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureInterrupted
from stillhouse.postgres import session
from stillhouse.postgres.tree import Directory
from stillhouse.postgres.wal import parse_lsn

_WATCH_SECONDS = 1.0


class Slot:
    """One slot and the session that tends it. Safe to use from several threads."""

    def __init__(self, node: Node, name: str) -> None:
        """Reserve WAL from now on. `name` carries installation, snapshot and attempt: it is nobody else's."""
        self.name = name
        self._node = node
        self._lock = threading.Lock()
        self._connection = session.connect(
            node, "postgres", autocommit=True, application_name=f"stillhouse {name}"
        )
        try:
            self._text("SELECT pg_catalog.pg_create_physical_replication_slot(%s, true)::text", name)
        except session.Error:
            self.close()
            raise

    def check(self) -> None:
        """Raises CaptureInterrupted when the slot no longer holds all WAL since its start."""
        status = self._text(
            "SELECT wal_status FROM pg_catalog.pg_replication_slots WHERE slot_name = %s", self.name
        )
        if status not in ("reserved", "extended"):
            raise CaptureInterrupted(
                f"the slot on node {self._node.name} is {status or 'gone'}: WAL was removed",
                hint="allow more WAL to be kept, or take the snapshot at a quieter time",
            )

    def flushed(self) -> int:
        """LSN up to which WAL is on the server's disk."""
        return parse_lsn(self._text("SELECT pg_catalog.pg_current_wal_flush_lsn()::text"))

    def advance(self, lsn: int) -> None:
        """Let the server remove WAL before `lsn`."""
        text = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
        self._text(
            "SELECT end_lsn::text FROM pg_catalog.pg_replication_slot_advance(%s, %s::pg_lsn)",
            self.name,
            text,
        )

    def drop(self) -> None:
        """Give the WAL free. It is no error when the slot is gone."""
        self._text(
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name)::text FROM pg_catalog.pg_replication_slots"
            " WHERE slot_name = %s",
            self.name,
        )

    def close(self) -> None:
        self._connection.close()

    def _text(self, query: str, *arguments: object) -> str:
        with self._lock:
            row = self._connection.execute(query, arguments).fetchone()
        return row[0] if row and row[0] is not None else ""


class Released:
    """How far the server's WAL has been given free."""

    def __init__(self, lsn: int) -> None:
        self.lsn = lsn


class Watchdog:
    """Drops the slot before it can fill the server's disk, however long a store may hang."""

    def __init__(self, slot: Slot, wal: Directory, limit_bytes: int, released: Released) -> None:
        self._slot, self._wal, self._limit, self._released = slot, wal, limit_bytes, released
        self._stopped = threading.Event()
        self.tripped = ""
        self._thread = threading.Thread(target=self._watch, name="wal watchdog", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self.tripped:
            raise CaptureInterrupted(
                self.tripped, hint="raise wal_retention_bytes or give the store more room to breathe"
            )

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            self._watch_until_stopped()
        except (session.Error, OSError) as error:
            self.tripped = f"the WAL kept for {self._slot.name} cannot be watched: {error}"

    def _watch_until_stopped(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            retained = self._slot.flushed() - self._released.lsn
            allowed = min(self._limit, shutil.disk_usage(self._wal.descriptor).free // 4)
            if retained > allowed:
                self.tripped = (
                    f"{retained} bytes of WAL were retained on {self._slot.name}, {allowed} are allowed"
                )
                self._slot.drop()
                return


def drop_slots(node: Node, prefix: str) -> list[str]:
    """Drop the inactive slots whose name begins with `prefix`; returns their names. Those of others stay."""
    with session.connect(
        node, "postgres", autocommit=True, application_name="stillhouse slots"
    ) as connection:
        rows = connection.execute(
            "SELECT slot_name, pg_catalog.pg_drop_replication_slot(slot_name)::text"
            " FROM pg_catalog.pg_replication_slots WHERE starts_with(slot_name::text, %s) AND NOT active",
            (prefix,),
        ).fetchall()
    return [row[0] for row in rows]
