"""The lineage row: a mark in the node's own database that shows whether the node's history is still the same.

System identifier and timeline prove nothing: two restores of one snapshot share both, and the LSNs, and then diverge.
The row follows the data: a clone has the row of its source, and a server with rolled-back storage has an older row.
"""

from contextlib import suppress
from dataclasses import dataclass, field

from psycopg.errors import InsufficientPrivilege

from stillhouse.postgres.sessions.session import Connection, Error
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn


@dataclass(frozen=True)
class Mark:
    """The content of the row. `lsn` is the latest point that this lineage is known to have passed.

    `tokens` belong to the last bases of this lineage. A token is added when its base is complete: a history without
    that moment lacks the token, even if its LSNs fit.
    """

    lineage: str
    lsn: int
    tokens: frozenset[str] = field(default=frozenset())


_REASON = 500  # characters: a server's words may be long
_TOKENS_KEPT = 256  # 32 bytes each; captures no longer build on an older base


_OWNED = """
    SELECT pg_catalog.to_regclass('stillhouse.lineage') IS NOT NULL
      FROM pg_catalog.pg_namespace WHERE nspname = 'stillhouse' AND nspowner = current_user::regrole
"""


# A session that reads or writes the mark does not wait long for a lock on the table.
PATIENCE = {"lock_timeout": "5s"}


def read_mark(connection: Connection) -> Mark | None:
    """Return the mark. `None` if the node was never captured, or if its schema `stillhouse` is not ours.

    A schema that a user made could hold a table with triggers, which would run with our rights.
    """
    if not _has_place(connection):
        return None
    row = connection.execute("SELECT lineage, lsn::text, tokens FROM stillhouse.lineage").fetchone()
    return None if row is None else Mark(row[0], parse_lsn(row[1]), frozenset(row[2]))


def prepare(connection: Connection) -> bool:
    """Make the table for the mark, once, when the server is made, so that captures need no DDL.

    Return False if another role owns the schema. The connection is in autocommit mode.
    """
    if connection.execute(_OWNED).fetchone() is None:
        if connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'stillhouse'").fetchone():
            return False
        connection.execute("CREATE SCHEMA IF NOT EXISTS stillhouse")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS stillhouse.lineage"
        " (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), lineage text NOT NULL, lsn pg_lsn NOT NULL,"
        " tokens text[] NOT NULL DEFAULT '{}')"
    )
    return True


def prepare_if_allowed(connection: Connection) -> None:
    """Make the table if our role may. If not, captures say in their manifests why they could leave no mark."""
    with suppress(InsufficientPrivilege):
        prepare(connection)


REMOVAL = "DROP SCHEMA IF EXISTS stillhouse CASCADE"
"""The statement that removes all of ours from a server, in its database `postgres`."""


def remove(connection: Connection) -> bool:
    """Remove the table and its schema, if they are ours. The connection is in autocommit mode.

    Return False if the schema is another role's. It may be ours, made when we came as that role.
    """
    if connection.execute(_OWNED).fetchone() is not None:
        connection.execute(REMOVAL.encode())
    return (
        connection.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'stillhouse'").fetchone()
        is None
    )


def write_mark(connection: Connection, lineage: str, lsn: int, token: str = "") -> str:
    """Write the mark. It is durable on return, independent of the server's `synchronous_commit`. `token` is added to
    the existing tokens.

    Return in words why it could not be written, or "". Raises only if the session is gone.
    """
    try:
        if not _has_place(connection):
            return "there is no table stillhouse.lineage of ours in database postgres"
        _write(connection, lineage, lsn, token)
    except Error as error:
        if connection.broken:
            raise
        return str(error).partition("\n")[0][:_REASON]
    return ""


def _has_place(connection: Connection) -> bool:
    owned = connection.execute(_OWNED).fetchone()
    return owned is not None and bool(owned[0])


def _write(connection: Connection, lineage: str, lsn: int, token: str) -> None:
    with connection.transaction():
        # Local, because a slow or missing standby must not keep a snapshot waiting.
        connection.execute("SET LOCAL synchronous_commit = local")
        connection.execute(
            "INSERT INTO stillhouse.lineage AS row (lineage, lsn, tokens) VALUES (%s, %s::pg_lsn, %s)"
            " ON CONFLICT (only_row) DO UPDATE SET lineage = excluded.lineage, lsn = excluded.lsn,"
            " tokens = (excluded.tokens || row.tokens)[:%s]",
            (lineage, format_lsn(lsn), [token] if token else [], _TOKENS_KEPT),
        )
