"""The settings that each of our sessions begins with. They override the settings of the server, role and database.

They go into the start-up packet, because they must hold before our first statement. There they override files, ALTER
SYSTEM, ALTER DATABASE and ALTER ROLE (utils/misc/guc.c, GucSource). A database's owner may impose every setting that
any user may set, even `role`. After the login session.py searches for imposed settings that are not named here.
"""

from collections.abc import Mapping

# Any user may set these.
_EVERYBODYS = {
    # No time-out of the server, role or database ends our work half-way.
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
    # Temporary objects come last: without this word they come first, also those that a tenant's function has made in
    # our session, and one named `pg_class` would answer our own questions.
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "local_preload_libraries": "",
    # The kind of transactions.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # The text form of values.
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
    # The reading of statements.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "quote_all_identifiers": "off",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "check_function_bodies": "on",
    "ignore_system_indexes": "off",
    # With a limit, searches by a GIN index leave rows out.
    "gin_fuzzy_search_limit": "0",
    # The place and form of new objects.
    "default_table_access_method": "heap",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "default_toast_compression": "pglz",
    "password_encryption": "scram-sha-256",
    "createrole_self_grant": "",
    # Messages beside the answers. Programs that we run would report them as findings.
    "client_min_messages": "warning",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    # Compilation needs a library that may be missing.
    "jit": "off",
}
# Superusers may set these, and roles that were granted the right.
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
# Settings that the oldest version does not know, each with the first major version that does.
OLDEST = 15
_SINCE = {"createrole_self_grant": 16, "event_triggers": 17, "transaction_timeout": 17}

# The reader may set every setting that a superuser may, settings of loaded extensions included. Otherwise a database
# could impose settings that the reader cannot overrule. The reader's own settings end with its session.
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
    """Return the settings that a session begins with on a server of this version. Its own `settings` override ours.

    `may_set_all` is true for a superuser, and for a role that was granted the right to set the same settings. Settings
    that the version does not know are left out.
    """
    ours = _EVERYBODYS | (_SUPERUSERS if may_set_all else {}) | dict(settings or {})
    return {name: value for name, value in ours.items() if major >= _SINCE.get(name, 0)}


def as_options(settings: Mapping[str, str]) -> str:
    """Write the settings as libpq's `options` takes them."""
    return " ".join(f"-c {name}={_escape(value)}" for name, value in settings.items())


def _escape(value: str) -> str:
    """Options are split at white space unless escaped (src/backend/utils/init/postinit.c, pg_split_opts)."""
    return "".join(f"\\{char}" if char.isspace() or char == "\\" else char for char in value)
