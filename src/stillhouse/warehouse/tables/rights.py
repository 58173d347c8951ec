"""Owners of tables and rights on them: read from one server, given on another.

pg_dump is not used for this: it would have to act as the roles that granted, and one missing role would fail it all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stillhouse.postgres.sessions.session import Connection, sql

_OWNERS = """
    SELECT c.relkind::text, c.oid, c.relname, n.nspname, r.rolname,
           c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
     WHERE c.oid = ANY(%s::oid[])
     ORDER BY c.oid
"""
_STATISTICS = """
    SELECT n.nspname, s.stxname, r.rolname
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace JOIN pg_roles r ON r.oid = s.stxowner
     WHERE s.stxrelid = ANY(%s::oid[])
"""
# In the order of granting: a role that passes a right on comes after the role that gave it.
_GRANTS = """
    SELECT c.oid, given.column_name, grantor.rolname, grantee.rolname, a.grantee = 0, a.privilege_type, a.is_grantable
      FROM pg_class c
      CROSS JOIN LATERAL (SELECT NULL::name, 0, c.relacl
                          UNION ALL
                          SELECT attname, attnum::int, attacl FROM pg_attribute
                           WHERE attrelid = c.oid AND NOT attisdropped AND attacl IS NOT NULL
                         ) given (column_name, place, acl)
      CROSS JOIN LATERAL unnest(given.acl) WITH ORDINALITY item (acl, number)
      CROSS JOIN LATERAL aclexplode(ARRAY[item.acl]) a
      LEFT JOIN pg_roles grantor ON grantor.oid = a.grantor
      LEFT JOIN pg_roles grantee ON grantee.oid = a.grantee
     WHERE c.oid = ANY(%s::oid[])
     ORDER BY c.oid, a.grantor <> c.relowner, given.place, item.number
"""


@dataclass(frozen=True)
class Grant:
    """`grantee` "" is PUBLIC; `column` "" is the whole relation."""

    column: str
    grantor: str
    grantee: str
    privilege: str
    is_grantable: bool


@dataclass(frozen=True)
class Rights:
    """The rights on one table or sequence, or only the owner of an extended statistics object.

    Without `is_granted` the owner has all rights and others have no rights, as when nothing was ever granted.
    """

    kind: str
    schema: str
    name: str
    owner: str
    is_granted: bool = False
    grants: tuple[Grant, ...] = ()


def read_rights(connection: Connection, relations: Sequence[int]) -> list[Rights]:
    """The rights on these relations and on their extended statistics."""
    grants: dict[int, list[Grant]] = {}
    for oid, column, grantor, grantee, is_public, privilege, grantable in connection.execute(
        _GRANTS, [[*relations]]
    ).fetchall():
        if grantor is not None and (is_public or grantee is not None):
            grant = Grant(column or "", grantor, "" if is_public else grantee, privilege, grantable)
            grants.setdefault(oid, []).append(grant)
    found = [
        Rights(
            "SEQUENCE" if kind == "S" else "TABLE", schema, name, owner, is_granted, (*grants.get(oid, ()),)
        )
        for kind, oid, name, schema, owner, is_granted in connection.execute(
            _OWNERS, [[*relations]]
        ).fetchall()
    ]
    return found + [
        Rights("STATISTICS", schema, name, owner)
        for schema, name, owner in connection.execute(_STATISTICS, [[*relations]]).fetchall()
    ]


def give_rights(connection: Connection, rights: Sequence[Rights], otherwise: str) -> list[str]:
    """Give each object its owner and its grants, in the caller's transaction. Returns sentences on rights not given.

    A missing role gets nothing. An object with a missing owner goes to `otherwise`. The relations must have no grants
    and belong to the role that made them.
    """
    known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
    notes: dict[str, None] = {}
    for one in rights:
        owner = one.owner if one.owner in known else otherwise
        if owner != one.owner:
            notes[f"role {one.owner} is gone: {one.name} belongs to {owner}"] = None
        # A sequence of a column follows its table.
        if one.kind != "SEQUENCE":
            connection.execute(
                sql.SQL("ALTER {} {} OWNER TO {}").format(
                    sql.SQL(one.kind), sql.Identifier(one.schema, one.name), sql.Identifier(owner)
                )
            )
    for one in rights:
        if one.is_granted:
            owner = one.owner if one.owner in known else otherwise
            for gone in _give(connection, one, owner, known.__contains__):
                notes[f"role {gone} is gone, and with it its rights on {one.name}"] = None
    return [*notes]


def _give(connection: Connection, rights: Rights, owner: str, is_known: Callable[[str], bool]) -> list[str]:
    """Give the rights. Returns the missing roles."""
    thing = sql.SQL("{} {}").format(sql.SQL(rights.kind), sql.Identifier(rights.schema, rights.name))
    # The owner may have given up some of the rights that an owner has by default.
    connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(thing, sql.Identifier(owner)))
    gone = []
    for grant in rights.grants:
        by, to = (owner if name == rights.owner else name for name in (grant.grantor, grant.grantee))
        missing = [name for name in (by, to) if name and not is_known(name)]
        if missing:
            gone += missing
            continue
        privilege = sql.SQL(grant.privilege).format()
        if grant.column:
            privilege += sql.SQL(" ({})").format(sql.Identifier(grant.column))
        granting = sql.SQL("GRANT {} ON {} TO {}{}").format(
            privilege,
            thing,
            sql.Identifier(to) if to else sql.SQL("PUBLIC"),
            sql.SQL(" WITH GRANT OPTION" if grant.is_grantable else ""),
        )
        if by == owner:  # a superuser grants as the owner
            connection.execute(granting)
        else:
            _as_role(connection, by, rights.schema, granting)
    return gone


def _as_role(connection: Connection, role: str, schema: str, granting: sql.Composed) -> None:
    """Run a grant as its grantor, because a right records its grantor. The schema is open to him for that moment."""
    place, giver = sql.Identifier(schema), sql.Identifier(role)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(place, giver))
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(giver))
    connection.execute(granting)
    connection.execute("RESET ROLE")
    connection.execute(sql.SQL("REVOKE USAGE ON SCHEMA {} FROM {}").format(place, giver))
