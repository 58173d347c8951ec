"""The rights that our role needs on a server that is somebody's: each with its reason, as SQL that grants it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stillhouse.postgres.sessions import sql
from stillhouse.postgres.sessions.session import Connection


@dataclass(frozen=True)
class Right:
    """`grant` and `revoke` are statements with {role} for the role's name, see `statement`. `held` is an expression,
    true if the session has the right. Without a right that is not a `must`, a capture succeeds, but for the part that
    `why` names.
    """

    name: str
    why: str
    grant: str
    revoke: str
    held: str
    must: bool = True


def _function(signature: str, why: str, *, must: bool = True) -> Right:
    return Right(
        f"EXECUTE on {signature.partition('(')[0]}",
        why,
        f"GRANT EXECUTE ON FUNCTION pg_catalog.{signature} TO {{role}}",
        f"REVOKE EXECUTE ON FUNCTION pg_catalog.{signature} FROM {{role}}",
        f"pg_catalog.has_function_privilege('pg_catalog.{signature}', 'EXECUTE')",
        must,
    )


def _member(role: str, why: str, *, must: bool = True) -> Right:
    return Right(
        f"membership in {role}",
        why,
        f"GRANT {role} TO {{role}}",
        f"REVOKE {role} FROM {{role}}",
        f"pg_catalog.pg_has_role('{role}', 'USAGE')",
        must,
    )


def _attribute(name: str, column: str, why: str, *, must: bool = True) -> Right:
    return Right(
        name,
        why,
        f"ALTER ROLE {{role}} {name}",
        f"ALTER ROLE {{role}} NO{name}",
        f"(SELECT rolsuper OR {column} FROM pg_catalog.pg_roles WHERE rolname = current_user)",
        must,
    )


# Functions are granted in the database `postgres`, where all questions about the server are asked.
RIGHTS = (
    _attribute("REPLICATION", "rolreplication", "streams the WAL"),
    _member("pg_monitor", "sees all sessions, settings and sizes"),
    _function("pg_backup_start(text, boolean)", "begins a backup"),
    _function("pg_backup_stop(boolean)", "ends a backup"),
    _function("pg_create_restore_point(text)", "marks the moment of a snapshot in the WAL"),
    _function("pg_ls_dir(text, boolean, boolean)", "lists the files of the data directory"),
    _function("pg_stat_file(text, boolean)", "tells the sizes of files"),
    _function("pg_read_binary_file(text, bigint, bigint, boolean)", "reads the files"),
    _member("pg_read_all_data", "tables have no fingerprints without it", must=False),
    _attribute("BYPASSRLS", "rolbypassrls", "tables with row security have no fingerprints without it", must=False),
    Right(
        "CREATE on database postgres",
        "leaves the mark there that a later snapshot builds on; without it the next is whole before PostgreSQL 17",
        "GRANT CREATE ON DATABASE postgres TO {role}",
        "REVOKE CREATE ON DATABASE postgres FROM {role}",
        "pg_catalog.has_database_privilege('postgres', 'CREATE')",
        must=False,
    ),
    *(
        _function(
            f"{name}()",
            "configuration outside the data directory is not in the snapshot without it",
            must=False,
        )
        for name in ("pg_show_all_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings")
    ),
    _member("pg_checkpoint", "a snapshot cannot be a base without it if the node cannot be marked", must=False),
)  # fmt: skip


MAINTAIN_SINCE = 170000  # as in server_version_num
# One statement for all versions: each has but one of the roles.
_BY_VERSION = """DO $stillhouse$ BEGIN
    EXECUTE pg_catalog.concat('{verb} ', CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 170000
                                    THEN 'pg_maintain' ELSE 'pg_write_all_data' END, ' {to} ', {{literal}});
END $stillhouse$"""
# Beside RIGHTS, on the coordinator of a cluster with data nodes.
GATE_RIGHTS = (
    _member("pg_read_all_data", "tells which tables lead to data nodes, and as whom they are written"),
    Right(
        "membership in pg_maintain, or pg_write_all_data before PostgreSQL 17",
        "locks the distributed tables for the moment of a snapshot; the tables' owners may do so too",
        _BY_VERSION.format(verb="GRANT", to="TO"),
        _BY_VERSION.format(verb="REVOKE", to="FROM"),
        # Looked at table by table: membership in the tables' owners is enough.
        "true",
    ),
)


def gate_role(version: int) -> str:
    """Return PostgreSQL's role that may lock every table. `version` is as in server_version_num."""
    return "pg_maintain" if version >= MAINTAIN_SINCE else "pg_write_all_data"


def missing(connection: Connection, rights: Sequence[Right] = RIGHTS) -> Iterator[Right]:
    """Yield the rights that the session's role lacks. The session is in the database `postgres`."""
    query = "SELECT " + ", ".join(right.held for right in rights)
    (held,) = connection.execute(query.encode()).fetchall()
    return (right for right, has in zip(rights, held, strict=True) if not has)


def script(role: str, *, gate: bool = False, revoke: bool = False) -> str:
    """Return the SQL that gives a role all rights, or takes them away. It is run in the database `postgres`, by a
    superuser. `gate` adds the rights that are needed on the coordinator of a cluster with data nodes.
    """
    rights = (*RIGHTS, *GATE_RIGHTS[1:]) if gate else RIGHTS
    if revoke:
        return "".join(f"{statement(right.revoke, role)};\n" for right in reversed(rights))
    return "".join(f"{statement(right.grant, role)};  -- {right.why}\n" for right in rights)


def statement(template: str, role: str) -> str:
    """Return a statement about a right, for a role of this name."""
    name = sql.Identifier(role).as_string()
    return template.format(role=name, literal=sql.Literal(name).as_string())
