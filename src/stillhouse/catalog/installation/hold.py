"""One service works on a catalog: it holds an advisory lock of its session on PostgreSQL, which ends with the session.

A service that loses the session begins nothing more, and asks for the lock again. Each holder writes its name into the
catalog. So one that gets the lock back knows by its own name that no other has worked in between, and goes on; else
another service carries the flows on already, and this one must end at once.

The server ends the session of a host that went silent after 25 s. The holder notices within 15 s, and so before.
"""

import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exc, make_url, text

from stillhouse import log
from stillhouse.catalog.installation import identity
from stillhouse.catalog.schema import postgres_pool
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.failures import failures_translated
from stillhouse.errors import CatalogInUse, CatalogUnavailable, InvalidInput

# Any constant will do that no other application uses. Locks are each database's own.
_LOCK = 0x5711_1005F
# A service that was killed just now is gone for the server a moment later.
_PATIENCE_SECONDS = 3.0
_BETWEEN_TRIES_SECONDS = 0.2
_STANDBY_SECONDS = 2.0
_PING_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_SESSION = (
    "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),"
    " set_config('tcp_keepalives_count', '3', false), set_config('idle_session_timeout', '0', false),"
    " set_config('application_name', :name, false)"
)
_HOLDER = (
    "SELECT coalesce(max(application_name), '') FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database"
    " WHERE datname = current_database()) AND classid = :high AND objid = :low"
)


@dataclass(frozen=True)
class Told:
    """Those who are told, from a thread of the hold's own. `taken` gets the name of the other service."""

    lost: Callable[[], None]
    regained: Callable[[], None]
    taken: Callable[[str], None]


class Hold:
    """The lock, in a session of its own. Where another service has it, one that stands by waits for it, however long.

    Any other raises CatalogInUse.
    """

    def __init__(self, database: Database, *, stands_by: bool = False) -> None:
        self._database = database
        self._engine = postgres_pool.lasting(make_url(database.url))
        # The end of the name tells two services of one process number apart. PostgreSQL cuts names at 63 bytes.
        self._name = f"stillhouse {socket.gethostname()[:30]} pid {os.getpid()} {secrets.token_hex(3)}"
        self._ending = os.eventfd(0, os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._reason = ""
        self._session = self._open()
        if stands_by:
            self._await_lock()
        else:
            self._demand_lock()

    def watch(self, told: Told) -> None:
        """Write our name into the catalog, whose schema is up to date, and tell of the end of the hold from now on."""
        with self._database.transaction() as transaction:
            identity.set_server(transaction, self._name)
        self._thread = threading.Thread(target=self._watch, args=(told,), name="catalog hold", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the lock up."""
        os.eventfd_write(self._ending, 1)
        if self._thread is not None:
            self._thread.join()
        self._drop()
        os.close(self._ending)

    def _demand_lock(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._has_locked(self._session):
            if time.monotonic() > deadline:
                holder = self._holder()
                self.close()
                raise CatalogInUse(
                    f"another service works on this catalog: {holder}",
                    hint="stop that one first, or let this one stand by until it ends: --standby",
                )
            time.sleep(_BETWEEN_TRIES_SECONDS)

    def _await_lock(self) -> None:
        told = ""
        while reason := self._why_not_ours():
            if reason != told:
                told = reason
                log.get("catalog").info("standing by", reason=reason)
            time.sleep(_STANDBY_SECONDS)

    def _why_not_ours(self) -> str:
        """Ask for the lock, in a new session if the last one broke. Return why it is not ours, or ""."""
        try:
            if self._session.closed:
                self._session = self._open()
            if self._has_locked(self._session):
                return ""
            return f"another service works on the catalog: {self._holder()}"
        except CatalogUnavailable as away:
            self._drop()
            return str(away)

    def _holder(self) -> str:
        return self._ask(self._session, _HOLDER, high=_LOCK >> 32, low=_LOCK & 0xFFFF_FFFF) or "unknown"

    def _watch(self, told: Told) -> None:
        while not self._has_ended(0):
            if self._still_holds():
                continue
            told.lost()
            self._drop()
            while not self._has_ended(0) and not self._is_back(told):
                self._has_ended(_RETRY_SECONDS)

    def _still_holds(self) -> bool:
        """Wait for news of the session, for a while; then ask the server. A server that ends it tells so at once."""
        driver = self._driver()
        poll = select.poll()
        for descriptor in (self._ending, driver.fileno()):
            poll.register(descriptor, select.POLLIN | select.POLLRDHUP)
        poll.poll(_PING_SECONDS * 1000)
        if self._has_ended(0):
            return True
        try:
            self._ask(self._session, "SELECT 1")
            return True
        except CatalogUnavailable:
            return False

    def _is_back(self, told: Told) -> bool:
        """Try to get the lock back. Before that, or after, another name in the catalog says that it is another's."""
        try:
            self._session = self._open()
            has_locked = self._has_locked(self._session)
            with self._database.reading() as reading:
                known = identity.find(reading)
        except CatalogUnavailable as away:
            if self._reason != str(away):  # each is told once, not each second
                self._reason = str(away)
                log.get("catalog").warning("the hold of the catalog is not back yet", reason=self._reason)
            self._drop()
            return False
        is_ours = known is not None and known.served_by == self._name
        if not is_ours:
            told.taken(known.served_by if known else "unknown")
        elif has_locked:
            told.regained()
            return True
        # Else our own session of before stands there yet, or another service has not written its name.
        self._drop()
        return False

    def _open(self) -> Connection:
        with failures_translated():
            session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._ask(session, _SESSION, name=self._name)
        return session

    def _has_locked(self, session: Connection) -> bool:
        return bool(self._ask(session, "SELECT pg_try_advisory_lock(:lock)", lock=_LOCK))

    def _ask(self, session: Connection, statement: str, **values: Any) -> Any:
        with failures_translated():
            return session.execute(text(statement), values).scalar()

    def _driver(self) -> Any:
        return self._session.connection.driver_connection

    def _drop(self) -> None:
        with suppress(exc.SQLAlchemyError):
            self._session.invalidate()
            self._session.close()

    def _has_ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._ending, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


@contextmanager
def held(database: Database, *, stands_by: bool = False) -> Iterator[Hold | None]:
    """Hold the catalog; a file in the data directory is held with the directory. Raises as `Hold`, and InvalidInput."""
    if database.is_sqlite:
        if stands_by:
            raise InvalidInput(
                "a service can stand by only where the catalog is on PostgreSQL",
                hint="set STILLHOUSE_CATALOG, or leave --standby (STILLHOUSE_STANDBY) out",
            )
        yield None
        return
    hold = Hold(database, stands_by=stands_by)
    try:
        yield hold
    finally:
        hold.close()
