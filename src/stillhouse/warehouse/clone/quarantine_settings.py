"""The settings of a clone's server in quarantine: our own, and the few of its source's that are named here.

The server reads no file of its source there. So no unforeseen setting is inherited, and a setting that this host
cannot honour stops no recovery.
"""

import re
from collections.abc import Mapping

# Nothing comes in, nothing goes out, and nothing happens by itself. These are given on the command line, where they
# prevail over every file. Otherwise an archive_command would push into production's archive, a walreceiver would draw
# on it, Citus' daemon would settle its transactions, and background work could call functions of the clone's users.
_SHUT_OFF = {
    "listen_addresses": "",
    "hot_standby": "off",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "recovery_min_apply_delay": "0",
    "logging_collector": "off",
    "ssl": "off",
    "autovacuum": "off",
    # Autovacuum still runs where a table is older than that. This is the largest value possible.
    "autovacuum_freeze_max_age": "2000000000",
    "autovacuum_multixact_freeze_max_age": "2000000000",
    # Libraries stay loaded, since their WAL must be replayed, but they get no process.
    "max_worker_processes": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "cron.launch_active_jobs": "off",
    "citus.recover_2pc_interval": "-1",
    "citus.distributed_deadlock_detection_factor": "-1",
}
_SHUT_OFF_SINCE_17 = {"event_triggers": "off", "sync_replication_slots": "off"}
# The log reports the progress of replay, in a known language and place: the server answers no queries while it
# recovers.
_TOLD = {
    "log_startup_progress_interval": "500ms",
    "log_destination": "stderr",
    "log_min_messages": "log",
    "lc_messages": "C",
}
# All settings taken from the source's files, besides those of libraries (a name with a dot). Without them data would
# be lost, or recovery could not go on:
_INHERITED = frozenset(
    {
        # records of libraries' own kinds are in the WAL
        "shared_preload_libraries",
        "dynamic_library_path",
        "extension_control_path",
        # commit timestamps are removed at the end of a recovery without it
        "track_commit_timestamp",
        "wal_log_hints",
        # the start reads how far replication has come, and stops with PANIC where there is no room
        "max_replication_slots",
        "max_active_replication_origins",
    }
)
_STRENGTH = frozenset(
    {
        "dynamic_shared_memory_type",
        "huge_page_size",
        "huge_pages",
        "io_max_concurrency",
        "io_method",
        "io_workers",
        "maintenance_work_mem",
        "max_connections",
        "max_files_per_process",
        "max_locks_per_transaction",
        "max_pred_locks_per_transaction",
        "max_prepared_transactions",
        "min_dynamic_shared_memory",
        "shared_buffers",
        "shared_memory_type",
        "wal_buffers",
        "wal_decode_buffer_size",
    }
)
_CONNECTIONS = 100
_LOCK_ROOM, _LOCKS = ("max_locks_per_transaction", "max_pred_locks_per_transaction"), 64
# A server sizes its lock table for at least so many backends beside connections and workers (MaxBackends in
# postinit.c).
_OTHER_BACKENDS = 20
# Sizes of shared_buffers: a number without a unit counts blocks (guc.c, convert_to_base_unit).
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(B|kB|MB|GB|TB)?\s*")
_UNITS = {"": 8192, "B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_MOST_OF_MEMORY = 0.75
_LEAST_BUFFERS, _MOST_BUFFERS, _SHARE_OF_MEMORY = 64 << 20, 1 << 30, 32


def ours(major: int, source: Mapping[str, str], capacity: Mapping[str, str], memory: int) -> dict[str, str]:
    """Our settings, which prevail by the command line.

    `source` are the settings in the source's files, `capacity` the capacities that it had besides; `memory` is the
    host's, in bytes.
    """
    return {
        **_SHUT_OFF,
        **(_SHUT_OFF_SINCE_17 if major >= 17 else {}),
        **_TOLD,
        **modest(source, capacity, memory),
    }


def modest(source: Mapping[str, str], capacity: Mapping[str, str], memory: int) -> dict[str, str]:
    """Settings that take as little of the host as a server with these data needs."""
    return {
        **_room({**source, **capacity}),
        "huge_pages": "off",
        "shared_buffers": f"{_buffers(memory) >> 10}kB",
    }


def with_room(base: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """`settings` over modest ones.

    The lock settings of a source fit its max_connections, so they are kept only together with it.
    """
    locks = {} if "max_connections" in settings else {name: base[name] for name in _LOCK_ROOM}
    return {**base, **settings, **locks}


def of_strength(chosen: Mapping[str, str]) -> dict[str, str]:
    """The settings chosen by a person that count in quarantine as well: how much of the host it takes, and how."""
    return {name: value for name, value in chosen.items() if name in _STRENGTH}


def exceeds(source: Mapping[str, str], memory: int) -> str:
    """Why the source's shared_buffers are too large for this host; empty when they are not.

    The kernel may well grant more than there is, and end processes later.
    """
    found = _SIZE.fullmatch(source.get("shared_buffers", ""))
    if found is None or float(found[1]) * _UNITS[found[2] or ""] <= memory * _MOST_OF_MEMORY:
        return ""
    return f"this host has {memory >> 20} MB of memory"


def inherited(source: Mapping[str, str]) -> dict[str, str]:
    """The settings in its source's files that the clone needs, by the name in small letters."""
    return {name: value for name, value in source.items() if "." in name or name in _INHERITED}


def _room(capacity: Mapping[str, str]) -> dict[str, str]:
    """The room that recovery needs: without hot standby, only for prepared transactions and their locks.

    A server has so many locks for each connection, worker, WAL sender and prepared transaction (NLOCKENTS in
    storage/lmgr/lock.c, NPREDICATELOCKTARGETENTS in predicate.c). If it has fewer of these, each gets more locks.
    """

    def had(name: str, default: int = 0) -> int:
        value = capacity.get(name, "")
        return int(value) if value.isdecimal() else default

    prepared = had("max_prepared_transactions")
    then = sum(had(name) for name in ("max_connections", "max_worker_processes", "max_wal_senders"))
    then, now = then + _OTHER_BACKENDS + prepared, _CONNECTIONS + prepared
    return {
        "max_connections": str(_CONNECTIONS),
        "max_prepared_transactions": str(prepared),
        **{name: str(max(_LOCKS, -(-had(name, _LOCKS) * then // now))) for name in _LOCK_ROOM},
    }


def _buffers(memory: int) -> int:
    """Bytes for a few sessions and the replay: there may be many clones, beside warehouses at work."""
    return min(max(memory // _SHARE_OF_MEMORY, _LEAST_BUFFERS), _MOST_BUFFERS)
