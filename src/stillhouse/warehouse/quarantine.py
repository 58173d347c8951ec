"""A clone's first start: shut off from everything, up to the cut and not a byte further."""

import os
import re
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import CutMissed, NodeUnreachable, RestoreFailed
from stillhouse.postgres import server, session
from stillhouse.postgres.binaries import Binaries
from stillhouse.postgres.roles import furnish
from stillhouse.postgres.tree import Tree
from stillhouse.postgres.wal import format_lsn, parse_lsn
from stillhouse.warehouse.replay import Show, watching

# Nothing comes in, nothing goes out. Given on the command line, these overrule whatever the clone inherited: an
# archive_command pushes into production's archive, a walreceiver draws on it, Citus' daemon settles its transactions.
_SHUT_OFF = {
    "listen_addresses": "",
    "hot_standby": "off",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "logging_collector": "off",
    "max_logical_replication_workers": "0",
    "cron.launch_active_jobs": "off",
    "citus.recover_2pc_interval": "-1",
    "citus.distributed_deadlock_detection_factor": "-1",
}
# Its log says where replay is, in words that we know, and where we look: while it recovers nobody can ask it.
_TOLD = {
    "log_startup_progress_interval": "500ms",
    "log_destination": "stderr",
    "log_min_messages": "log",
    "lc_messages": "C",
}
# What a clone must not keep of its source's own settings, and what stands there instead.
_HOMEWARD = re.compile(
    r"\s*(archive_\w+|restore_command|recovery_\w+|primary_\w+|synchronous_standby_names|listen_addresses|port"
    r"|unix_socket_directories|data_directory|hba_file|ident_file|external_pid_file)\b",
    re.IGNORECASE,
)
_SETTLED = """\
archive_mode = 'off'
archive_command = ''
archive_library = ''
archive_cleanup_command = ''
recovery_end_command = ''
log_directory = 'log'
restore_command = ''
primary_conninfo = ''
primary_slot_name = ''
synchronous_standby_names = ''
"""
_OTHER_TARGETS = ("recovery_target", "recovery_target_lsn", "recovery_target_time", "recovery_target_xid")
_SWITCH = re.compile(r"([0-9]+)\t([0-9A-F]+/[0-9A-F]+)\t")
_SETTINGS = "pgdata/postgresql.auto.conf"
# access/transam/xlogrecovery.c: there was no more WAL, and no restore point of that name in what there was.
_WAL_ENDED = "recovery ended before configured recovery target was reached"
_RECOVERY_SECONDS = 24 * 3600.0


def recover(
    binaries: Binaries,
    node: Node,
    point: RestorePoint,
    capacity: dict[str, str],
    show: Show | None = None,
) -> None:
    """Start the clone in quarantine and let it recover to the cut; it answers on its private socket afterwards.

    It knows the passwords of its source, so it lets in this service alone until it has fresh ones.
    `capacity` are the settings that recovery wants no smaller than they were; `show` is told how far replay has come,
    from another thread, and what it raises is raised here in the end. Raises RestoreFailed when it cannot, or when
    replay stopped anywhere else than at the recorded LSN: then it is not the snapshot.
    """
    recovery = {
        # Compulsory with recovery.signal. All WAL is in place, so a program that never finds any will do.
        "restore_command": "/bin/false",
        # Of several targets none may be set: an inherited one is unset first.
        **dict.fromkeys(_OTHER_TARGETS, ""),
        "recovery_target_name": point.name,
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
        **_for_tablespaces_in_place(node),
    }
    settings = {**_SHUT_OFF, **_TOLD, **capacity, **recovery}
    try:
        with watching(Path(node.directory) / "server.log", point.lsn, show):
            server.start(binaries, node, settings, locked=True, timeout_seconds=_RECOVERY_SECONDS)
    except NodeUnreachable as error:
        told = CutMissed if _WAL_ENDED in error.message else RestoreFailed
        raise told(f"recovery failed: {error.message}", hint=error.hint) from error
    stopped = _where_recovery_stopped(node, point.timeline)
    if stopped != point.lsn:
        server.stop(binaries, node, "immediate")
        found = "nowhere" if stopped is None else f"at {format_lsn(stopped)}"
        raise CutMissed(f"node {node.name} recovered to {found}, its cut is at {format_lsn(point.lsn)}")
    with session.refusing_as(RestoreFailed, node):
        furnish(node)
    server.reload(binaries, node)


def release(binaries: Binaries, node: Node) -> None:
    """End the quarantine: settle the clone's settings and start it as the new cluster's node."""
    server.stop(binaries, node)
    tree = Tree(Path(node.directory))
    try:
        settings = tree.read(_SETTINGS).decode(errors="surrogateescape").split("\n")
    except FileNotFoundError:  # it was left out of the snapshot
        settings = []
    kept = [line for line in settings if not _HOMEWARD.match(line)]
    tree.replace(_SETTINGS, "\n".join([*kept, _SETTLED]).encode(errors="surrogateescape"))
    server.start(binaries, node)


def _for_tablespaces_in_place(node: Node) -> dict[str, str]:
    """Recovery takes a directory where a link should be for a mistake, unless told that there may be such: PANIC
    "unexpected directory entry" (CheckTablespaceDirectory in xlogrecovery.c). PostgreSQL 15 and later know them.
    """
    try:
        places = Tree(Path(node.directory)).directory("pgdata/pg_tblspc")
    except FileNotFoundError:  # of which the server will complain
        return {}
    with os.scandir(places.descriptor) as found:
        in_place = any(place.is_dir(follow_symlinks=False) for place in found)
    return {"allow_in_place_tablespaces": "on"} if in_place else {}


def _where_recovery_stopped(node: Node, timeline: int) -> int | None:
    """The switch point that promotion wrote into the new timeline's history (xlogarchive.c, timeline.c)."""
    tree = Tree(Path(node.directory))
    with os.scandir(tree.directory("pgdata/pg_wal").descriptor) as found:
        histories = sorted(entry.name for entry in found if entry.name.endswith(".history"))
    if not histories:
        return None
    lines = tree.read(f"pgdata/pg_wal/{histories[-1]}").decode(errors="replace").strip().splitlines()
    last = _SWITCH.match(lines[-1]) if lines else None
    return parse_lsn(last[2]) if last and int(last[1]) == timeline else None
