"""Tables that belong to a table: partitions and heirs below it, and the tables on data nodes that it stands for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stillhouse.domain.cluster import Node
from stillhouse.domain.table_restore import TableName
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions.session import Connection, sql

# A partition is left out once its detach has begun: no query of its parent sees it.
_TREES = """
    WITH RECURSIVE tree (root, relation) AS (
        SELECT r, r FROM unnest(%s::oid[]) r
         UNION
        SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation AND NOT i.inhdetachpending
    )
    SELECT relation, root FROM tree ORDER BY root, relation
"""

# Servers are found by their handler, since the wrapper itself may be created under any name. If an option is missing,
# the foreign table's own name counts (contrib/postgres_fdw/deparse.c, deparseRelation).
_FOREIGN_TABLES = """
    SELECT n.nspname, c.relname, s.options ->> 'hostaddr', s.options ->> 'host', s.options ->> 'port', t.options,
           ARRAY(SELECT DISTINCT coalesce((SELECT option_value FROM pg_options_to_table(m.umoptions)
                                            WHERE option_name = 'user'), r.rolname, o.rolname)::text
                   FROM pg_user_mapping m LEFT JOIN pg_roles r ON r.oid = m.umuser
                  WHERE m.umserver = s.oid AND r.rolsuper IS NOT TRUE)
      FROM pg_foreign_table f
      JOIN pg_class c ON c.oid = f.ftrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles o ON o.oid = c.relowner
      JOIN (SELECT s.oid, h.proname,
                   (SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(s.srvoptions))
              FROM pg_foreign_server s
              JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
              JOIN pg_proc h ON h.oid = w.fdwhandler) s (oid, handler, options) ON s.oid = f.ftserver
     CROSS JOIN LATERAL (SELECT coalesce(jsonb_object_agg(option_name, option_value), '{}')
                           FROM pg_options_to_table(f.ftoptions)) t (options)
     WHERE f.ftrelid = ANY(%s::oid[]) AND s.handler = 'postgres_fdw_handler'
     ORDER BY n.nspname, c.relname
"""


# A user of a server may point a foreign table at any name there. The restore reaches a table only if his role there
# owns it or has its owner's rights.
_BEYOND_REACH = """
    SELECT n.nspname, c.relname, o.rolname
      FROM unnest(%s::text[], %s::text[]) asked (schema, name)
      JOIN pg_namespace n ON n.nspname = asked.schema
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name
      JOIN pg_roles o ON o.oid = c.relowner
     WHERE NOT EXISTS (SELECT FROM pg_roles r
                        WHERE r.rolname = ANY(%s)
                          AND (r.oid = o.oid OR NOT r.rolsuper AND pg_has_role(r.oid, o.oid, 'USAGE')))
"""


@dataclass(frozen=True)
class ForeignTable:
    """`options` are as written in the catalog. `roles` are the roles by which users log in to its server."""

    name: TableName
    node: str
    remote: TableName
    options: Mapping[str, str]
    roles: tuple[str, ...]


def foreign_tables(
    connection: Connection, relations: Sequence[int], nodes: Sequence[Node]
) -> list[ForeignTable]:
    """The relations that stand for a table on one of `nodes`. Foreign tables of other servers are left out."""
    at = {(node.host, node.port): node.name for node in nodes}
    found = []
    for schema, table, hostaddr, host, port, options, roles in connection.execute(
        _FOREIGN_TABLES, [[*relations]]
    ).fetchall():
        node = at.get((hostaddr or host or "", int(port or 5432)))
        if node is not None:
            remote = TableName(options.get("schema_name", schema), options.get("table_name", table))
            found.append(ForeignTable(TableName(schema, table), node, remote, options, (*roles,)))
    return found


def check_reach(connection: Connection, tables: Sequence[TableName], roles: Iterable[str]) -> None:
    """Check, on the node where foreign tables lead, that one of `roles` owns their tables or has the owner's rights.

    A foreign table's owner chooses its options: they must not give him access to tables that are not his. Raises
    RestoreFailed.
    """
    schemas, names = [one.schema for one in tables], [one.table for one in tables]
    for schema, table, owner in connection.execute(_BEYOND_REACH, [schemas, names, [*roles]]).fetchall():
        raise RestoreFailed(
            f"a foreign table of the coordinator stands for {schema}.{table}, which is {owner}'s, not its users'",
            hint="lead the foreign table elsewhere, or restore under another name",
        )


def point(connection: Connection, table: ForeignTable, remote: TableName) -> None:
    """Let the foreign table stand for `remote` on the same server. The server is not contacted."""
    wanted = {"schema_name": remote.schema, "table_name": remote.table}
    options = [
        sql.SQL("{} {} {}").format(
            sql.SQL("SET" if name in table.options else "ADD"), sql.Identifier(name), sql.Literal(value)
        )
        for name, value in wanted.items()
    ]
    connection.execute(
        sql.SQL("ALTER FOREIGN TABLE {} OPTIONS ({})").format(
            sql.Identifier(table.name.schema, table.name.table), sql.SQL(", ").join(options)
        )
    )


def trees(connection: Connection, roots: Sequence[int]) -> list[tuple[int, int]]:
    """Each table of these trees with its root. A table may be in several."""
    return [
        (int(relation), int(root)) for relation, root in connection.execute(_TREES, [[*roots]]).fetchall()
    ]
