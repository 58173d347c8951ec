"""Notes for a person about a clone before it opens: read in quarantine, reported, never repaired."""

from collections.abc import Iterator
from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, shown
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE, Database, Kind, list_databases
from stillhouse.postgres.sessions.reading import enter_as_reader
from stillhouse.postgres.sessions.text import decode

_PREPARED = "SELECT gid, owner, database FROM pg_prepared_xacts ORDER BY prepared"
_MISSING_EXTENSIONS = """
    SELECT extname FROM pg_extension
     WHERE extname NOT IN (SELECT name FROM pg_available_extensions) ORDER BY extname
"""
# Indexes on text are right only while the collation sorts as it did when they were built.
_CHANGED_COLLATIONS = """
    SELECT namesend(datname), datcollversion, pg_database_collation_actual_version(oid) FROM pg_database
     WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) AND datcollversion IS NOT NULL
"""


def inspect(node: Node) -> list[str]:
    """One sentence for each note, empty when there are no notes."""
    found: list[str] = []
    with closing(session.connect(node, MAINTENANCE)) as connection:
        for gid, owner, database in connection.execute(_PREPARED).fetchall():
            found.append(
                f"{node.name}: transaction {gid!r} of {owner} in {database} is prepared and waits to be settled"
            )
        for database, then, now in connection.execute(_CHANGED_COLLATIONS).fetchall():
            found.append(
                f"{node.name}: database {decode(database)} has collation version {then}, this host {now}: reindex"
            )
        databases = list_databases(connection)
    for one in databases:
        found += [f"{node.name}: {said}" for said in _inspect_database(node, one)]
    return [shown(sentence) for sentence in found]


def _inspect_database(node: Node, database: Database) -> Iterator[str]:
    if database.kind is Kind.INVALID:
        yield f"database {database} was half dropped when the snapshot was taken, and can only be dropped"
    elif database.kind is Kind.CLOSED and not database.is_pristine:
        yield f"database {database} allows no connections, as at the source"
    if not database.is_open:
        return
    try:
        with closing(enter_as_reader(node, database)) as connection:
            for (extension,) in connection.execute(_MISSING_EXTENSIONS).fetchall():
                yield f"database {database} uses extension {extension}, which this host lacks"
    except DatabaseClosed as error:
        yield error.message
