"""One node's share of a swap, in the caller's transaction: the copied tables replace the old ones.

It drops, moves and renames. Nothing in it runs a user's function.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from secrets import token_hex

from stillhouse.domain.names import LONGEST_IDENTIFIER
from stillhouse.domain.table_restore import TableName
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.warehouse.tables.gather import Hidden, Placed
from stillhouse.warehouse.tables.related import trees

_DEPENDENTS_EXIST = "2BP01"

_RELATION = """
    SELECT c.oid, c.relkind::text, c.relispartition
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""
# Foreign tables that inherit. Foreign tables that are partitions go with their root.
_NAMES = """
    SELECT c.relkind = 'f', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY(%s::oid[]) AND (c.relkind IN ('r', 'p') OR NOT c.relispartition) ORDER BY c.oid
"""
# Facts that the database keeps by the table's id, and loses with the table.
_FORGOTTEN = """
    SELECT n.nspname, c.relname, 'was in publication ' || p.pubname
      FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
      JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE r.prrelid = ANY(%(tree)s::oid[])
    UNION
    SELECT n.nspname, c.relname, 'was filled by subscription ' || s.subname
      FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
      JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE r.srrelid = ANY(%(tree)s::oid[])
     ORDER BY 1, 2, 3
"""
# A partition with an interrupted detach is no part of the table, yet goes with it when the table is dropped.
_DETACHED = """
    SELECT i.inhparent::regclass::text, i.inhrelid::regclass::text
      FROM pg_inherits i WHERE i.inhdetachpending AND i.inhparent = ANY(%s::oid[])
"""
# A table, and the named objects that move with it.
_THINGS = """
    SELECT c.oid, 'TABLE', n.nspname, c.relname, pg_get_userbyid(c.relowner)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = ANY(%(tree)s::oid[])
    UNION ALL
    SELECT i.indrelid, 'INDEX', n.nspname, c.relname, ''
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE i.indrelid = ANY(%(tree)s::oid[])
    UNION ALL
    SELECT d.refobjid, 'SEQUENCE', n.nspname, c.relname, ''
      FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
       AND d.refobjid = ANY(%(tree)s::oid[]) AND d.deptype IN ('a', 'i')
    UNION ALL
    SELECT s.stxrelid, 'STATISTICS', n.nspname, s.stxname, pg_get_userbyid(s.stxowner)
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = ANY(%(tree)s::oid[])
    ORDER BY 1, 2 DESC, 3, 4
"""
# A table's name is a type's as well; an array type gives way by itself (catalog/pg_type.c, moveArrayTypeName).
_TAKEN = """
    SELECT n.nspname, false, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%(schemas)s)
    UNION
    SELECT n.nspname, false, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE n.nspname = ANY(%(schemas)s) AND t.typelem = 0
    UNION
    SELECT n.nspname, true, s.stxname FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
     WHERE n.nspname = ANY(%(schemas)s)
"""


@dataclass(frozen=True)
class _Thing:
    """Something that is moved: its name now, and its name afterwards."""

    kind: str
    now: TableName
    then: TableName


def lock_standing(connection: Connection, targets: Iterable[TableName]) -> list[int]:
    """Lock the existing tables among these against everyone.

    Raises RestoreFailed for a table that cannot be replaced.
    """
    found = []
    for name in targets:
        if _find(connection, name) is None:
            continue
        identifier = sql.Identifier(name.schema, name.table)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(identifier))
        oid = _find(connection, name)  # only now it is sure which one has that name
        if oid is not None:
            found.append(oid)
    return found


def _find(connection: Connection, name: TableName) -> int | None:
    row = connection.execute(_RELATION, [name.schema, name.table]).fetchone()
    if row is None:
        return None
    oid, kind, is_partition = row
    if kind not in ("r", "p"):
        raise RestoreFailed(f"{name} is no table, and is not replaced by one", hint="choose another name")
    if is_partition:
        raise RestoreFailed(
            f"{name} is a partition of another table, which would lose it",
            hint="restore it under another name, or the whole table",
        )
    return int(oid)


