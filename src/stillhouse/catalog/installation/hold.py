"""One service works on a catalog: it holds an advisory lock of its session on PostgreSQL, which ends with the session.

A service that loses the session begins nothing more, and asks for the lock again. Each holder writes its name into the
catalog. So one that gets the lock back knows by its own name that no other has worked in between, and goes on; else
another service carries the flows on already, and this one must end at once.

The server ends the session of a host that went silent after 25 s. The holder notices within 15 s, and so before.

The session hears the calls of other processes too, whether it has the lock or asks for it.
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
from stillhouse.catalog.schema.calls import Calls
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.failures import failures_translated
from stillhouse.errors import CatalogInUse, CatalogUnavailable

# Any constant will do that no other application uses. Locks are each database's own.
_LOCK = 0x5711_1005F
# A service that was killed just now is gone for the server a moment later.
_PATIENCE_SECONDS = 3.0
_BETWEEN_TRIES_SECONDS = 0.2
_STANDBY_SECONDS = 2.0
_PING_SECONDS = 5.0
# A ping that nobody has confirmed for so long ends the session here, at most 15 s after the network fell silent. The
# server ends it 20 to 25 s after, and another leads then.
_SILENCE_MILLISECONDS = "10000"
# When the server was restarted, the service that led asks each second, and gets the lock back before another does.
_GRACE_SECONDS = 5.0
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

_OTHERS = (
    "SELECT coalesce(string_agg(DISTINCT application_name, ', '), '') FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'stillhouse % pid %' AND application_name <> :name"
)


@dataclass(frozen=True)
class Told:
    """Those who are told, from a thread of the hold's own. `taken` gets the name of the other service."""

    lost: Callable[[], None]
    regained: Callable[[], None]
    taken: Callable[[str], None]


class Hold:
    """A session that asks for the lock, or has it, and hears calls."""

    def __init__(self, database: Database, calls: Calls | None = None) -> None:
        self._database, self._calls = database, calls or Calls()
        url = make_url(database.url).update_query_dict({"tcp_user_timeout": _SILENCE_MILLISECONDS})
        self._engine = postgres_pool.lasting(url)
        # The end of the name tells two services of one process number apart. PostgreSQL cuts names at 63 bytes.
        self._name = f"stillhouse {socket.gethostname()[:30]} pid {os.getpid()} {secrets.token_hex(3)}"
        self._ending = os.eventfd(0, os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._reason = ""
        self._asks_from = 0.0
        self._session = self._open()
        self.leader = ""

    def demand(self) -> None:
        """Take the lock. Raises CatalogInUse if another service has it, and keeps it for more than a moment."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._has_locked(self._session):
            if time.monotonic() > deadline:
                raise CatalogInUse(
                    f"another service works on this catalog: {self._holder()}",
                    hint="stop that one first, or let this one answer beside it (--replica) or stand by (--standby)",
                )
            time.sleep(_BETWEEN_TRIES_SECONDS)

    def check_alone(self) -> None:
        """Raise CatalogInUse if another service waits for the lock: it may answer requests meanwhile."""
        if others := self._ask(self._session, _OTHERS, name=self._name):
            raise CatalogInUse(f"other services are on this catalog: {others}", hint="stop all of them first")

    def await_turn(self, meanwhile: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the lock, however long. Return True once it is ours; False at the end of the hold, and as soon as
        `meanwhile` says so, which is asked after each try. `leader` is the holder's name, "" if nobody holds.
        """
        told = ""
        while reason := self._why_not_ours():
            if reason != told:
                told = reason
                log.get("catalog").info("waiting for the lead", reason=reason)
            if meanwhile() or self._rests(_STANDBY_SECONDS):
                return False
        return True

    def watch(self, told: Told) -> None:
        """Write our name into the catalog, whose schema is up to date, and tell of the end of the hold from now on."""
        with self._database.transaction() as transaction:
            identity.set_server(transaction, self._name)
        self._thread = threading.Thread(target=self._watch, args=(told,), name="catalog hold", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let nobody wait for the lock any more, nor watch it. It stays ours until `close`, if it is."""
        os.eventfd_write(self._ending, 1)

    def close(self) -> None:
        """Give the lock up. Nobody may be waiting for it."""
        self.end()
        if self._thread is not None:
            self._thread.join()
        self._drop()
        os.close(self._ending)

    def _why_not_ours(self) -> str:
        """Ask for the lock, in a new session if the last one broke. Return why it is not ours, or ""."""
        try:
            if self._session.closed:
                self._session = self._open()
                self._asks_from = time.monotonic() + _GRACE_SECONDS
            if time.monotonic() < self._asks_from:
                return "the session had ended, and the service that led may go on"
            is_ours = self._has_locked(self._session)
            self.leader = self._name if is_ours else self._holder()
            return "" if is_ours else f"another service works on the catalog: {self.leader}"
        except CatalogUnavailable as away:
            self.leader = ""
            self._drop()
            return str(away)

    def _rests(self, seconds: float) -> bool:
        """Hear calls for so long; True at the end of the hold."""
        latest = time.monotonic() + seconds
        while not self._session.closed and (left := latest - time.monotonic()) > 0:
            if not self._still_holds(left):
                self._drop()
            if self._has_ended(0):
                return True
        return self._has_ended(max(0.0, latest - time.monotonic()))

    def _holder(self) -> str:
        return self._ask(self._session, _HOLDER, high=_LOCK >> 32, low=_LOCK & 0xFFFF_FFFF) or "unknown"

    def _watch(self, told: Told) -> None:
        while not self._has_ended(0):
            if self._still_holds(_PING_SECONDS):
                continue
            told.lost()
            self._drop()
            while not self._has_ended(0) and not self._is_back(told):
                self._has_ended(_RETRY_SECONDS)

    def _still_holds(self, seconds: float) -> bool:
        """Wait for news of the session, so long at most; then ask the server, which delivers calls with its answer.

        A server that ends the session tells so at once.
        """
        driver = self._driver()
        poll = select.poll()
        for descriptor in (self._ending, driver.fileno()):
            poll.register(descriptor, select.POLLIN | select.POLLRDHUP)
        poll.poll(seconds * 1000)
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
        with failures_translated():
            self._calls.listen(session)
        return session

    def _has_locked(self, session: Connection) -> bool:
        return bool(self._ask(session, "SELECT pg_try_advisory_lock(:lock)", lock=_LOCK))

    def _ask(self, session: Connection, statement: str, **values: Any) -> Any:
        with failures_translated():
            return session.execute(text(statement), values).scalar()

    def _driver(self) -> Any:
        return self._session.connection.driver_connection

    def _drop(self) -> None:
        self._calls.deaf()
        with suppress(exc.SQLAlchemyError):
            self._session.invalidate()
            self._session.close()

    def _has_ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._ending, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


@contextmanager
def opened(database: Database, calls: Calls | None = None) -> Iterator[Hold]:
    """A session at a catalog on PostgreSQL, which has not asked for the lock yet."""
    hold = Hold(database, calls)
    try:
        yield hold
    finally:
        hold.close()


@contextmanager
def held(database: Database) -> Iterator[Hold | None]:
    """Hold the catalog alone; a file in the data directory is held with the directory. Raises CatalogInUse."""
    if database.is_sqlite:
        yield None
        return
    with opened(database) as hold:
        hold.demand()
        hold.check_alone()
        yield hold
