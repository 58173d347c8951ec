"""Gather tables of a clone in hidden schemas with everything that belongs to them, and cut their other ties.

There is one hidden schema for each schema of a gathered object, so that every name stays the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.domain.cluster import Node
from stillhouse.domain.table_restore import TableName
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.warehouse.tables.compare_copy import Thing, read_definition
from stillhouse.warehouse.tables.related import check_reach, foreign_tables, point, trees
from stillhouse.warehouse.tables.rights import Rights, read_rights
from stillhouse.warehouse.tables.sizes import check_sizes
from stillhouse.warehouse.tables.state import end_detaches, left_out
from stillhouse.warehouse.tables.undumped_parts import Carried, gather_carried

_TABLE = """
    SELECT c.oid, c.relkind::text, c.relpersistence = 'u'
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""
_PARTS = """
    SELECT c.oid, n.nspname, c.relname,
           EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'),
           c.relpersistence = 'u',
           CASE WHEN c.relkind = 'r' THEN pg_total_relation_size(c.oid) ELSE 0 END
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY(%s::oid[]) ORDER BY c.oid
"""
_SEQUENCES = """
    SELECT s.oid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.refobjid = ANY(%s::oid[]) AND d.deptype IN ('a', 'i')
"""
_OTHER_PARENTS = """
    SELECT n.nspname, p.relname, m.nspname, c.relname, c.relispartition
      FROM pg_inherits i
      JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
      JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace m ON m.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f') AND i.inhrelid = ANY(%(tree)s::oid[]) AND NOT i.inhparent = ANY(%(tree)s::oid[])
"""
# The foreign keys of tables that stay, to parents that stay, and the tables here that have them from such a parent.
_POINTING = """
    SELECT DISTINCT n.nspname, c.relname, f.conname, pg_get_constraintdef(f.oid),
           ARRAY(SELECT e.conrelid::regclass::text FROM pg_constraint e
                  WHERE e.conparentid = f.oid AND e.conrelid = ANY(%(tree)s::oid[]))
      FROM unnest(%(tree)s::oid[]) part (oid) CROSS JOIN LATERAL pg_partition_ancestors(part.oid) above (oid)
      JOIN pg_constraint f ON f.contype = 'f' AND f.confrelid = above.oid AND f.conparentid = 0
      JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT above.oid = ANY(%(tree)s::oid[])
"""
_FOREIGN_KEYS = """
    SELECT n.nspname, c.relname, f.conname, pg_get_constraintdef(f.oid)
      FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE f.contype = 'f' AND f.conparentid = 0
       AND f.conrelid = ANY(%(tree)s::oid[]) AND NOT f.confrelid = ANY(%(tree)s::oid[])
"""
_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgfoid::regprocedure::text
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgrelid = ANY(%s::oid[])
"""
_GONE_FUNCTIONS = "SELECT f FROM unnest(%s::text[]) f WHERE to_regprocedure(f) IS NULL"
_POLICIES = """
    SELECT n.nspname, c.relname, p.polname,
           ARRAY(SELECT rolname::text FROM pg_roles WHERE oid = ANY(p.polroles) ORDER BY rolname)
      FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE p.polrelid = ANY(%s::oid[]) AND NOT 0 = ANY(p.polroles)
"""
_PUBLICATIONS = """
    SELECT n.nspname, c.relname, p.pubname
      FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
      JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])) ORDER BY 1, 2, 3
"""
_STATISTICS = """
    SELECT n.nspname, s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
     WHERE s.stxrelid = ANY(%s::oid[])
