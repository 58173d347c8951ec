"""The rights that our role needs on a server that is somebody's: each with its reason, as SQL that grants it."""

from collections.abc import Iterator
from dataclasses import dataclass

from stillhouse.postgres.sessions import sql
from stillhouse.postgres.sessions.session import Connection


@dataclass(frozen=True)
class Right:
    """`grant` and `revoke` are statements with {role} for the role's name. `held` is an expression, true if the session
    has the right. Without a right that is not a `must`, a capture succeeds, but for the part that `why` names.
    """

    name: str
    why: str
    grant: str
    revoke: str
    held: str
    must: bool = True


def _function(signature: str, why: str) -> Right:
    return Right(
        f"EXECUTE on {signature.partition('(')[0]}",
        why,
        f"GRANT EXECUTE ON FUNCTION pg_catalog.{signature} TO {{role}}",
        f"REVOKE EXECUTE ON FUNCTION pg_catalog.{signature} FROM {{role}}",
        f"pg_catalog.has_function_privilege('pg_catalog.{signature}', 'EXECUTE')",
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
    _member("pg_checkpoint", "a snapshot cannot be a base without it if the node cannot be marked", must=False),
)  # fmt: skip


def missing(connection: Connection) -> Iterator[Right]:
    """Yield the rights that the session's role lacks. The session is in the database `postgres`."""
    query = "SELECT " + ", ".join(right.held for right in RIGHTS)
    (held,) = connection.execute(query.encode()).fetchall()
    return (right for right, has in zip(RIGHTS, held, strict=True) if not has)


def script(role: str) -> str:
    """Return the SQL that gives a role all rights. It is run in the database `postgres`, by a superuser."""
    name = sql.Identifier(role).as_string()
    lines = [f"{right.grant.format(role=name)};  -- {right.why}" for right in RIGHTS]
    return "\n".join(lines) + "\n"