def drop(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Drop whole trees. Returns sentences on facts that the database forgets with them.

    Raises RestoreFailed, which names the objects that depend on them.
    """
    tree = [relation for relation, _ in trees(connection, tables)]
    names = connection.execute(_NAMES, [tree]).fetchall()
    if not names:
        return []
    for parent, child in connection.execute(_DETACHED, [tree]).fetchall():
        raise RestoreFailed(
            f"the detach of {child} from {parent} was interrupted, and it would be lost with it",
            hint=f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE",
        )
    notes = [
        f"{schema}.{table} {knew}, and is no more"
        for schema, table, knew in connection.execute(_FORGOTTEN, {"tree": tree}).fetchall()
    ]
    try:
        for kind, is_foreign in (("FOREIGN TABLE", True), ("TABLE", False)):
            if these := [sql.Identifier(*name) for foreign, *name in names if foreign is is_foreign]:
                connection.execute(sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.SQL(", ").join(these)))
    except session.Error as error:
        if error.sqlstate != _DEPENDENTS_EXIST:
            raise
        who = (error.diag.message_detail or error.diag.message_primary or "").replace("\n", "; ")
        raise RestoreFailed(
            f"a table cannot be replaced, others depend on it, and nothing was changed: {who}",
            hint="drop the objects that depend on it, or restore under another name",
        ) from error
    return notes


def place(connection: Connection, hidden: Sequence[Hidden], tables: Sequence[Placed]) -> list[TableName]:
    """Put the copied tables where they belong, with all their objects, and drop the hidden schemas.

    Partitions that lay elsewhere than their root go back there. Names stay, or get a number when they are taken.
    Returns the present name of each of `tables`.
    """
    schemas = {one.name: one for one in hidden}
    roots = hidden_tables(connection, tables)
    placed = dict(zip(roots, tables, strict=True))
    root_of = dict(trees(connection, roots))
    rows = connection.execute(_THINGS, {"tree": [*root_of]}).fetchall()
    going: list[tuple[str, TableName, str]] = []
    owners: dict[str, str] = {}
    for relation, kind, schema, name, owner in rows:
        whole = placed[root_of[relation]]
        lay, root_lay = schemas[schema], schemas[whole.hidden]
        final = whole.target.schema if lay.schema == root_lay.schema else lay.schema
        if owner:  # the others lie where their table does
            owners.setdefault(final, owner)
        going.append((kind, TableName(schema, name), final))
    for schema, owner in owners.items():
        _make_schema(connection, schema, owner)
    things = _name(connection, going, {TableName(one.hidden, one.table): one for one in tables})
    _move(connection, things)
    for one in hidden:  # it must be empty by now
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(one.name)))
    now = {thing.now: thing.then for thing in things if thing.kind == "TABLE"}
    return [now[TableName(one.hidden, one.table)] for one in tables]


def hidden_tables(connection: Connection, tables: Sequence[Placed]) -> list[int]:
    """The ids of the copied tables where they wait."""
    found = []
    for one in tables:
        ((oid, *_),) = connection.execute(_RELATION, [one.hidden, one.table]).fetchall()
        found.append(int(oid))
    return found


def _make_schema(connection: Connection, schema: str, owner: str) -> None:
    """Make the schema if it is missing, for the table's owner.

    The old owner may be a role of no use, as that of `public` is.
    """
    if not connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchall():
        connection.execute(
            sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), sql.Identifier(owner))
        )


def _name(
    connection: Connection, going: Sequence[tuple[str, TableName, str]], roots: dict[TableName, Placed]
) -> list[_Thing]:
    """Give names: a requested name goes first to its table. Statistics have a separate space of names."""
    schemas = sorted({schema for *_, schema in going})
    taken = {tuple(row) for row in connection.execute(_TAKEN, {"schemas": schemas}).fetchall()}
    things = []
    for kind, now, schema in sorted(going, key=lambda one: one[0] != "TABLE" or one[1] not in roots):
        root = roots.get(now) if kind == "TABLE" else None
        wanted, space = (root.target.table if root else now.table), kind == "STATISTICS"
        name = next(one for one in _candidates(wanted) if (schema, space, one) not in taken)
        if root is not None and root.exact and name != wanted:
            raise RestoreFailed(
                f"{schema} has something else that is called {wanted}, and nothing was changed",
                hint="choose another name",
            )
        taken.add((schema, space, name))
        things.append(_Thing(kind, now, TableName(schema, name)))
    return things


def _candidates(name: str) -> Iterable[str]:
    """The name itself, then with a number, as PostgreSQL makes names (commands/indexcmds.c, ChooseRelationName)."""
    yield name
    for number in count(1):
        suffix = str(number)
        yield name.encode()[: LONGEST_IDENTIFIER - len(suffix)].decode(errors="ignore") + suffix


def _move(connection: Connection, things: Sequence[_Thing]) -> None:
    """Move the things by way of unused names: two may exchange their names."""
    between = token_hex(8)
    renamed = {
        thing: f"stillhouse_{between}_{number}"
        for number, thing in enumerate(things)
        if thing.now.table != thing.then.table
    }
    for thing, passing in renamed.items():
        _alter(connection, thing.kind, thing.now, "RENAME TO", passing)
    for thing in things:
        if thing.kind in ("TABLE", "STATISTICS"):  # the others go with their table
            name = TableName(thing.now.schema, renamed.get(thing, thing.now.table))
            _alter(connection, thing.kind, name, "SET SCHEMA", thing.then.schema)
    for thing, passing in renamed.items():
        _alter(connection, thing.kind, TableName(thing.then.schema, passing), "RENAME TO", thing.then.table)


def _alter(connection: Connection, kind: str, name: TableName, change: str, to: str) -> None:
    connection.execute(
        sql.SQL("ALTER {} {} {} {}").format(
            sql.SQL(kind), sql.Identifier(name.schema, name.table), sql.SQL(change), sql.Identifier(to)
        )
    )
