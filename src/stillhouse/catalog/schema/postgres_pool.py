"""Connections to a catalog on PostgreSQL, and a look that finds a broken one without asking the server."""

import select
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event, exc

_DRIVER = "postgresql+psycopg"


def pooled(url: URL, connections: int) -> Engine:
    """Return an engine that keeps so many connections, and has no more.

    SQLAlchemy's `pool_pre_ping` would ask the server before each transaction, a round trip. A server that ends a
    session, because it stops for example, says so on the socket; so a look at the socket tells, in microseconds. A
    network that drops packets is left to the time limits in the URL.
    """
    engine = create_engine(
        url.set(drivername=_DRIVER),
        pool_size=connections,
        max_overflow=0,
        pool_use_lifo=True,
        pool_reset_on_return=None,  # `Database` ends each transaction itself
    )

    @event.listens_for(engine, "checkout")
    def look(connection: Any, _record: Any, _proxy: Any) -> None:
        if has_news(connection):
            broken = exc.DisconnectionError("the server has ended this session")
            broken.invalidate_pool = True  # the others are as old
            raise broken

    return engine


def lasting(url: URL) -> Engine:
    """Return an engine without a pool, for a session that lasts."""
    return create_engine(url.set(drivername=_DRIVER), poolclass=NullPool)


def has_news(connection: Any, seconds: float = 0) -> bool:
    """Tell whether the server has said something unasked, or the connection has ended, within so many seconds."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(seconds * 1000))
