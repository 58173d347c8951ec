"""Calls between the processes on one catalog: a transaction says a word, and others hear it once it has committed.

PostgreSQL carries them (NOTIFY). Beside a catalog in a file one service works alone, and nobody is called.
"""

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, func, select, text

from stillhouse.catalog.schema.database import Transaction

_LISTEN = text("LISTEN stillhouse")
WORK = "work"
"""Flows were enqueued."""
BELL = "bell"
"""A bell is to be rung, for the subject that follows."""
ACCESS = "access"
"""A key, a user or a policy has changed: a trigger of the catalog says so."""
LOCKOUT = "lockout"
"""A caller has failed to show who they are: the name of their row follows."""


def call(transaction: Transaction, word: str, about: str = "") -> None:
    """Say the word to all processes on the catalog, this one among them, if the transaction commits."""
    if transaction.dialect.name == "postgresql":
        said = f"{word} {about}" if about else word
        transaction.execute(select(func.pg_notify("stillhouse", said)))


class Calls:
    """The calls that this process hears, in a session that somebody else keeps. For any thread.

    While that session is broken the process is deaf: whatever it remembers by calls must be asked anew.
    """

    def __init__(self) -> None:
        self._acts: dict[str, Callable[[str], None]] = {}
        self._deafened: list[Callable[[], None]] = []
        self._guard = threading.Lock()
        self._heard, self._hears = 0, False

    def on(self, word: str, act: Callable[[str], None]) -> None:
        """Do this, quickly and without failing, with what follows the word; in the thread that listens."""
        self._acts[word] = act

    def on_deaf(self, act: Callable[[], None]) -> None:
        self._deafened.append(act)

    def listen(self, session: Connection) -> None:
        """Hear calls in this session. Its driver delivers them with the answers to queries."""
        driver: Any = session.connection.driver_connection
        driver.add_notify_handler(lambda notice: self._hear(notice.payload))
        session.execute(_LISTEN)
        with self._guard:
            self._hears, self._heard = True, self._heard + 1

    def deaf(self) -> None:
        """The session is gone."""
        with self._guard:
            self._hears = False
        for act in self._deafened:
            act()

    @property
    def hears(self) -> bool:
        return self._hears

    def access_version(self) -> int | None:
        """Return a number that changes with each change of keys, users and policies; `None` while deaf."""
        with self._guard:
            return self._heard if self._hears else None

    def _hear(self, said: str) -> None:
        word, _, about = said.partition(" ")
        if word == ACCESS:
            with self._guard:
                self._heard += 1
        elif act := self._acts.get(word):
            act(about)
