"""The sessions of table restores: a superuser's, in which no function of a user runs, and those that read rows."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from stillhouse.domain.cluster import Node
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import databases_of
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.reading import enter_as_reader
from stillhouse.postgres.sessions.session import Connection


@contextmanager
def unseen(
    node: Node, database: str, name: str, settings: Mapping[str, str] | None = None
) -> Iterator[Connection]:
    """A session in which event triggers do not fire, from 17 on. Before 17, DDL belongs in `unseen_transaction`."""
    with closing(session.connect(node, database, application_name=name, settings=settings)) as connection:
        yield connection


@contextmanager
def reading(node: Node, database: str, name: str, settings: Mapping[str, str]) -> Iterator[Connection]:
    """A session of the reader, because planning a query of a table may call functions of a user."""
    there = next((one for one in databases_of(node) if one.name == database), None)
    if there is None:
        raise RestoreFailed(f"node {node.name} has no database {database}")
    with closing(enter_as_reader(node, there, application_name=name, settings=settings)) as connection:
        yield connection


@contextmanager
def unseen_transaction(connection: Connection) -> Iterator[None]:
    with connection.transaction(), without_event_triggers(connection):
        yield
