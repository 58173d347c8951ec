"""Parts of a table that a dump leaves out: they are read in the clone, and set on the copy by a superuser.

comments      on inherited constraints, on partitions' triggers, on the types of rows
triggers      of constraints that are switched off: ALTER TABLE ... DISABLE TRIGGER ALL
the order of  inherited columns: CREATE TABLE ... INHERITS puts the parents' first, and a parent's column that was
columns       added later came last. This child is copied alone and inherits again afterwards
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.domain.table_restore import TableName
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions.session import Connection, sql

_COMMENTS = """
    SELECT 'CONSTRAINT', k.conname, n.nspname, c.relname, d.description
      FROM pg_description d JOIN pg_constraint k ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
      JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'TRIGGER', t.tgname, n.nspname, c.relname, d.description
      FROM pg_description d JOIN pg_trigger t ON d.classoid = 'pg_trigger'::regclass AND d.objoid = t.oid
      JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%(schemas)s) AND NOT t.tgisinternal
    UNION ALL
    SELECT 'TYPE', '', n.nspname, c.relname, d.description
      FROM pg_description d JOIN pg_class c ON d.classoid = 'pg_type'::regclass AND d.objoid = c.reltype
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%(schemas)s)
"""
# A constraint's triggers have numbers in their names, and the copy's have other numbers.
_SYSTEM_TRIGGERS = """
    SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text,
           ARRAY[kn.nspname, kc.relname, k.conname, t.tgfoid::regproc::text, t.tgtype::text]
      FROM pg_trigger t
      JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_constraint k ON k.oid = t.tgconstraint
      JOIN pg_class kc ON kc.oid = k.conrelid JOIN pg_namespace kn ON kn.oid = kc.relnamespace
     WHERE t.tgisinternal AND n.nspname = ANY(%(schemas)s) AND kn.nspname = ANY(%(schemas)s)
"""
_SWITCHES = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_INHERITED = """
    SELECT n.nspname, c.relname,
           ARRAY(SELECT attname::text FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),
           ARRAY(SELECT pn.nspname || '.' || p.relname
                   FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                   JOIN pg_namespace pn ON pn.oid = p.relnamespace
                  WHERE i.inhrelid = c.oid AND NOT c.relispartition ORDER BY i.inhseqno),
           ARRAY(SELECT attname::text FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND NOT attislocal),
           ARRAY(SELECT conname::text FROM pg_constraint
                  WHERE conrelid = c.oid AND contype IN ('c', 'n') AND NOT conislocal),
           ARRAY(SELECT conname::text FROM pg_constraint
                  WHERE conrelid = c.oid AND contype IN ('c', 'n') AND coninhcount > 0 AND NOT convalidated)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'f')
     ORDER BY c.oid
"""
# pg_dump does the same for pg_upgrade (bin/pg_dump/pg_dump.c, dumpTableSchema), since no statement does it. A
# constraint that is not valid would prevent inheriting (commands/tablecmds.c, MergeConstraintsIntoExisting).
_PUT_COLUMNS = """
    UPDATE pg_attribute SET attislocal = false WHERE attrelid = {child} AND attname = ANY({names})
"""
_PUT_CONSTRAINTS = """
    UPDATE pg_constraint SET {flag} = {value}
     WHERE conrelid = {child} AND contype IN ('c', 'n') AND conname = ANY({names})
