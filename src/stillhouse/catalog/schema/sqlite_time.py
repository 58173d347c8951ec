"""The time in milliseconds for the workflow engine, where SQLite is too old to tell it.

Under Python 3.12 and newer the engine asks SQLite for `unixepoch('subsec')`, in statements and in defaults of columns
(dbos 3.4: `_sys_db.py`, `_now_ms_sql`; `_migration.py`, `get_sqlite_timestamp_expr`). SQLite knows 'subsec' since 3.42
(https://sqlite.org/lang_datefunc.html); an older one, such as Debian 12's 3.40, answers NULL, which columns refuse.
"""

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, event


def supply_to_all_connections() -> None:
    """From now on every SQLite connection of this process knows it, those too that the engine opens on its own.

    Every one must: a default of a column is worked out by whichever connection inserts the row.
    """
    if not event.contains(Engine, "connect", _supply):
        event.listen(Engine, "connect", _supply)


def _supply(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection) and not _knows_subsec(connection):
        connection.create_function("unixepoch", 1, _unixepoch)


def _knows_subsec(connection: sqlite3.Connection) -> bool:
    """Asked of the library at work, whatever version it or Python calls itself."""
    try:
        (seconds,) = connection.execute("SELECT unixepoch('subsec')").fetchone()
    except sqlite3.OperationalError:  # before 3.38 there is no such function
        return False
    return seconds is not None


def _unixepoch(modifier: object) -> float:
    """Only what the engine asks for; anything else is an error of the statement, never a wrong time."""
    if modifier not in ("subsec", "subsecond"):
        raise ValueError("only 'subsec' is supplied here")
    return round(time.time(), 3)
