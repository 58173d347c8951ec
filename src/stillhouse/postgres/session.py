"""Sessions of the service on one server, through its private socket, with no search path."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql as sql

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable, StillhouseError

SUPERUSER = "stillhouse"
# Reads what tenants own: no superuser, so no function of theirs ever runs with a superuser's rights.
READER = "stillhouse_reader"
CONNECT_SECONDS = 10

Connection = psycopg.Connection[tuple[Any, ...]]
Error = psycopg.Error
Rows = list[tuple[str | None, ...]]
# What may be otherwise at the next try: a broken connection, a time-out, a lock not had, an object that
# somebody dropped or replaced between two looks at the catalog.
PASSING_ERRORS = (
    psycopg.OperationalError,
    psycopg.InternalError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.WrongObjectType,
)


def connect(
    node: Node,
    database: str,
    *,
    autocommit: bool = True,
    application_name: str = "stillhouse",
    settings: Mapping[str, str] | None = None,
    role: str = SUPERUSER,
) -> Connection:
    """Log in as one of our roles. Names that are not pg_catalog's must be qualified.

    The password is the node's; a server in quarantine asks for none and looks at the account of the caller instead.
    `settings` are the session's own, such as {"statement_timeout": "2s"}. Raises NodeUnreachable.
    """
    session_settings = {"search_path": "", **(settings or {})}
    try:
        return psycopg.connect(
            host=node.socket,
            port=node.port,
            user=role,
            password=node.password(role),
            dbname=database,
            autocommit=autocommit,
            application_name=application_name,
            connect_timeout=CONNECT_SECONDS,
            client_encoding="UTF8",
            options=" ".join(f"-c {name}={_escape(value)}" for name, value in session_settings.items()),
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().replace("\n", " ")
        raise NodeUnreachable(f"node {node.name} does not answer: {reason}") from error


def password_file(node: Node) -> str:
    """What libpq's programs find the superuser's password in (PGPASSFILE): host, port, database, role, password."""
    return f"*:*:*:{SUPERUSER}:{node.password(SUPERUSER)}\n"


@contextmanager
def refusing_as(failure: type[StillhouseError], node: Node) -> Iterator[None]:
    """A server's errors in our words: NodeUnreachable when another try may help, else `failure`."""
    try:
        yield
    except Error as error:
        told = NodeUnreachable if isinstance(error, PASSING_ERRORS) else failure
        reason = str(error).partition("\n")[0]
        raise told(f"node {node.name}: {reason}") from error


def ask_at_once(connections: Sequence[Connection], query: str) -> list[list[Rows] | Error]:
    """Send the same statements to all, and only then wait: for each its rows, as text, statement by statement.

    In a moment in which others are held up, this is one round trip for all.
    """
    unsent: dict[int, Error] = {}
    for place, connection in enumerate(connections):
        try:
            connection.pgconn.send_query(query.encode())
        except Error as error:
            unsent[place] = error
    return [unsent[place] if place in unsent else _replies(one) for place, one in enumerate(connections)]


def _replies(connection: Connection) -> list[Rows] | Error:
    replies: list[Rows] = []
    failure: Error | None = None
    try:
        while (result := connection.pgconn.get_result()) is not None:
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                failure = psycopg.OperationalError(result.get_error_message())
            replies.append(
                [
                    tuple(
                        None if (value := result.get_value(row, column)) is None else value.decode()
                        for column in range(result.nfields)
                    )
                    for row in range(result.ntuples)
                ]
            )
    except Error as error:
        return error
    return failure or replies


def scram_verifier(connection: Connection, role: str, password: str) -> str:
    """What the server stores for `password`; sent in its place, the password is in no statement and no log."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return verifier.decode()


def _escape(value: str) -> str:
    """Options are split at white space unless escaped (src/backend/utils/init/postinit.c, pg_split_opts)."""
    return "".join(f"\\{char}" if char.isspace() or char == "\\" else char for char in value)
