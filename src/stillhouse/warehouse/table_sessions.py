"""The sessions of table restores: a superuser's, in which no function of a user runs."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from stillhouse.domain.cluster import Node
from stillhouse.postgres import session
from stillhouse.postgres.session import Connection

# A database may have time-outs of its own for everyone; large trees of partitions take longer.
_UNHURRIED = {"statement_timeout": "0", "default_transaction_read_only": "off"}


@contextmanager
def unseen(
    node: Node, database: str, name: str, settings: Mapping[str, str] | None = None
) -> Iterator[Connection]:
    """Event triggers do not fire: whoever made one was a superuser, but its function may be anyone's."""
    opened = session.connect(
        node, database, application_name=name, settings={**_UNHURRIED, **(settings or {})}
    )
    with closing(opened) as connection:
        if connection.info.server_version >= 170000:  # before, they cannot be switched off
            connection.execute("SET event_triggers = off")
        yield connection