"""


@dataclass(frozen=True)
class Comment:
    kind: str
    name: str
    table: TableName
    text: str


@dataclass(frozen=True)
class SystemTrigger:
    """`key` is the same for the copy's trigger. `switch` is its state, in pg_trigger's letters."""

    table: TableName
    key: tuple[str, ...]
    switch: str


@dataclass(frozen=True)
class Child:
    """`columns` and `constraints` are inherited and not its own. `unchecked` are constraints that are not valid."""

    table: TableName
    parents: tuple[TableName, ...]
    columns: tuple[str, ...]
    constraints: tuple[str, ...]
    unchecked: tuple[str, ...]


@dataclass(frozen=True)
class Carried:
    comments: tuple[Comment, ...]
    triggers: tuple[SystemTrigger, ...]
    children: tuple[Child, ...]


def gather_carried(connection: Connection, schemas: Sequence[str]) -> Carried:
    """Read these things in the clone, for all tables in `schemas`.

    Cut off children if a dump would reorder their columns.
    """
    where = {"schemas": [*schemas]}
    comments = [
        Comment(kind, name, TableName(schema, table), text)
        for kind, name, schema, table, text in connection.execute(_COMMENTS, where).fetchall()
    ]
    triggers = []
    for schema, table, trigger, switch, key in connection.execute(_SYSTEM_TRIGGERS, where).fetchall():
        if switch != "O":
            triggers.append(SystemTrigger(TableName(schema, table), (*key,), switch))
            # Some of these on partitions are in the dump, under names that the copy's do not have.
            _alter(connection, TableName(schema, table), _switch("O", trigger))
    columns: dict[TableName, tuple[str, ...]] = {}
    found: list[Child] = []
    for schema, table, names, parents, *inherited in connection.execute(_INHERITED, where).fetchall():
        columns[name := TableName(schema, table)] = (*names,)
        above = tuple(TableName(*parent.split(".", 1)) for parent in parents)
        found.append(Child(name, above, *((*one,) for one in inherited)))
    children = [
        one
        for one in found
        if columns[one.table] != as_created([columns[above] for above in one.parents], columns[one.table])
    ]
    for child in children:
        for parent in child.parents:
            _alter(connection, child.table, sql.SQL("NO INHERIT {}").format(_name(parent)))
    return Carried((*comments,), (*triggers,), (*children,))


def as_created(parents: Sequence[Sequence[str]], own: Sequence[str]) -> tuple[str, ...]:
    """The order in which CREATE TABLE ... INHERITS puts a child's columns: the parents' first, then the others."""
    return (*dict.fromkeys(column for columns in (*parents, own) for column in columns),)


def set_carried(connection: Connection, carried: Carried, schemas: Sequence[str]) -> None:
    """Set these things on the copy, in the caller's transaction.

    Raises RestoreFailed where the copy lacks something.
    """
    for child in carried.children:
        _let_inherit(connection, child)
    for comment in carried.comments:
        _comment(connection, comment)
    names = {
        (TableName(schema, table), (*key,)): trigger
        for schema, table, trigger, _, key in connection.execute(
            _SYSTEM_TRIGGERS, {"schemas": [*schemas]}
        ).fetchall()
    }
    for one in carried.triggers:
        trigger = names.get((one.table, one.key))
        if trigger is None:
            raise RestoreFailed(f"the copy of {one.table} lacks a trigger of its constraint {one.key[2]}")
        _alter(connection, one.table, _switch(one.switch, trigger))


def _switch(how: str, trigger: str) -> sql.Composed:
    return sql.SQL("{} TRIGGER {}").format(sql.SQL(_SWITCHES[how]), sql.Identifier(trigger))


def _let_inherit(connection: Connection, child: Child) -> None:
    _put(connection, _PUT_CONSTRAINTS, child, child.unchecked, flag="convalidated", value="true")
    for above in child.parents:
        _alter(connection, child.table, sql.SQL("INHERIT {}").format(_name(above)))
    _put(connection, _PUT_COLUMNS, child, child.columns)
    _put(connection, _PUT_CONSTRAINTS, child, child.constraints, flag="conislocal", value="false")
    _put(connection, _PUT_CONSTRAINTS, child, child.unchecked, flag="convalidated", value="false")


def _put(connection: Connection, statement: str, child: Child, names: Sequence[str], **words: str) -> None:
    if names:
        relation = sql.SQL("{}::regclass").format(sql.Literal(sql.as_text(_name(child.table), connection)))
        parts: Mapping[str, sql.Composable] = {word: sql.SQL(text) for word, text in words.items()}
        connection.execute(sql.SQL(statement).format(child=relation, names=sql.Literal([*names]), **parts))


def _comment(connection: Connection, comment: Comment) -> None:
    what = {
        "TYPE": sql.SQL("TYPE {table}"),
        "TRIGGER": sql.SQL("TRIGGER {name} ON {table}"),
        "CONSTRAINT": sql.SQL("CONSTRAINT {name} ON {table}"),
    }[comment.kind].format(name=sql.Identifier(comment.name), table=_name(comment.table))
    connection.execute(sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(comment.text)))


def _alter(connection: Connection, table: TableName, change: sql.Composed) -> None:
    connection.execute(sql.SQL("ALTER TABLE ONLY {} {}").format(_name(table), change))


def _name(table: TableName) -> sql.Identifier:
    return sql.Identifier(table.schema, table.table)
