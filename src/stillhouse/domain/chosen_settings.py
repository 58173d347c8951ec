"""PostgreSQL settings that a person chooses for a restored cluster, because the host cannot honour the source's."""

import re
from collections.abc import Iterable, Mapping

from stillhouse.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*", re.ASCII)
_LONGEST, _MOST = 1000, 50
# The service alone decides a server's directory, its address and the end of its recovery, and keeps it from its source.
_OURS = re.compile(
    r"recovery_\w+|restore_command|primary_\w+|archive_\w+|synchronous_standby_names|hot_standby_feedback"
    r"|listen_addresses|port|unix_socket_directories|data_directory|config_file|hba_file|ident_file|external_pid_file"
    r"|log_directory"
)
CALLERS = frozenset(
    {
        "autovacuum_max_workers",
        "dynamic_shared_memory_type",
        "effective_cache_size",
        "effective_io_concurrency",
        "huge_page_size",
        "huge_pages",
        "io_max_concurrency",
        "io_method",
        "io_workers",
        "lc_messages",
        "lc_monetary",
        "lc_numeric",
        "lc_time",
        "log_timezone",
        "maintenance_io_concurrency",
        "maintenance_work_mem",
        "max_connections",
        "max_files_per_process",
        "max_locks_per_transaction",
        "max_parallel_workers",
        "max_pred_locks_per_transaction",
        "max_prepared_transactions",
        "max_replication_slots",
        "max_stack_depth",
        "max_wal_senders",
        "max_worker_processes",
        "min_dynamic_shared_memory",
        "shared_buffers",
        "shared_memory_type",
        "temp_buffers",
        "timezone",
        "wal_buffers",
        "work_mem",
    }
)
"""The settings that a caller of the API may choose: for the host's capacity and its locales. Settings that name a
program, a library or a file are not among them: only a server's owner may choose these.
"""


def parse(assignments: Iterable[str]) -> dict[str, str]:
    """Parse assignments `name=value`. Return the values by their names in lower case. Raises InvalidInput."""
    chosen = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InvalidInput(f"{assignment!r} is not of the form name=value")
        chosen[name.strip()] = value.strip()
    return check(chosen)


def check(chosen: Mapping[str, str], allowed: frozenset[str] | None = None) -> dict[str, str]:
    """Check the settings and return them by their names in lower case. If `allowed` is given, it lists the settings
    that may be chosen.

    Raises InvalidInput. PostgreSQL itself checks later whether it knows a setting and accepts its value.
    """
    if len(chosen) > _MOST:
        raise InvalidInput(f"at most {_MOST} settings can be chosen")
    settings = {name.lower(): value for name, value in chosen.items()}
    for name, value in settings.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name[:100]!r} is not the name of a setting")
        if _OURS.fullmatch(name):
            raise InvalidInput(
                f"{name} cannot be chosen for a restore", hint="change it when the cluster is open"
            )
        if allowed is not None and name not in allowed:
            raise InvalidInput(
                f"{name} cannot be chosen here", hint=f"these can be: {', '.join(sorted(allowed))}"
            )
        if len(value) > _LONGEST or not value.isprintable():
            raise InvalidInput(f"the value of {name} must be one line of at most {_LONGEST} characters")
    return settings
