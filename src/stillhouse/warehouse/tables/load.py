"""Copy gathered tables into the live cluster's hidden schemas, by a temporary role, and clear them away again.

The role is no superuser: constraints, defaults and indexes call functions of the cluster's users, and those run with
its rights. It has the rights of the tables' owners, for one login.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import NodeUnreachable, RestoreFailed
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import UNLOGGED
from stillhouse.postgres.sessions.session import SUPERUSER, Connection, scram_verifier, sql
from stillhouse.postgres.wal.transfer import Login, transfer
from stillhouse.warehouse.cluster.fdw import new_password
from stillhouse.warehouse.proof.tables import SETTINGS
from stillhouse.warehouse.tables.compare_copy import check_definition, check_rows
from stillhouse.warehouse.tables.gather import Gathered
from stillhouse.warehouse.tables.marks import ROLES, SCHEMAS, SESSIONS, mark, unmarked
from stillhouse.warehouse.tables.rights import give_rights
from stillhouse.warehouse.tables.sessions import reading, unseen, unseen_transaction
from stillhouse.warehouse.tables.undumped_parts import set_carried

_SESSIONS_END_SECONDS = 30.0
_POLL_SECONDS = 0.05

_ROLES = f"SELECT name FROM ({ROLES}) ours ORDER BY name"
# The databases in which one of our roles owns something, or was granted something.
_DATABASES = f"""
    SELECT DISTINCT d.datname FROM pg_shdepend s
      JOIN pg_database d ON d.oid = s.dbid JOIN ({ROLES}) r ON r.oid = s.refobjid
     WHERE s.refclassid = 'pg_authid'::regclass
    UNION
    SELECT d.datname FROM pg_database d, LATERAL aclexplode(d.datacl) a JOIN ({ROLES}) r ON r.oid = a.grantee
"""
_SCHEMAS = f"SELECT name FROM ({SCHEMAS}) ours ORDER BY name"
_SESSIONS = f"SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) ours"
# The owners from which the role inherits. Superusers are left out: their objects are the whole server's.
_OWNERS = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND NOT rolsuper ORDER BY rolname"
# The role's memberships, and those of others in it, without its mark.
_MEMBERSHIPS = f"""
    SELECT o.rolname, m.rolname
      FROM pg_auth_members a JOIN pg_roles o ON o.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
     WHERE %(role)s IN (o.rolname, m.rolname) AND m.rolname <> '{SUPERUSER}'
"""
_LET_IN = """
    SELECT DISTINCT r.rolname FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
      LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE n.nspname = %s AND a.grantee <> n.nspowner
"""
# Schemas in which a superuser's tables may find objects that they need.
_CLOSED_SCHEMAS = """
    SELECT n.nspname FROM pg_namespace n
     WHERE n.nspname !~ '^pg_' AND NOT has_schema_privilege(%s, n.oid, 'USAGE')
       AND EXISTS (SELECT FROM pg_roles WHERE rolname = ANY(%s) AND rolsuper)
"""
_TABLESPACES = """
    SELECT DISTINCT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
     WHERE c.oid = ANY(%(tree)s::oid[])
        OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY(%(tree)s::oid[]))
"""
_SERVERS = """
    SELECT DISTINCT s.srvname FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
     WHERE f.ftrelid = ANY(%s::oid[])
"""
_PRESENT = {
    "TABLESPACE": "SELECT spcname FROM pg_tablespace WHERE spcname = ANY(%s)",
    "FOREIGN SERVER": "SELECT srvname FROM pg_foreign_server WHERE srvname = ANY(%s)",
}
# A root with partitions elsewhere cannot be analysed yet: they do not lead anywhere.
_ANALYSED = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class f ON f.oid = t.relid
                        WHERE f.relkind = 'f')
"""


def load(
    binaries: Binaries,
    clone: Node,
    live: Node,
    database: str,
    gathered: Gathered,
    role: str,
    otherwise: str,
    *,
    check: Callable[[], None],
    show: Callable[[int], None],
) -> list[str]:
    """Copy the tables gathered on `clone` to the same hidden schemas on `live`. Returns notes on lost rights.

    `role` is the name of the role that loads. Objects with a missing owner go to `otherwise`. All data are copied or
    nothing is; rights and statistics follow the data. Raises RestoreFailed.
    """
    with closing(session.connect(clone, database)) as source:
        needs = {
            "TABLESPACE": _names(source, _TABLESPACES, {"tree": [*gathered.relations]}),
            "FOREIGN SERVER": _names(source, _SERVERS, [[*gathered.relations]]),
        }
    with session.refusing_as(RestoreFailed, live), unseen(live, database, role, UNLOGGED) as connection:
        login = _hire(connection, database, role, sorted({one.owner for one in gathered.rights}), needs)
    schemas = [one.name for one in gathered.hidden]
    transfer(binaries, clone, live, database, schemas, login, check=check, show=show)
    with session.refusing_as(RestoreFailed, live), unseen(live, database, role) as connection:
        _seal(connection, schemas, role)
        with unseen_transaction(connection):
            set_carried(connection, gathered.carried, schemas)
        check_definition(connection, schemas, gathered.definition)
        with (
            reading(clone, database, role, SETTINGS) as source,
            reading(live, database, role, SETTINGS) as copy,
        ):
            check_rows(source, copy, schemas, check)
        with unseen_transaction(connection):
            notes = give_rights(connection, gathered.rights, otherwise)
        # Runs as the owners, and safe from their functions, as autovacuum does (commands/analyze.c).
        for schema, table in connection.execute(_ANALYSED, [schemas]).fetchall():
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
    return notes


