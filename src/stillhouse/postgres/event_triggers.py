"""Run our DDL unseen by event triggers: only a superuser can make one, but anybody may own the function it calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from stillhouse.postgres.session import Connection, sql

# From this version on, event triggers are off in all our sessions (options.py).
_SWITCHED_OFF_SINCE = 170000
_AWAKE = (
    "SELECT evtname, evtenabled::text FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D' ORDER BY oid"
)
_HOW = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@contextmanager
def without_event_triggers(connection: Connection) -> Iterator[None]:
    """Within a transaction of the caller's, which ends after this does.

    Before 17 they are disabled and put back in that same transaction, so no other session ever finds one disabled;
    `session_replication_role` would let those pass that are ENABLE ALWAYS. Where the body fails the caller rolls back.
    """
    awake = disable_event_triggers(connection)
    yield
    enable_event_triggers(connection, awake)


def has_event_triggers(connection: Connection) -> bool:
    """Whether any would have to be disabled for DDL of ours."""
    return (
        connection.info.server_version < _SWITCHED_OFF_SINCE
        and connection.execute(_AWAKE).fetchone() is not None
    )


def disable_event_triggers(connection: Connection) -> list[tuple[str, str]]:
    """Disable them; the caller rolls back or enables them again. Returns which were enabled, and how."""
    if connection.info.server_version >= _SWITCHED_OFF_SINCE:
        return []
    awake = [(name, how) for name, how in connection.execute(_AWAKE).fetchall()]
    for name, _ in awake:
        _alter(connection, name, "DISABLE")
    return awake


def enable_event_triggers(connection: Connection, awake: list[tuple[str, str]]) -> None:
    """Put back what `disable_event_triggers` returned, in the same transaction."""
    for name, how in awake:
        _alter(connection, name, _HOW[how])


def _alter(connection: Connection, name: str, how: str) -> None:
    connection.execute(sql.SQL("ALTER EVENT TRIGGER {} {}").format(sql.Identifier(name), sql.SQL(how)))
