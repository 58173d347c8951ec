"""Tables with everything below them: partitions, their partitions, and tables that inherit.

A partition is left out once its detach has begun: no query of its parent sees it.
"""

from collections.abc import Sequence

from stillhouse.postgres.sessions.session import Connection

_TREES = """
    WITH RECURSIVE tree (root, relation) AS (
        SELECT r, r FROM unnest(%s::oid[]) r
         UNION
        SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation AND NOT i.inhdetachpending
    )
    SELECT relation, root FROM tree ORDER BY root, relation
"""


def trees(connection: Connection, roots: Sequence[int]) -> list[tuple[int, int]]:
    """Each table of these trees with its root. A table may be in several."""
    return [
        (int(relation), int(root)) for relation, root in connection.execute(_TREES, [[*roots]]).fetchall()
    ]