"""


@dataclass(frozen=True)
class Hidden:
    """A hidden schema. Its objects lay in `schema`."""

    name: str
    schema: str


@dataclass(frozen=True)
class Placed:
    """A table in its hidden schema, and its name after the swap.

    Without `exact`, only coordinators use its name: when that is taken, another will do.
    """

    hidden: str
    table: str
    target: TableName
    exact: bool = True


@dataclass(frozen=True)
class Wanted:
    """A table in the snapshot, and its name after the restore; `exact` as above.

    The `roles` must be allowed to read the tables that their foreign tables stand for (foreign_tables.py).
    """

    source: TableName
    target: TableName
    exact: bool = True
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gathered:
    """`relations` are the tables with their partitions, by their ids in the clone; `bytes` is their size there.

    `remote`, by the node's name: the tables of data nodes that are partitions of these.
    """

    hidden: tuple[Hidden, ...]
    tables: tuple[Placed, ...]
    relations: tuple[int, ...]
    rights: tuple[Rights, ...]
    remote: tuple[tuple[str, Wanted], ...]
    bytes: int
    notes: tuple[str, ...]
    carried: Carried
    definition: tuple[Thing, ...]


@dataclass(frozen=True)
class _Part:
    """A table of a tree, by its id in the clone, with the target of its root."""

    relation: int
    name: TableName
    root: Wanted
    is_unlogged: bool
    bytes: int


def gather(
    connection: Connection,
    reader: Connection,
    live: Connection,
    prefix: str,
    wanted: Sequence[Wanted],
    clones: Sequence[Node],
) -> Gathered:
    """Gather the tables in the clone's database, in the caller's transaction; `clones` are all nodes of the clone.

    `reader` reads rows there: a superuser must not even plan a query of a user's table. `live`, a session in the live
    cluster, is only used to look up which objects still exist. Raises RestoreFailed for a table that is not in the
    snapshot, or cannot be restored.
    """
    for asked in wanted:
        if not asked.exact:
            check_reach(connection, [asked.source], asked.roles)
    roots = [_root(connection, one.source) for one in wanted]
    parts = _parts(connection, dict(zip(roots, wanted, strict=True)), wanted)
    relations = [one.relation for one in parts]
    notes = [f"{one.name} is unlogged: it has no rows" for one in parts if one.is_unlogged]
    check_sizes(reader, relations)
    remote = _remote(connection, parts, clones)
    notes += end_detaches(connection, relations)
    notes += left_out(connection, relations)
    notes += _published(connection, live, parts)
    notes += _drop_foreign_keys(connection, relations)
    notes += _part(connection, relations)
    notes += _drop_foreign_keys(connection, relations)  # those that were the parents'
    notes += _drop_triggers(connection, live, relations)
    notes += _drop_policies(connection, live, relations)
    statistics = [TableName(*row) for row in connection.execute(_STATISTICS, [relations]).fetchall()]
    schemas = sorted({one.name.schema for one in parts} | {one.schema for one in statistics})
    hidden = {schema: f"{prefix}_{number}" for number, schema in enumerate(schemas)}
    for name in hidden.values():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    for one in parts:
        _move(connection, "TABLE", one.name, hidden[one.name.schema])
    for thing in statistics:
        _move(connection, "STATISTICS", thing, hidden[thing.schema])
    definition = read_definition(connection, [*hidden.values()])
    carried = gather_carried(connection, [*hidden.values()])
    sequences = [oid for (oid,) in connection.execute(_SEQUENCES, [relations]).fetchall()]
    return Gathered(
        tuple(Hidden(name, schema) for schema, name in hidden.items()),
        tuple(Placed(hidden[one.source.schema], one.source.table, one.target, one.exact) for one in wanted),
        tuple(relations),
        tuple(read_rights(connection, [*relations, *sequences])),
        remote,
        sum(one.bytes for one in parts),
        tuple(notes),
        carried,
        definition,
    )


def _root(connection: Connection, name: TableName) -> int:
    found = connection.execute(_TABLE, [name.schema, name.table]).fetchone()
    if found is None:
        raise RestoreFailed(f"the snapshot has no table {name}", hint="names are compared letter by letter")
    oid, kind, is_unlogged = found
    if kind not in ("r", "p"):
        raise RestoreFailed(
            f"{name} is no table of its own: it is a view, a foreign table or a similar relation"
        )
    if is_unlogged:  # an empty one would take the place of the live one's rows
        raise RestoreFailed(f"table {name} is unlogged: a snapshot has no rows of it")
    return int(oid)


def _parts(connection: Connection, whole: Mapping[int, Wanted], wanted: Sequence[Wanted]) -> list[_Part]:
    """All tables of the trees. No root may be in another's tree."""
    below = trees(connection, [*whole])
    roots = dict(below)
    parts = []
    rows = connection.execute(_PARTS, [[*roots]]).fetchall()
    for oid, schema, name, is_extensions, is_unlogged, size in rows:
        if is_extensions:  # a dump would leave it out
            raise RestoreFailed(f"table {schema}.{name} belongs to an extension")
        parts.append(_Part(oid, TableName(schema, name), whole[roots[oid]], is_unlogged, size))
    # A table that inherits from two of them comes back once, and belongs to both.
    times = Counter(relation for relation, _ in below)
    twice = [one.name for one in parts if times[one.relation] > 1 and one.relation in whole]
    asked = Counter(one.source for one in wanted)
    for name in (*twice, *(name for name, number in asked.items() if number > 1)):
        raise RestoreFailed(f"table {name} is asked for twice: by its name, or as a part of another")
    return parts


