"""The settings that each of our sessions begins with; they overrule those of the server, the role and the database.

All this stands in the start-up packet, for it has to hold before our first statement: it prevails over files, ALTER
SYSTEM, ALTER DATABASE and ALTER ROLE (utils/misc/guc.c, GucSource). A database's owner may set all that any user may,
`role` among it. session.py looks after the login for imposed settings that are not named here.
"""

from collections.abc import Mapping

# Any user may set these.
_EVERYBODYS = {
    # No time-out that somebody has set ends our work half-way.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "tcp_user_timeout": "0",
    "client_connection_check_interval": "0",
    "exit_on_error": "off",
    "post_auth_delay": "0",
    # Our identity, and the meaning of names.
    "role": "none",
    "search_path": "",
    "row_security": "off",
    "local_preload_libraries": "",
    # The kind of transactions.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # How a value is written, and read.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "default_text_search_config": "pg_catalog.simple",
    # How a statement is read.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "quote_all_identifiers": "off",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "check_function_bodies": "on",
    "ignore_system_indexes": "off",
    # The place and form of new objects.
    "default_table_access_method": "heap",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "default_toast_compression": "pglz",
    "password_encryption": "scram-sha-256",
    "createrole_self_grant": "",
    # Messages beside the answers: programs that we run would take them for findings.
    "client_min_messages": "warning",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    # Compiled by a library that may be missing.
    "jit": "off",
}
# Superusers may, and whoever was allowed to.
_SUPERUSERS = {
    # Login triggers fire before any SET, so they must be switched off here.
    "event_triggers": "off",
    "session_replication_role": "origin",
    "session_preload_libraries": "",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "allow_system_table_mods": "off",
    "lo_compat_privileges": "off",
    "lc_messages": "C",
    "temp_file_limit": "-1",
    "track_activities": "on",
}
# Settings that 15 does not know, with the first major version that does.
_SINCE = {"createrole_self_grant": 16, "event_triggers": 17, "transaction_timeout": 17}

# The reader may set all that a superuser may; else a database could impose settings on it that it cannot overrule.
# Settings of loaded extensions are among them. A role's own settings do not last.
LET_SET = """
    DO $$ DECLARE this text; BEGIN
        FOR this IN SELECT name FROM pg_catalog.pg_settings WHERE context IN ('superuser', 'superuser-backend')
                        AND NOT pg_catalog.has_parameter_privilege('{role}', name, 'SET')
        LOOP EXECUTE pg_catalog.format('GRANT SET ON PARAMETER %I TO {role}', this); END LOOP;
    END $$
"""


def session_settings(
    major: int, settings: Mapping[str, str] | None = None, *, may_set_all: bool = True
) -> dict[str, str]:
    """The settings that a session on a server of this version begins with; `settings` are its own, and prevail.

    `may_set_all` is true for a superuser, and for a role that was allowed to set what a superuser may. Settings that
    the version does not know are left out.
    """
    ours = _EVERYBODYS | (_SUPERUSERS if may_set_all else {}) | dict(settings or {})
    return {name: value for name, value in ours.items() if major >= _SINCE.get(name, 0)}


def as_options(settings: Mapping[str, str]) -> str:
    """Write the settings as libpq's `options` takes them."""
    return " ".join(f"-c {name}={_escape(value)}" for name, value in settings.items())


def _escape(value: str) -> str:
    """Options are split at white space unless escaped (src/backend/utils/init/postinit.c, pg_split_opts)."""
    return "".join(f"\\{char}" if char.isspace() or char == "\\" else char for char in value)
