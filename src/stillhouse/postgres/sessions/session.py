"""Sessions of the service on a server: the only way in, by a private socket or, to a server elsewhere, the network.

A session takes no unwanted setting from the server, its role or its database. It begins with the settings of
options.py. Other settings that a database or a role imposes are found and overruled before the session is used.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import pq

from stillhouse.domain.cluster import Node, Place
from stillhouse.errors import DatabaseClosed, NodeUnreachable, StillhouseError
from stillhouse.postgres.sessions import login
from stillhouse.postgres.sessions import sql as sql
from stillhouse.postgres.sessions.login import as_conninfo as as_conninfo
from stillhouse.postgres.sessions.options import OLDEST, as_options, session_settings
from stillhouse.postgres.sessions.refused_logins import remedy
from stillhouse.postgres.sessions.text import Codec, encode, speak_as_bytes
from stillhouse.postgres.sessions.text import Connection as Connection

SUPERUSER = "stillhouse"
# Reads tenants' tables. It is no superuser, so a tenant's function never runs with a superuser's rights.
READER = "stillhouse_reader"
_MAJOR = 10000

Error = psycopg.Error
# Settings that a database or a role imposes: name, default value, and whether any user may set it.
Imposed = list[tuple[str, str, bool]]
Rows = list[tuple[str | None, ...]]
# Errors that the next try may not meet: a broken connection, a time-out, a lock that was not free, an object that was
# dropped or replaced between two looks at the catalog.
PASSING_ERRORS = (
    psycopg.OperationalError,
    psycopg.InternalError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedObject,
    psycopg.errors.WrongObjectType,
)
# Errors that every try meets: read_only_sql_transaction, errors raised by PL/pgSQL, program_limit_exceeded.
_LASTING = ("25006", "P0", "54")
# deadlock_timeout keeps the server's value: the gate must know it. It has no effect on a session that waits less long.
_WANTED = ("deadlock_timeout",)
# Settings of the server that came with a minor version (15.20): the start-up packet cannot name them, since it is
# refused where one is unknown.
_OF_MINOR_VERSIONS = ("composite_type_mismatch",)
_IMPOSED = """
    SELECT name, boot_val, context = 'user' FROM pg_catalog.pg_settings
     WHERE (source IN ('global', 'database', 'user', 'database user') OR source <> 'default' AND name = ANY(%s))
       AND name <> ALL(%s)
"""
# All that is imposed on this session, as name=value.
_SET_HERE = """
    SELECT pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting
     WHERE setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
       AND setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
"""
_PLACEHOLDERS = """
    SELECT name FROM pg_catalog.unnest(%s::text[]) name
     WHERE pg_catalog.current_setting(name, true) IS NOT NULL AND name NOT IN (SELECT name FROM pg_catalog.pg_settings)
"""


def connect(
    node: Node,
    database: str,
    *,
    autocommit: bool = True,
    application_name: str = "stillhouse",
    settings: Mapping[str, str] | None = None,
    role: str = SUPERUSER,
) -> Connection:
    """Log in as one of our roles. Names outside pg_catalog must be qualified.

    The password is the node's. A server in quarantine asks for no password and checks the caller's account instead.
    `settings` are the session's own, for example {"statement_timeout": "2s"}. Raises NodeUnreachable, and
    DatabaseClosed if the database imposes a setting that cannot be overruled.
    """
    connection, _ = _enter(node, database, application_name, settings, role)
    connection.autocommit = autocommit
    return connection


def program_options(
    node: Node, database: str, settings: Mapping[str, str] | None = None, *, may_set_all: bool = True
) -> str:
    """Return `options` for the connection string of a PostgreSQL program, so that its session begins as ours do.

    Settings that the database imposes at this moment are overruled by name. `may_set_all` is false for a role that is
    not a superuser. Raises as `connect` does.
    """
    connection, imposed = _enter(node, database, "stillhouse", None, SUPERUSER)
    encoding = connection.info.parameter_status("server_encoding") or "SQL_ASCII"
    connection.close()
    overruled = {name: value for name, value, is_users in imposed if may_set_all or is_users}
    own = {"client_encoding": encoding, **overruled, **(settings or {})}
    return as_options(session_settings(major_version(node), own, may_set_all=may_set_all))


def major_version(node: Node) -> int:
    """Return the major version of the node's server, from its data directory. It is needed before the login, because
    the settings of the login depend on it.

    Raises NodeUnreachable if the data directory has no version.
    """
    path = Path(node.directory, "pgdata", "PG_VERSION")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            return int(file.read(8))
    except (OSError, ValueError) as error:
        raise NodeUnreachable(
            f"node {node.name} does not answer: its data directory has no version"
        ) from error


def _enter(
    node: Node, database: str, application_name: str, settings: Mapping[str, str] | None, role: str
) -> tuple[Connection, Imposed]:
    """Return a session in autocommit mode, and the settings overruled in it."""
    own = {
        "dbname": database,
        "application_name": application_name,
        # Nothing may be converted before the database's encoding is known.
        "client_encoding": "SQL_ASCII",
        "options": as_options(_first_settings(node, settings)),
    }
    try:
        connection = psycopg.Connection(login.log_in(node, role, own))
        try:
            connection.autocommit = True
            speak_as_bytes(connection)
            if node.place is Place.CONNECTION:
                _set_later_settings(connection, settings)
            placeholders = [name for name in _placeholders(connection) if name not in (settings or {})]
            if not placeholders:
                return connection, _overrule(connection, database, node.place)
        except BaseException:
            connection.close()
            raise
    except Error as error:
        raise _unanswered(node, error) from error
    connection.close()
    # Only the start-up packet overrules a placeholder. The empty value fits no number and no choice: the library warns,
    # and takes its default.
    emptied = dict.fromkeys(placeholders, "")
    connection, imposed = _enter(node, database, application_name, {**emptied, **(settings or {})}, role)
    return connection, [*imposed, *((name, "", True) for name in emptied)]


def password_file(node: Node) -> str:
    """Return a password file of our roles for libpq's programs (PGPASSFILE): host, port, database, role, password."""
    return "".join(f"*:*:*:{role}:{node.password(role)}\n" for role in (SUPERUSER, READER))


