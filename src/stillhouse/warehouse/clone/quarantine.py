"""A clone's first start: shut off from everything, and recovered exactly to the cut."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import CutMissed, NodeUnreachable, RestoreFailed
from stillhouse.postgres.files.settings_file import as_lines, read_settings
from stillhouse.postgres.files.tree import Tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.host.memory import memory_bytes
from stillhouse.postgres.host.network import network_of, new_network
from stillhouse.postgres.host.settings_trial import why_not_taken
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.roles import furnish, take_over
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn
from stillhouse.warehouse.clone import quarantine_settings
from stillhouse.warehouse.clone.foreign_servers import park
from stillhouse.warehouse.clone.replay import Show, watching
from stillhouse.warehouse.clone.settings_search import Item, items_of, settings_of, sift
from stillhouse.warehouse.cluster.embedded import Site

# QUARANTINED is the only file of settings that a server in quarantine reads. ASIDE holds the source's ALTER SYSTEM
# settings meanwhile, because a server always reads their usual file. A node without QUARANTINED has never been in
# quarantine, or is out of it.
QUARANTINED = "quarantine.conf"
ASIDE = "source.auto.conf"
_OTHER_TARGETS = ("recovery_target", "recovery_target_lsn", "recovery_target_time", "recovery_target_xid")
_SWITCH = re.compile(r"([0-9]+)\t([0-9A-F]+/[0-9A-F]+)\t")
MAIN, SETTINGS = "pgdata/postgresql.conf", "pgdata/postgresql.auto.conf"
# access/transam/xlogrecovery.c: the WAL ended, and no restore point of that name was in it.
_WAL_ENDED = "recovery ended before configured recovery target was reached"
_RECOVERY_SECONDS = 24 * 3600.0


@contextmanager
def own_network(site: Site, nodes: Sequence[Node]) -> Iterator[Site]:
    """The same site, with its programs in a separate network of these nodes until the block ends.

    Programs that they start are in it too. If nodes are already at work in such a network, for a service that was
    killed, that network is used. If the host cannot give one, the host's network is used: `Site.why_no_network` says
    so.
    """
    for node in nodes:
        with network_of(server.process_id(node) or 0) as network:
            if network is not None:
                yield replace(site, binaries=replace(site.binaries, network=network))
                return
    if site.why_no_network():
        yield site
        return
    with new_network() as network:
        yield replace(site, binaries=replace(site.binaries, network=network))


def recover(
    binaries: Binaries,
    node: Node,
    point: RestorePoint,
    capacity: Mapping[str, str],
    show: Show | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> None:
    """Start the clone in quarantine and let it recover to the cut; it answers on its private socket afterwards.

    It has the passwords of its source, so it lets in only this service until it has fresh ones; its foreign servers
    lead nowhere then. `capacity` is the source's capacities that recovery may need. `settings` are for this start, and
    prevail. `chosen` are a person's settings for the clone, some of which already count here (quarantine_settings.py).
    A library that this host does not have is left out. `show` is called from another thread with the progress of
    replay; an error that it raises is raised here at the end. Raises RestoreFailed when recovery fails, or when replay
    stopped anywhere else than at the recorded LSN: then it is not the snapshot.
    """
    _enter(binaries, node)
    source = {**source_settings(node), **(chosen or {})}
    effective = {
        **quarantine_settings.ours(binaries.of(node).major, source, capacity, memory_bytes()),
        **quarantine_settings.of_strength(chosen or {}),
        **recovery_settings(node, point),
        **(settings or {}),
        "config_file": QUARANTINED,
    }
    missing = _inherit(binaries, node, source, effective)
    role = server.first_role(node)
    try:
        with watching(Path(node.directory) / "server.log", point.lsn, show):
            server.start(binaries, node, effective, locked=True, role=role, timeout_seconds=_RECOVERY_SECONDS)
    except NodeUnreachable as error:
        told = CutMissed if _WAL_ENDED in error.message else RestoreFailed
        raise told(f"recovery failed: {error.message}{missing}", hint=error.hint) from error
    stopped = _where_recovery_stopped(node, point.timeline)
    if stopped != point.lsn:
        server.stop(binaries, node, "immediate")
        found = "nowhere" if stopped is None else f"at {format_lsn(stopped)}"
        raise CutMissed(f"node {node.name} recovered to {found}, its cut is at {format_lsn(point.lsn)}")
    if role != session.SUPERUSER:
        with session.refusing_as(RestoreFailed, node):
            take_over(node, role)
    park(node)
    with session.refusing_as(RestoreFailed, node):
        furnish(node)
    server.reload(binaries, node)


def _enter(binaries: Binaries, node: Node) -> None:
    """Put the node into quarantine, or prepare it for that. A restore that was killed at any point begins here."""
    tree = Tree(Path(node.directory))
    process = server.process_id(node)
    is_inside = QUARANTINED in tree.names("") and (
        binaries.network is None or process is None or binaries.network.holds(process)
    )
    if process is not None and not is_inside:  # released, or started by a service that knew no networks
        server.stop(binaries, node)
    set_aside(tree)


def set_aside(tree: Tree) -> None:
    """Put the source's ALTER SYSTEM settings, which every start would read, aside in the node's directory."""
    if Path(SETTINGS).name not in tree.names("pgdata"):
        return
    if ASIDE not in tree.names(""):
        tree.replace(ASIDE, tree.read(SETTINGS))
    tree.remove(SETTINGS)


def _inherit(binaries: Binaries, node: Node, source: Mapping[str, str], effective: Mapping[str, str]) -> str:
    """Write the settings that the server reads. Returns those that this host cannot honour, for a message."""
    if server.process_id(node) is not None:  # it has read the file
        return ""
    tree = Tree(Path(node.directory))

    def why_not(items: Sequence[Item]) -> str:
        tree.replace(QUARANTINED, text_of(as_lines(settings_of(items))))
        return why_not_taken(binaries, node, effective)

    items = items_of(quarantine_settings.inherited(source))
    kept, refused = sift(items, why_not)
    tree.replace(QUARANTINED, text_of(as_lines(settings_of(kept))))
    return "".join(
        f"; it was done without {name} = {value!r}: {why}" for (name, value), why in refused.items()
    )


def source_settings(node: Node) -> dict[str, str]:
    """The settings in the source's files, while the node is in quarantine."""
    tree = Tree(Path(node.directory))
    return {**read_settings(tree, MAIN), **read_settings(tree, ASIDE)}


