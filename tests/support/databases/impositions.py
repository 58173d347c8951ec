"""Settings that the owner of a database, or a superuser, may impose on all who enter it."""

from contextlib import suppress
from typing import Any

import psycopg

from stillhouse.postgres.sessions.session import SUPERUSER
from support.servers.warehouses import USER
from support.snapshots.cuts import ask, tell

# For each setting, whoever may set it: a value that is valid and is not the default.
_CHOICES = """
    SELECT name, CASE vartype WHEN 'bool' THEN CASE boot_val WHEN 'on' THEN 'off' ELSE 'on' END
                  WHEN 'enum' THEN coalesce((SELECT min(one) FROM unnest(enumvals) one WHERE one <> boot_val), boot_val)
                  WHEN 'string' THEN 'x' ELSE CASE boot_val WHEN min_val THEN max_val ELSE min_val END END
      FROM pg_settings WHERE context IN ('user', 'superuser') AND name NOT IN ('is_superuser') AND ({which})
     ORDER BY 1
"""
_SPECIAL = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "TimeZone": "Asia/Kolkata",
    "timezone_abbreviations": "India",
    "lc_messages": "C",
    "role": USER,
    "session_authorization": USER,
    "search_path": "theirs, pg_catalog",
    "debug_discard_caches": "0",
    "wal_consistency_checking": "",
    "backtrace_functions": "",
}


def choices(connection: Any, which: str = "true") -> dict[str, str]:
    """Settings that anybody or a superuser may set, each with a value. `which` is a condition on pg_settings."""
    return {**dict(ask(connection, _CHOICES.format(which=which))), **_SPECIAL}


def impose(connection: Any, database: str) -> dict[str, str]:
    """All of it; what the database imposes then, by name. `connection` is a superuser's, to another database."""
    settings = choices(connection)
    for who in (USER, SUPERUSER):
        tell(connection, f"SET ROLE {who}")
        for name, value in settings.items():
            with suppress(psycopg.Error):  # not his to set, or not this value
                tell(connection, f"ALTER DATABASE {database} SET {name} = '{value}'")
        tell(connection, "RESET ROLE")
    ((imposed,),) = ask(
        connection,
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        f" WHERE setrole = 0 AND datname = '{database}'",
    )
    return dict(one.split("=", 1) for one in imposed)