def replicate(node: Node, settings: Mapping[str, str], *, application_name: str) -> "pq.abc.PGconn":
    """Log in for physical streaming replication. The connection is blocking. Raises NodeUnreachable."""
    own = {
        "replication": "true",
        "application_name": application_name,
        "options": as_options(settings),
    }
    try:
        pgconn = login.log_in(node, SUPERUSER, own)
    except Error as error:
        raise _unanswered(node, error) from error
    pgconn.nonblocking = 0
    return pgconn


def _unanswered(node: Node, error: Error) -> NodeUnreachable:
    reason = " ".join(str(error).split())
    return NodeUnreachable(f"node {node.name} does not answer: {reason}", hint=remedy(node, reason))


def _placeholders(connection: Connection) -> list[str]:
    """Return the imposed settings of libraries that are not loaded yet.

    They take effect when the library is loaded, and pg_settings hides them until then (define_custom_variable in
    utils/misc/guc.c). The values are taken apart here, since their bytes may be no text in this database.
    """
    names = {imposed.partition("=")[0] for (imposed,) in connection.execute(_SET_HERE).fetchall()}
    of_libraries = sorted(name for name in names if "." in name and name.isascii())
    if not of_libraries:
        return []
    return [name for (name,) in connection.execute(_PLACEHOLDERS, [of_libraries]).fetchall()]


def _first_settings(node: Node, settings: Mapping[str, str] | None) -> dict[str, str]:
    """Return the settings of the start-up packet. The version of a server elsewhere is not known yet: it gets those
    that all versions know.
    """
    if node.place is Place.CONNECTION:
        return session_settings(OLDEST, settings, may_set_all=False)
    return session_settings(major_version(node), settings)


def _set_later_settings(connection: Connection, settings: Mapping[str, str] | None) -> None:
    """Set what only newer versions know."""
    major = connection.info.server_version // _MAJOR
    for name, value in session_settings(major, settings, may_set_all=False).items():
        if name not in session_settings(OLDEST, settings, may_set_all=False):
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])


def _overrule(connection: Connection, database: str, place: Place) -> Imposed:
    """Set every imposed setting to PostgreSQL's default. RESET would go back to the imposed value.

    Our role elsewhere is no superuser: settings that superusers have imposed are theirs to decide.
    """
    imposed = [
        (name, value, is_users)
        for name, value, is_users in connection.execute(
            _IMPOSED, [[*_OF_MINOR_VERSIONS], [*_WANTED]]
        ).fetchall()
        if is_users or place is Place.HERE
    ]
    stubborn = []
    for name, value, _ in imposed:
        try:
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
        except Error as error:
            stubborn.append(f"{name} ({str(error).partition(chr(10))[0]})")
    if stubborn:
        raise DatabaseClosed(f"database {database} imposes what cannot be overruled: {', '.join(stubborn)}")
    return [(name, value or "", is_users) for name, value, is_users in imposed]


def may_pass(error: Error) -> bool:
    """Whether the next try may succeed.

    A plain DatabaseError without a state comes from libpq itself: the connection broke before the server's answer.
    """
    if type(error) is psycopg.DatabaseError and not error.sqlstate:
        return True
    return isinstance(error, PASSING_ERRORS) and not (error.sqlstate or "").startswith(_LASTING)


@contextmanager
def refusing_as(failure: type[StillhouseError], node: Node) -> Iterator[None]:
    """Turn a server's errors into ours: NodeUnreachable if another try may help, else `failure`."""
    try:
        yield
    except Error as error:
        told = NodeUnreachable if may_pass(error) else failure
        reason = str(error).partition("\n")[0]
        raise told(f"node {node.name}: {reason}") from error


def ask_at_once(connections: Sequence[Connection], query: str) -> list[list[Rows] | Error]:
    """Send the same statements to all servers, and only then wait for the answers.

    Return for each connection its rows, as text, statement by statement. While other sessions are held up, this costs
    one round trip for all servers.
    """
    unsent: dict[int, Error] = {}
    for place, connection in enumerate(connections):
        try:
            connection.pgconn.send_query(Codec(connection).encode(query))
        except Error as error:
            unsent[place] = error
    return [unsent[place] if place in unsent else _replies(one) for place, one in enumerate(connections)]


def _replies(connection: Connection) -> list[Rows] | Error:
    replies: list[Rows] = []
    codec = Codec(connection)
    failure: Error | None = None
    try:
        while (result := connection.pgconn.get_result()) is not None:
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                failure = psycopg.OperationalError(result.get_error_message())
            replies.append(
                [
                    tuple(
                        None if (value := result.get_value(row, column)) is None else codec.decode(value)
                        for column in range(result.nfields)
                    )
                    for row in range(result.ntuples)
                ]
            )
    except Error as error:
        return error
    return failure or replies


def scram_verifier(connection: Connection, role: str, password: str) -> str:
    """Return the verifier that the server stores for `password`. Send it instead of the password, so that the password
    is in no statement and no log.
    """
    verifier = connection.pgconn.encrypt_password(password.encode(), encode(role), b"scram-sha-256")
    return verifier.decode()
