"""Lock-outs that hold for all replicas: the failures are rows of the catalog.

A failure is a write; an ordinary request is not even a read. A replica hears of each failure, and asks the catalog only
about callers of whom it has heard.
"""

import threading
from collections import OrderedDict
from datetime import timedelta
from time import monotonic

from stillhouse.catalog.access import lockouts
from stillhouse.catalog.schema.calls import LOCKOUT, Calls, call
from stillhouse.catalog.schema.database import Database
from stillhouse.clock import Clock
from stillhouse.control.lockout import REMEMBERED, SECONDS, TRIES, Subject, digest

_WINDOW = timedelta(seconds=SECONDS)
_KINDS = 3
# A row means nothing when its window is over; the call may have come late.
_ASKED_SECONDS = 2 * SECONDS


class FailuresHeard:
    """The callers who may have rows. While calls are not heard, that is everybody. For any thread."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self._database, self._calls = database, calls
        self._names: OrderedDict[str, float] = OrderedDict()
        self._is_whole, self._lost = False, 0
        self._guard = threading.Lock()
        calls.on(LOCKOUT, self.add)
        calls.on_deaf(self._lose)

    def add(self, name: str) -> None:
        with self._guard:
            self._names[name] = monotonic()
            self._names.move_to_end(name)
            # As many as there may be rows, of which the oldest go first too.
            while len(self._names) > _KINDS * REMEMBERED:
                self._names.popitem(last=False)

    def may_have(self, name: str) -> bool:
        if not self._is_whole and not self._read():
            return True
        with self._guard:
            heard = self._names.get(name)
        return heard is not None and monotonic() - heard < _ASKED_SECONDS

    def _read(self) -> bool:
        """Learn of the rows from before the calls were heard; False if they are not heard."""
        lost = self._lost
        if not self._calls.hears:
            return False
        with self._database.reading() as reading:
            found = lockouts.all_known(reading)
        for kind, subject in found:
            self.add(f"{kind}/{subject}")
        with self._guard:
            self._is_whole = lost == self._lost
        return self._is_whole

    def _lose(self) -> None:
        with self._guard:
            self._is_whole, self._lost = False, self._lost + 1


class SharedLockouts:
    """Those of one kind of callers. Used from many threads."""

    def __init__(self, database: Database, heard: FailuresHeard, kind: str) -> None:
        self._database, self._heard, self._kind = database, heard, kind

    def is_locked(self, subject: Subject, clock: Clock) -> bool:
        key = digest(subject).hex()
        if not self._heard.may_have(self._name(key)):
            return False
        with self._database.reading() as reading:
            return lockouts.is_locked(reading, self._kind, key, clock.now())

    def failed(self, subject: Subject, clock: Clock) -> None:
        key, now = digest(subject).hex(), clock.now()
        with self._database.transaction() as transaction:
            lockouts.fail(transaction, self._kind, key, now, tries=TRIES, window=_WINDOW)
            lockouts.forget_old(transaction, self._kind, now - _WINDOW, REMEMBERED)
            call(transaction, LOCKOUT, self._name(key))
        self._heard.add(self._name(key))

    def succeeded(self, subject: Subject) -> None:
        key = digest(subject).hex()
        if not self._heard.may_have(self._name(key)):
            return
        with self._database.reading() as reading:
            is_known = lockouts.is_known(reading, self._kind, key)
        if is_known:
            with self._database.transaction() as transaction:
                lockouts.forget(transaction, self._kind, key)

    def _name(self, key: str) -> str:
        return f"{self._kind}/{key}"
