"""The sessions of table restores: a superuser's, in which no function of a user runs."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from stillhouse.domain.cluster import Node
from stillhouse.postgres import session
from stillhouse.postgres.event_triggers import without_event_triggers
from stillhouse.postgres.session import Connection


@contextmanager
def unseen(
    node: Node, database: str, name: str, settings: Mapping[str, str] | None = None
) -> Iterator[Connection]:
    """Event triggers do not fire from 17 on; before, DDL belongs into `unseen_transaction`."""
    with closing(session.connect(node, database, application_name=name, settings=settings)) as connection:
        yield connection


@contextmanager
def unseen_transaction(connection: Connection) -> Iterator[None]:
    with connection.transaction(), without_event_triggers(connection):
        yield
