"""The wiring of a coordinator to its data nodes by postgres_fdw, and the SQL that distributes tables over them."""

import secrets
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files

from stillhouse.domain.cluster import Node
from stillhouse.errors import ProvisionFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import UNLOGGED
from stillhouse.postgres.sessions.session import Connection, scram_verifier, sql
from stillhouse.postgres.sessions.text import Codec, encode

DATABASES = ("postgres", "gaussdb")

# The server builds the statement, because ours cannot contain every role's name.
_RENEW_VERIFIER = """
    DO $do$ BEGIN
        EXECUTE (SELECT pg_catalog.format('ALTER ROLE %I PASSWORD %L', rolname, {password})
                   FROM pg_catalog.pg_roles WHERE pg_catalog.namesend(rolname) = {role});
    END $do$
"""

_SCHEMA = sql.Identifier("stillhouse")
_IS_OURS = "SELECT FROM pg_namespace WHERE nspname = 'stillhouse' AND nspowner = current_user::regrole"
_EXTENSIONS = ("postgres_fdw", "dblink")
# A function without an entry in the catalog is open to everyone (aclchk.c, acldefault).
_OPEN_TO_PUBLIC = """
    SELECT p.oid::regprocedure::text
      FROM pg_extension e
      JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
      JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
     WHERE e.extname = ANY(%s)
       AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
"""
_HAS_FUNCTIONS = """
    SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = 'stillhouse' AND n.nspowner = current_user::regrole AND p.proname = 'run_on_data_nodes'
"""
# Made by an earlier version: its search path let a caller's temporary types come before PostgreSQL's.
_HAS_OLD_FUNCTIONS = (
    f"{_HAS_FUNCTIONS} AND NOT 'search_path=pg_catalog, pg_temp' = ANY(coalesce(p.proconfig, '{{}}'))"
)
_SERVER_OPTIONS = {
    "batch_size": "1000",
    "fetch_size": "10000",
    # All data nodes commit at once, which shortens the moment in which only some have committed.
    "parallel_commit": "true",
    "connect_timeout": "10",
}


def wire(coordinator: Node, data_nodes: Sequence[Node], user_name: str) -> None:
    """Let `user_name` reach every data node from the coordinator, with a fresh password that is shown to no one."""
    password = new_password()
    for node in data_nodes:
        set_password(node, user_name, password)
    for database in DATABASES:
        with (
            closing(
                session.connect(coordinator, database, autocommit=False, settings=UNLOGGED)
            ) as connection,
            connection.transaction(),
        ):
            _make_schema(connection, user_name)
            for node in data_nodes:
                _connect_server(connection, node, database, user_name, password)


def new_password() -> str:
    return secrets.token_urlsafe(32)


def set_password(node: Node, role: str, password: str) -> None:
    with (
        session.refusing_as(ProvisionFailed, node),
        closing(session.connect(node, "postgres", settings=UNLOGGED)) as connection,
    ):
        verifier = scram_verifier(connection, role, password)
        connection.execute(
            sql.SQL(_RENEW_VERIFIER).format(password=sql.Literal(verifier), role=sql.Literal(encode(role)))
        )


def _make_schema(connection: Connection, user_name: str) -> None:
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(_SCHEMA))
    # The user may log in already. Extensions' scripts must not call his functions, and he must not replace ours.
    if not connection.execute(_IS_OURS).fetchall():
        raise ProvisionFailed(
            "a user has made a schema named stillhouse", hint="drop it: the name is the service's"
        )
    for extension in _EXTENSIONS:
        connection.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}").format(sql.Identifier(extension), _SCHEMA)
        )
    make_functions(connection, user_name)
    close_extensions(connection)


def make_functions(connection: Connection, user_name: str) -> None:
    """Make the functions by which `user_name`, and no other user, distributes tables. They replace older versions."""
    user = sql.Identifier(user_name)
    connection.execute(files(__package__).joinpath("distribute.sql").read_bytes())
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(_SCHEMA, user))
    run = sql.SQL("FUNCTION {}.run_on_data_nodes(text[])").format(_SCHEMA)
    connection.execute(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(run))
    connection.execute(sql.SQL("GRANT EXECUTE ON {} TO {}").format(run, user))


def renew(connection: Connection, user_name: str) -> None:
    """Wire a database as this version does, where an earlier version has wired it."""
    if connection.execute(_HAS_FUNCTIONS).fetchall():
        make_functions(connection, user_name)
    close_extensions(connection)


def has_old_functions(connection: Connection) -> bool:
    """Whether the database has our functions as an earlier version made them."""
    return connection.execute(_HAS_OLD_FUNCTIONS.encode()).fetchone() is not None


def close_extensions(connection: Connection) -> None:
    """Take from PUBLIC the functions of dblink and postgres_fdw: they connect to everything the server's host reaches.

    `connection` is a superuser's. Does nothing in a database that has neither.
    """
    for (function,) in connection.execute(_OPEN_TO_PUBLIC, [[*_EXTENSIONS]]).fetchall():
        connection.execute(Codec(connection).encode(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC"))


def _connect_server(connection: Connection, node: Node, database: str, user_name: str, password: str) -> None:
    server, user = sql.Identifier(node.name), sql.Identifier(user_name)
    options = {"host": node.host, "port": str(node.port), "dbname": database, **_SERVER_OPTIONS}
    connection.execute(
        sql.SQL("CREATE SERVER IF NOT EXISTS {} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})").format(
            server, _options(options)
        )
    )
    connection.execute(sql.SQL("GRANT USAGE ON FOREIGN SERVER {} TO {}").format(server, user))
    connection.execute(sql.SQL("DROP USER MAPPING IF EXISTS FOR {} SERVER {}").format(user, server))
    connection.execute(
        sql.SQL("CREATE USER MAPPING FOR {} SERVER {} OPTIONS ({})").format(
            user, server, _options({"user": user_name, "password": password})
        )
    )


def _options(options: dict[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in options.items()
    )
