"""The lineage row: a mark in the node's own database by which it is known whether its history is still the same.

System identifier and timeline prove nothing: two restores of one snapshot share both, and the LSNs, and then differ.
The row goes where the data go: a clone carries its source's, a server whose storage was rolled back an older one.
"""

from dataclasses import dataclass, field

from stillhouse.postgres.session import Connection, Error
from stillhouse.postgres.wal import format_lsn, parse_lsn


@dataclass(frozen=True)
class Mark:
    """`lsn` is the latest point that this lineage is known to have passed. `tokens` are those of the last bases that it
    has made, each entered when its base was complete: a history that has not seen that lacks the token, whatever its
    LSNs.
    """

    lineage: str
    lsn: int
    tokens: frozenset[str] = field(default=frozenset())


_TOKENS_KEPT = 256  # 32 bytes each; a base older than that is no base any more


_OWNED = """
    SELECT pg_catalog.to_regclass('stillhouse.lineage') IS NOT NULL
      FROM pg_catalog.pg_namespace WHERE nspname = 'stillhouse' AND nspowner = current_user::regrole
"""


# A session that reads or writes the mark waits for nobody who holds the table.
PATIENCE = {"lock_timeout": "5s"}


def read_mark(connection: Connection) -> Mark | None:
    """None when the node was never captured, or when its schema `stillhouse` is not ours.

    A schema that a user made could hold a table with triggers, which would run with our rights.
    """
    if not _has_place(connection):
        return None
    row = connection.execute("SELECT lineage, lsn::text, tokens FROM stillhouse.lineage").fetchone()
    return None if row is None else Mark(row[0], parse_lsn(row[1]), frozenset(row[2]))


def prepare(connection: Connection) -> bool:
    """Make the place for the mark, once, when the server is made: captures have no need of DDL.

    False where the schema is somebody else's. The connection is in autocommit mode.
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


def write_mark(connection: Connection, lineage: str, lsn: int, token: str = "") -> str:
    """Durable on return, whatever the server's `synchronous_commit` says. `token` is added to those that are there.

    Returns why it could not be written, in words; empty when it was. Raises only when the session is gone.
    """
    try:
        if not _has_place(connection):
            return "there is no table stillhouse.lineage of ours in database postgres"
        _write(connection, lineage, lsn, token)
    except Error as error:
        if connection.broken:
            raise
        return str(error).partition("\n")[0]
    return ""


def _has_place(connection: Connection) -> bool:
    owned = connection.execute(_OWNED).fetchone()
    return owned is not None and bool(owned[0])


def _write(connection: Connection, lineage: str, lsn: int, token: str) -> None:
    with connection.transaction():
        # Local: a standby that is slow or gone must not keep a snapshot waiting.
        connection.execute("SET LOCAL synchronous_commit = local")
        connection.execute(
            "INSERT INTO stillhouse.lineage AS row (lineage, lsn, tokens) VALUES (%s, %s::pg_lsn, %s)"
            " ON CONFLICT (only_row) DO UPDATE SET lineage = excluded.lineage, lsn = excluded.lsn,"
            " tokens = (excluded.tokens || row.tokens)[:%s]",
            (lineage, format_lsn(lsn), [token] if token else [], _TOKENS_KEPT),
        )
