"""How restores of tables recognise their objects: by the name, and by a mark that only a superuser can set.

A name alone proves nothing: users choose the names of their roles, schemas, sessions and transactions. Ours are
  a role         that has the service's superuser as a member, granted by that superuser. A user with CREATEROLE can
                 make it a member too, but not in the superuser's name (commands/user.c: AddRoleMems before
                 PostgreSQL 16, check_role_grantor since);
  a schema       that belongs to the superuser or to one of these roles;
  a session      of the superuser, of the reader or of one of these roles;
  a transaction  that the superuser has prepared.
"""

from stillhouse.postgres.sessions.session import READER, SUPERUSER, Connection, sql

PREFIX = "stillhouse_tables_"
_NAME = f"'^{PREFIX}[0-9a-f]{{12}}$'"
_SCHEMA_NAME = f"'^{PREFIX}[0-9a-f]{{12}}_[0-9]+$'"
_GID = f"'^{PREFIX}[0-9a-f]{{12}}_'"
_SUPERUSER = f"'{SUPERUSER}'::regrole"

# Each is a subquery: `oid, name` of roles and schemas, `pid` of sessions, `gid, database` of prepared transactions.
ROLES = f"""
    SELECT r.oid, r.rolname AS name FROM pg_roles r
     WHERE r.rolname ~ {_NAME}
       AND EXISTS (SELECT FROM pg_auth_members m
                    WHERE m.roleid = r.oid AND m.member = {_SUPERUSER} AND m.grantor = {_SUPERUSER})
"""
SCHEMAS = f"""
    SELECT n.oid, n.nspname AS name FROM pg_namespace n
     WHERE n.nspname ~ {_SCHEMA_NAME}
       AND (n.nspowner = {_SUPERUSER} OR n.nspowner IN (SELECT oid FROM ({ROLES}) ours))
"""
# The sessions of the superuser and the reader that swap or compare.
SESSIONS = f"""
    SELECT a.pid FROM pg_stat_activity a
     WHERE a.pid <> pg_backend_pid()
       AND (a.usename IN ('{SUPERUSER}', '{READER}') AND a.application_name ~ {_NAME}
            OR a.usesysid IN (SELECT oid FROM ({ROLES}) ours))
"""
PREPARED = f"""
    SELECT p.gid, p.database FROM pg_prepared_xacts p WHERE p.gid ~ {_GID} AND p.owner = '{SUPERUSER}'
"""
# Things with names like ours that belong to somebody else.
_UNMARKED = f"""
    SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ {_NAME} AND oid NOT IN (SELECT oid FROM ({ROLES}) ours)
    UNION ALL
    SELECT 'transaction ' || gid FROM pg_prepared_xacts WHERE gid ~ {_GID} AND owner <> '{SUPERUSER}'
    ORDER BY 1
"""


def operation_prefix(operation_id: str) -> str:
    """The beginning of all names that one operation makes."""
    return f"{PREFIX}{operation_id.replace('-', '')[:12]}"


def mark(connection: Connection, role: str) -> None:
    """Mark a role as ours, for good; the session is the superuser's."""
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(SUPERUSER)))


def unmarked(connection: Connection) -> list[str]:
    """Roles and prepared transactions that have names like ours but are not ours: they are left alone."""
    return [name for (name,) in connection.execute(_UNMARKED).fetchall()]