def recovery_settings(node: Node, point: RestorePoint) -> dict[str, str]:
    """The settings that end the node's recovery at the point."""
    return {
        # Required with recovery.signal. All WAL is in place, so a program that never finds any is enough.
        "restore_command": "/bin/false",
        # PostgreSQL refuses more than one recovery target.
        **dict.fromkeys(_OTHER_TARGETS, ""),
        "recovery_target_name": point.name,
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
        **_for_tablespaces_in_place(node),
    }


def text_of(lines: Sequence[str]) -> bytes:
    """The bytes of a file of these lines."""
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _for_tablespaces_in_place(node: Node) -> dict[str, str]:
    """Allow directories in place of tablespace links: without this, recovery takes one for a mistake.

    It stops with PANIC "unexpected directory entry" (CheckTablespaceDirectory in xlogrecovery.c). PostgreSQL has these
    directories from 15 on.
    """
    try:
        places = Tree(Path(node.directory)).directory("pgdata/pg_tblspc")
    except FileNotFoundError:  # the server will complain about it
        return {}
    with os.scandir(places.descriptor) as found:
        in_place = any(place.is_dir(follow_symlinks=False) for place in found)
    return {"allow_in_place_tablespaces": "on"} if in_place else {}


def _where_recovery_stopped(node: Node, timeline: int) -> int | None:
    """The switch point that promotion wrote into the new timeline's history (xlogarchive.c, timeline.c)."""
    tree = Tree(Path(node.directory))
    histories = sorted(name for name in tree.names("pgdata/pg_wal") if name.endswith(".history"))
    if not histories:
        return None
    lines = tree.read(f"pgdata/pg_wal/{histories[-1]}").decode(errors="replace").strip().splitlines()
    last = _SWITCH.match(lines[-1]) if lines else None
    return parse_lsn(last[2]) if last and int(last[1]) == timeline else None