def _seal(connection: Connection, schemas: Sequence[str], role: str) -> None:
    """Close the copy, which is complete: from here on only a superuser changes it, or lets others in.

    Functions of users ran with the role's rights, and may have given them away.
    """
    with unseen_transaction(connection):
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
        for owner, member in connection.execute(_MEMBERSHIPS, {"role": role}).fetchall():
            connection.execute(
                sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(owner), sql.Identifier(member))
            )
        for schema in schemas:
            name = sql.Identifier(schema)
            connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO CURRENT_USER").format(name))
            for (grantee,) in connection.execute(_LET_IN, [schema]).fetchall():
                connection.execute(
                    sql.SQL("REVOKE ALL ON SCHEMA {} FROM {} CASCADE").format(
                        name, sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
                    )
                )


def clear(node: Node) -> None:
    """Remove everything that a copy has left on a node: sessions, hidden schemas, roles.

    The caller must hold the cluster. The role goes last, since it leads to the rest. Prepared transactions must have
    been settled before. If it is killed, the next call finishes it. Raises NodeUnreachable when anything is in the
    way.
    """
    with session.refusing_as(NodeUnreachable, node):
        with unseen(node, "postgres", "stillhouse") as connection:
            roles = _names(connection, _ROLES)
            for role in roles:
                connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))
            # A copy of a killed service may be at its very end. The outcome is known only when its session is gone.
            end_sessions(node, connection)
            databases = _names(connection, _DATABASES)
        for database in databases:
            with unseen(node, database, "stillhouse") as connection:
                gone = [
                    sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name))
                    for name in _names(connection, _SCHEMAS)
                ]
                gone += [sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)) for role in roles]
                for statement in gone:
                    with unseen_transaction(connection):
                        connection.execute(statement)
        with unseen(node, "postgres", "stillhouse") as connection:
            for role in roles:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def unmarked_things(node: Node) -> list[str]:
    """Sentences about things that have a name like ours but no mark of ours. Raises NodeUnreachable."""
    with session.refusing_as(NodeUnreachable, node), unseen(node, "postgres", "stillhouse") as connection:
        return [
            f"{name} is named like a temporary object of a table restore, but is not marked as one: it was left alone"
            for name in unmarked(connection)
        ]


def adopt(nodes: Sequence[Node], database: str, role: str) -> None:
    """Mark the role `role` of an unfinished restore by an earlier version, so that its objects count as ours.

    Its copy on the coordinator says whether it was swapped in, so that is closed as well. Raises NodeUnreachable.
    """
    for node in nodes:
        with session.refusing_as(NodeUnreachable, node), unseen(node, database, "stillhouse") as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchall():
                continue
            mark(connection, role)
            end_sessions(node, connection)
            if node.role is Role.CN:
                schemas = [one for one in _names(connection, _SCHEMAS) if one.startswith(f"{role}_")]
                _seal(connection, schemas, role)


def end_sessions(node: Node, connection: Connection) -> None:
    """End the sessions of the copying roles, and ours that swap tables, and wait until they have ended."""
    clock = SystemClock()
    latest = clock.monotonic() + _SESSIONS_END_SECONDS
    while connection.execute(_SESSIONS).fetchall():
        if clock.monotonic() > latest:
            raise NodeUnreachable(f"node {node.name}: a session of an earlier copy does not end")
        clock.sleep(_POLL_SECONDS)


def _hire(
    connection: Connection, database: str, role: str, owners: Sequence[str], needs: dict[str, list[str]]
) -> Login:
    """Make the role, for one session that begins within the hour.

    Raises RestoreFailed when a thing it needs is gone.
    """
    for kind, names in needs.items():
        present = _names(connection, _PRESENT[kind], [names])
        if gone := sorted({*names} - {*present}):
            raise RestoreFailed(
                f"{kind.lower()} {gone[0]}, where the tables lay, is gone",
                hint="make it, or restore the cluster",
            )
    password, name = new_password(), sql.Identifier(role)
    until = connection.execute("SELECT (now() + interval '1 hour')::text").fetchall()[0][0]
    with unseen_transaction(connection):
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER CONNECTION LIMIT 1 PASSWORD {} VALID UNTIL {}").format(
                name, sql.Literal(scram_verifier(connection, role, password)), sql.Literal(until)
            )
        )
        mark(connection, role)
        connection.execute(
            sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), name)
        )
        may_be_deaf = connection.info.server_version >= 170000
        if may_be_deaf:
            connection.execute(sql.SQL("GRANT SET ON PARAMETER event_triggers TO {}").format(name))
        # The role must not become its owners, only use their objects. Before 16 this cannot be expressed.
        only = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if connection.info.server_version >= 160000 else "")
        for owner in _names(connection, _OWNERS, [[*owners]]):
            connection.execute(sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(owner), name, only))
        for schema in _names(connection, _CLOSED_SCHEMAS, [role, [*owners]]):
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), name))
        for kind, names in needs.items():
            right = sql.SQL("CREATE" if kind == "TABLESPACE" else "USAGE")
            for needed in names:
                connection.execute(
                    sql.SQL("GRANT {} ON {} {} TO {}").format(
                        right, sql.SQL(kind), sql.Identifier(needed), name
                    )
                )
    return Login(role, password, may_be_deaf)


def _names(
    connection: Connection, query: str, arguments: Sequence[Any] | Mapping[str, Any] | None = None
) -> list[str]:
    return [name for (name,) in connection.execute(query.encode(), arguments).fetchall()]
