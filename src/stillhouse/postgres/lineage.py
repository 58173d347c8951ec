"""The lineage row: a mark in the node's own database by which it is known whether its history is still the same.

System identifier and timeline prove nothing: two restores of one snapshot share both, and the LSNs, and then differ.
The row goes where the data go: a clone carries its source's, a server whose storage was rolled back an older one.
"""

from dataclasses import dataclass, field

from stillhouse.postgres.session import Connection
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


def read_mark(connection: Connection) -> Mark | None:
    """None when the node was never captured, or when its schema `stillhouse` is not ours.

    A schema that a user made could hold a table with triggers, which would run with our rights.
    """
    owned = connection.execute(_OWNED).fetchone()
    if owned is None or not owned[0]:
        return None
    row = connection.execute("SELECT lineage, lsn::text, tokens FROM stillhouse.lineage").fetchone()
    return None if row is None else Mark(row[0], parse_lsn(row[1]), frozenset(row[2]))


def prepare(connection: Connection) -> bool:
    """Make the place for the mark; False where the schema is somebody else's. The connection is in autocommit mode."""
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


def write_mark(connection: Connection, lineage: str, lsn: int, token: str = "") -> None:
    """Durable on return, whatever the server's `synchronous_commit` says. `token` is added to those that are there.

    Does nothing where there is no place for it: then no base is ever used.
    """
    if not prepare(connection):
        return
    with connection.transaction():
        # Local: a standby that is slow or gone must not keep a snapshot waiting.
        connection.execute("SET LOCAL synchronous_commit = local")
        connection.execute(
            "INSERT INTO stillhouse.lineage AS row (lineage, lsn, tokens) VALUES (%s, %s::pg_lsn, %s)"
            " ON CONFLICT (only_row) DO UPDATE SET lineage = excluded.lineage, lsn = excluded.lsn,"
            " tokens = (excluded.tokens || row.tokens)[:%s]",
            (lineage, format_lsn(lsn), [token] if token else [], _TOKENS_KEPT),
        )
