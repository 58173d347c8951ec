"""The end of a clone's quarantine: its source's settings made its own, as far as this host can honour them."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.errors import FileRefused, NodeUnreachable
from stillhouse.postgres.files.settings_file import as_lines
from stillhouse.postgres.files.tree import Tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.host.memory import memory_bytes
from stillhouse.postgres.host.settings_trial import why_not_taken
from stillhouse.warehouse.clone import quarantine_settings
from stillhouse.warehouse.clone.quarantine import ASIDE, MAIN, QUARANTINED, SETTINGS, source_settings, text_of
from stillhouse.warehouse.clone.settings_search import LISTS, Item, items_of, settings_of, sift

# Settings of its source that a clone must not keep, and the values that replace them.
_HOMEWARD = re.compile(
    r"\s*(archive_\w+|restore_command|recovery_\w+|primary_\w+|synchronous_standby_names|listen_addresses|port"
    r"|unix_socket_directories|data_directory|hba_file|ident_file|external_pid_file)\b",
    re.IGNORECASE,
)
SETTLED = {
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "recovery_min_apply_delay": "0",
    "recovery_target": "",
    "recovery_target_action": "pause",
    "recovery_target_lsn": "",
    "recovery_target_name": "",
    "recovery_target_time": "",
    "recovery_target_timeline": "latest",
    "recovery_target_xid": "",
    "log_directory": "log",
    "restore_command": "",
    "hot_standby_feedback": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
}
"""Settings of a server that has ended its recovery. The source's concern the source only."""
_CANDIDATE = "candidate.conf"
_CHANGED = "changed_settings.txt"
_HEAD = f"# Written by Stillhouse: the source's settings that this host can honour. ../{_CHANGED} lists the others."
# A session that loads a missing library ends, and a server that loads one does not start.
_NOT_THERE = re.compile(r"could not (access file|load library)")


def release(
    binaries: Binaries, node: Node, capacity: Mapping[str, str], chosen: Mapping[str, str] | None = None
) -> list[str]:
    """Start the clone as the new cluster's node, out of quarantine; returns its differences from the source, in words.

    It starts with the settings in its source's files and with `chosen`. Settings that this host cannot honour are left
    out or made smaller, one at a time. Killed anywhere and called again, it ends the same. Raises NodeUnreachable when
    it starts with no choice of settings.
    """
    server.stop(binaries, node)
    tree = Tree(Path(node.directory))
    source = {**source_settings(node), **(chosen or {})}
    kept = [line for line in _lines(tree, ASIDE) if not _HOMEWARD.match(line)]
    overruled = {**_overruled(binaries, node, tree, source), **SETTLED}
    tree.replace(SETTINGS, text_of([*kept, *as_lines({**(chosen or {}), **overruled})]))
    # The order matters: a server that runs while the first file is there would pass for one in quarantine.
    for file in (QUARANTINED, _CANDIDATE):
        with suppress(FileNotFoundError):
            tree.remove(file)
    try:
        server.start(binaries, node)
    except NodeUnreachable as error:
        server.stop(binaries, node, "immediate")
        base = quarantine_settings.modest(source, capacity, memory_bytes())
        _start_with_less(binaries, node, tree, {**source, **overruled}, base, error)
    with suppress(FileNotFoundError):
        tree.remove(ASIDE)
    return _lines(tree, _CHANGED)


def _overruled(binaries: Binaries, node: Node, tree: Tree, source: Mapping[str, str]) -> dict[str, str]:
    """Our values for those settings with which the server would start here, but could not work."""
    overruled, notes = {}, []
    if why := quarantine_settings.exceeds(source, memory_bytes()):
        modest = quarantine_settings.modest({}, {}, memory_bytes())
        overruled["shared_buffers"] = modest["shared_buffers"]
        notes.append(_note(node, ("shared_buffers", source["shared_buffers"]), modest["shared_buffers"], why))
    for name in sorted(LISTS - {"shared_preload_libraries"} & source.keys()):
        libraries = items_of({name: source[name]})
        missing = {item: why for item in libraries if (why := _why_not_there(binaries, node, item))}
        if missing:
            left = settings_of([item for item in libraries if item not in missing])
            overruled[name] = left.get(name, "")
            notes += [_note(node, item, overruled[name], why) for item, why in missing.items()]
    _keep_notes(tree, notes)
    return overruled


def _why_not_there(binaries: Binaries, node: Node, library: Item) -> str:
    name, value = library
    if name == "local_preload_libraries" and "/" not in value:  # load_libraries in miscinit.c
        value = f"$libdir/plugins/{value}"
    tried = {"config_file": "/dev/null", "shared_preload_libraries": value}
    why = why_not_taken(binaries, node, tried)
    return why if _NOT_THERE.search(why) else ""


def _start_with_less(
    binaries: Binaries,
    node: Node,
    tree: Tree,
    wanted: Mapping[str, str],
    base: Mapping[str, str],
    first: NodeUnreachable,
) -> None:
    """Find the settings that this host cannot honour, by starting the server repeatedly; start it without them."""
    tree.replace(SETTINGS, text_of(as_lines(SETTLED)))

    def text(items: Sequence[Item]) -> bytes:
        return text_of([_HEAD, *as_lines(quarantine_settings.with_room(base, settings_of(items)))])

    def why_not(items: Sequence[Item]) -> str:
        tree.replace(_CANDIDATE, text(items))
        candidate = {"config_file": _CANDIDATE}
        # This costs less than a start, and says more.
        if why := why_not_taken(binaries, node, candidate):
            return why
        try:
            server.start(binaries, node, candidate)
        except NodeUnreachable as error:
            server.stop(binaries, node, "immediate")
            return error.message.rpartition("FATAL:")[2].strip()
        server.stop(binaries, node)
        return ""

    if why := why_not([]):  # the settings are not the cause
        raise NodeUnreachable(
            f"{first.message}; it failed even with few of its settings: {why}", hint=first.hint
        )
    own = {name: value for name, value in wanted.items() if not _HOMEWARD.match(name) and name not in SETTLED}
    kept, refused = sift(items_of(own), why_not)
    now = quarantine_settings.with_room(base, settings_of(kept))
    _keep_notes(tree, [_note(node, item, now.get(item[0]), why) for item, why in refused.items()])
    tree.replace(MAIN, text(kept))
    with suppress(FileNotFoundError):
        tree.remove(_CANDIDATE)
    server.start(binaries, node)


def _note(node: Node, item: Item, now: str | None, why: str) -> str:
    name, value = item
    left = "PostgreSQL's default" if now is None else repr(now)
    return f"node {node.name}: {name} is {left} instead of {value!r}, which this host cannot honour: {why}"


def _keep_notes(tree: Tree, notes: Sequence[str]) -> None:
    """The notes stay beside the data, so that a service that is killed after a change still tells of it."""
    known = _lines(tree, _CHANGED)
    if fresh := [note.replace("\n", " ") for note in notes if note not in known]:
        tree.replace(_CHANGED, text_of([*known, *fresh]))


def _lines(tree: Tree, path: str) -> list[str]:
    try:
        text = tree.read(path).decode(errors="surrogateescape")
    except (FileNotFoundError, FileRefused):
        return []
    return [line for line in text.split("\n") if line]
