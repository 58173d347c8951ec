"""States of tables at the cut that a dump cannot express: they are ended in the clone, or reported in words."""

from collections.abc import Sequence

from stillhouse.domain.table_restore import TableName
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.warehouse.tables.related import trees

# A detach that was interrupted: no query of the parent sees the partition any more, yet a dump attaches it again.
_PENDING = """
    SELECT n.nspname, p.relname, m.nspname, c.relname
      FROM pg_inherits i
      JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
      JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace m ON m.oid = c.relnamespace
     WHERE i.inhdetachpending AND (i.inhparent = ANY(%(tree)s::oid[]) OR i.inhrelid = ANY(%(tree)s::oid[]))
     ORDER BY 1, 2, 3, 4
"""
# Prepared transactions, and whether each has changed one of the tables or was about to.
_PREPARED = """
    SELECT p.gid, EXISTS (SELECT FROM pg_locks x JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction
                           WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction
                             AND l.locktype = 'relation' AND l.mode <> 'AccessShareLock'
                             AND l.relation = ANY(%s::oid[]))
      FROM pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared, p.gid
"""
_NAMED = """
    SELECT c.oid FROM unnest(%s::text[], %s::text[]) asked (schema, name)
      JOIN pg_namespace n ON n.nspname = asked.schema
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name
"""
_UNLOGGED_SEQUENCES = """
    SELECT n.nspname, s.relname
      FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' AND s.relpersistence = 'u'
      JOIN pg_class c ON c.oid = d.refobjid AND c.relpersistence = 'p'
      JOIN pg_namespace n ON n.oid = s.relnamespace
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.refobjid = ANY(%s::oid[]) AND d.deptype IN ('a', 'i')
     ORDER BY 1, 2
"""
# A failed CREATE INDEX CONCURRENTLY leaves an invalid index. An index over partitions is invalid until all partitions
# have theirs, and is restored in that state.
_INVALID_INDEXES = """
    SELECT n.nspname, c.relname, x.relname, pg_get_indexdef(i.indexrelid)
      FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
      JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT (i.indisvalid AND i.indisready) AND i.indrelid = ANY(%s::oid[])
     ORDER BY 1, 2, 3
"""
_LABELS = """
    SELECT n.nspname, c.relname, a.attname, s.provider, s.label
      FROM pg_seclabel s JOIN pg_class c ON c.oid = s.objoid JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attribute a ON a.attrelid = s.objoid AND a.attnum = s.objsubid AND s.objsubid > 0
     WHERE s.classoid = 'pg_class'::regclass AND s.objoid = ANY(%s::oid[])
     ORDER BY 1, 2, s.objsubid, 4
"""
_LARGE_OBJECTS = """
    SELECT n.nspname, c.relname, a.attname
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = a.atttypid AND d.deptype = 'e'
      JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'lo'
     WHERE a.attnum > 0 AND NOT a.attisdropped AND c.oid = ANY(%s::oid[])
     ORDER BY 1, 2, 3
"""


def end_prepared(connection: Connection, tables: Sequence[TableName]) -> list[str]:
    """Roll back prepared transactions in the clone's database: otherwise we would wait for their locks for ever.

    Returns notes on those that concern `tables`. The connection is in autocommit mode.
    """
    names = [[one.schema for one in tables], [one.table for one in tables]]
    roots = [oid for (oid,) in connection.execute(_NAMED, names).fetchall()]
    tree = [relation for relation, _ in trees(connection, roots)]
    notes = []
    for gid, has_changed in connection.execute(_PREPARED, [tree]).fetchall():
        connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        if has_changed:
            notes.append(f"transaction {gid} was prepared at the cut, and its changes are not in the tables")
    return notes


def end_detaches(connection: Connection, relations: Sequence[int]) -> list[str]:
    notes = []
    for above, parent, schema, name in connection.execute(_PENDING, {"tree": [*relations]}).fetchall():
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
                sql.Identifier(above, parent), sql.Identifier(schema, name)
            )
        )
        notes.append(f"{schema}.{name} was being detached from {above}.{parent}, and is no part of it")
    return notes


def left_out(connection: Connection, relations: Sequence[int]) -> list[str]:
    """Notes on things that do not come back with these tables, or not as they were."""
    tree = [[*relations]]
    notes = [
        f"sequence {schema}.{name} is unlogged: it begins anew"
        for schema, name in connection.execute(_UNLOGGED_SEQUENCES, tree).fetchall()
    ]
    notes += [
        f"{schema}.{table} comes without its index {name}, which was not valid: {definition}"
        for schema, table, name, definition in connection.execute(_INVALID_INDEXES, tree).fetchall()
    ]
    for schema, table, column, provider, label in connection.execute(_LABELS, tree).fetchall():
        what = f"{schema}.{table}" if column is None else f"{schema}.{table}.{column}"
        notes.append(f"{what} comes without its security label of {provider}: {label}")
    return notes + [
        f"{schema}.{table}.{column} names large objects, which are not copied"
        for schema, table, column in connection.execute(_LARGE_OBJECTS, tree).fetchall()
    ]
