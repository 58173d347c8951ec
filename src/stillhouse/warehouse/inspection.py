"""What a person should know of a clone before it opens: read in quarantine, reported, never settled."""

from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.postgres import session

_PREPARED = "SELECT gid, owner, database FROM pg_prepared_xacts ORDER BY prepared"
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY oid"
_MISSING_EXTENSIONS = """
    SELECT extname FROM pg_extension
     WHERE extname NOT IN (SELECT name FROM pg_available_extensions) ORDER BY extname
"""
# Indexes on text are only right while the collation orders as it did when they were built.
_CHANGED_COLLATIONS = """
    SELECT datname, datcollversion, pg_database_collation_actual_version(oid) FROM pg_database
     WHERE datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) AND datcollversion IS NOT NULL
"""


def inspect(node: Node) -> list[str]:
    """One sentence for each thing, empty when there is nothing to tell."""
    found: list[str] = []
    with closing(session.connect(node, "postgres")) as connection:
        for gid, owner, database in connection.execute(_PREPARED).fetchall():
            found.append(
                f"{node.name}: transaction {gid!r} of {owner} in {database} is prepared and waits to be settled"
            )
        for database, then, now in connection.execute(_CHANGED_COLLATIONS).fetchall():
            found.append(
                f"{node.name}: database {database} has collation version {then}, this host {now}: reindex"
            )
        databases = [name for (name,) in connection.execute(_DATABASES).fetchall()]
    for database in databases:
        with closing(session.connect(node, database)) as connection:
            for (extension,) in connection.execute(_MISSING_EXTENSIONS).fetchall():
                found.append(
                    f"{node.name}: database {database} uses extension {extension}, which this host lacks"
                )
    return found
