"""Acts that wait for a transaction's commit, for example those that wake who waits for the change.

They are noted on the transaction itself, so a function that changes rows need not know when they are committed.
"""

from collections.abc import Callable

from sqlalchemy import Connection

_KEY = "stillhouse.after_commit"


def begin(transaction: Connection) -> list[Callable[[], None]]:
    """Return the list that `after_commit` fills. The catalog calls it as a transaction begins."""
    acts: list[Callable[[], None]] = []
    transaction.info[_KEY] = acts
    return acts


def after_commit(transaction: Connection, act: Callable[[], None]) -> None:
    """Call `act` when the transaction has committed, if it does. It must be quick, and must not fail."""
    transaction.info[_KEY].append(act)
