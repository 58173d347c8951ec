"""Switches event triggers off for our DDL. A superuser makes them, but any role may own the function that is called."""

from collections.abc import Iterator
from contextlib import contextmanager

from stillhouse.postgres.sessions.session import Connection, sql

# From this version on, event triggers are off in all our sessions (options.py).
_SWITCHED_OFF_SINCE = 170000
_AWAKE = (
    "SELECT evtname, evtenabled::text FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' ORDER BY oid"
)
_FIRED = """
    SELECT evtname FROM pg_catalog.pg_event_trigger
     WHERE evtenabled IN ('O', 'A') AND evtevent IN ('ddl_command_start', 'ddl_command_end')
       AND (evttags IS NULL OR 'ALTER FOREIGN TABLE' = ANY(evttags))
     ORDER BY evtname
"""
_HOW = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@contextmanager
def without_event_triggers(connection: Connection) -> Iterator[None]:
    """Run the block without event triggers, inside a transaction of the caller that ends after the block.

    Before version 17 they are disabled and enabled again in that same transaction, so no other session ever finds one
    disabled. `session_replication_role` would not stop triggers that are ENABLE ALWAYS. If the block fails, the caller
    rolls back.
    """
    awake = disable_event_triggers(connection)
    yield
    enable_event_triggers(connection, awake)


def has_event_triggers(connection: Connection) -> bool:
    """Whether an event trigger must be disabled for our DDL."""
    return (
        connection.info.server_version < _SWITCHED_OFF_SINCE
        and connection.execute(_AWAKE).fetchone() is not None
    )


def fired_by_our_locks(connection: Connection) -> list[str]:
    """The event triggers that run when the gate locks a foreign table, which is DDL."""
    return [name for (name,) in connection.execute(_FIRED).fetchall()]


def disable_event_triggers(connection: Connection) -> list[tuple[str, str]]:
    """Disable all event triggers, and return the enabled ones and how. The caller rolls back or enables them again."""
    if connection.info.server_version >= _SWITCHED_OFF_SINCE:
        return []
    awake = [(name, how) for name, how in connection.execute(_AWAKE).fetchall()]
    for name, _ in awake:
        _alter(connection, name, "DISABLE")
    return awake


def enable_event_triggers(connection: Connection, awake: list[tuple[str, str]]) -> None:
    """Enable the triggers that `disable_event_triggers` returned, in the same transaction."""
    for name, how in awake:
        _alter(connection, name, _HOW[how])


def _alter(connection: Connection, name: str, how: str) -> None:
    connection.execute(sql.SQL("ALTER EVENT TRIGGER {} {}").format(sql.Identifier(name), sql.SQL(how)))