def _remote(
    connection: Connection, parts: Sequence[_Part], clones: Sequence[Node]
) -> tuple[tuple[str, Wanted], ...]:
    """The data nodes' tables move where their root goes, and are renamed as it is.

    The foreign table's options are written in full: missing ones would follow its own name.
    """
    whole = {one.name: one.root for one in parts}
    found: dict[tuple[str, TableName], Wanted] = {}
    for foreign in foreign_tables(connection, [one.relation for one in parts], clones):
        root, remote = whole[foreign.name], foreign.remote
        point(connection, foreign, remote)
        target = TableName(
            root.target.schema if remote.schema == root.source.schema else remote.schema,
            root.target.table if remote.table == root.source.table else remote.table,
        )
        found[foreign.node, remote] = Wanted(remote, target, exact=False, roles=foreign.roles)
    return tuple((node, one) for (node, _), one in found.items())


def _published(connection: Connection, live: Connection, parts: Sequence[_Part]) -> list[str]:
    """Notes on publications without the copies. The swap reports those that the replaced tables are in now."""
    names = [[one.name.schema for one in parts], [one.name.table for one in parts]]
    now = live.execute(_PUBLICATIONS, names).fetchall()
    replaced = {one.name for one in parts if one.root.source == one.root.target}
    return [
        f"{schema}.{table} was in publication {publication}, and the restored table is not"
        for schema, table, publication in connection.execute(_PUBLICATIONS, names).fetchall()
        if (schema, table, publication) not in now or TableName(schema, table) not in replaced
    ]


def _part(connection: Connection, relations: Sequence[int]) -> list[str]:
    """Detach the tables from parents that stay: a partition becomes a table of its own."""
    notes = []
    # A detach would look for rows that point at the partition, by a query of ours as superuser (ri_triggers.c).
    for schema, name, key, definition, heirs in connection.execute(_POINTING, {"tree": relations}).fetchall():
        _drop_constraint(connection, schema, name, key)
        notes += [f"{heir} comes without its foreign key {key}: {definition}" for heir in heirs]
    for above, parent, schema, name, is_partition in connection.execute(
        _OTHER_PARENTS, {"tree": relations}
    ).fetchall():
        of, child = sql.Identifier(above, parent), sql.Identifier(schema, name)
        if is_partition:
            connection.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(of, child))
        else:
            connection.execute(sql.SQL("ALTER TABLE {} NO INHERIT {}").format(child, of))
        notes.append(f"{schema}.{name} was part of {above}.{parent}, and comes back as a table of its own")
    return notes


def _drop_foreign_keys(connection: Connection, relations: Sequence[int]) -> list[str]:
    """Drop foreign keys to tables that stay: the rows there are not those of the snapshot."""
    notes = []
    for schema, name, key, definition in connection.execute(_FOREIGN_KEYS, {"tree": relations}).fetchall():
        _drop_constraint(connection, schema, name, key)
        notes.append(f"{schema}.{name} comes without its foreign key {key}: {definition}")
    return notes


def _drop_constraint(connection: Connection, schema: str, table: str, name: str) -> None:
    connection.execute(
        sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
            sql.Identifier(schema, table), sql.Identifier(name)
        )
    )


def _drop_triggers(connection: Connection, live: Connection, relations: Sequence[int]) -> list[str]:
    triggers = connection.execute(_TRIGGERS, [relations]).fetchall()
    functions = sorted({function for *_, function in triggers})
    gone = {function for (function,) in live.execute(_GONE_FUNCTIONS, [functions]).fetchall()}
    notes = []
    for schema, name, trigger, function in triggers:
        if function in gone:
            connection.execute(
                sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(schema, name))
            )
            notes.append(f"{schema}.{name} comes without its trigger {trigger}: function {function} is gone")
    return notes


def _drop_policies(connection: Connection, live: Connection, relations: Sequence[int]) -> list[str]:
    """Drop policies for roles that are gone. This shows no rows to anyone, since they applied only to these roles."""
    known = {name for (name,) in live.execute("SELECT rolname FROM pg_roles").fetchall()}
    notes = []
    for schema, name, policy, roles in connection.execute(_POLICIES, [relations]).fetchall():
        gone = [role for role in roles if role not in known]
        if not gone:
            continue
        kept = [sql.Identifier(role) for role in roles if role in known]
        on = sql.SQL("POLICY {} ON {}").format(sql.Identifier(policy), sql.Identifier(schema, name))
        if kept:
            connection.execute(sql.SQL("ALTER {} TO {}").format(on, sql.SQL(", ").join(kept)))
        else:
            connection.execute(sql.SQL("DROP {}").format(on))
        notes.append(f"policy {policy} of {schema}.{name} is not for role {', '.join(gone)}, which is gone")
    return notes


def _move(connection: Connection, kind: str, name: TableName, to: str) -> None:
    connection.execute(
        sql.SQL("ALTER {} {} SET SCHEMA {}").format(
            sql.SQL(kind), sql.Identifier(name.schema, name.table), sql.Identifier(to)
        )
    )
