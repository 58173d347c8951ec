"""The cost of damage: the snapshots, nodes, files, and blocks or bytes that cannot be read back."""

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from stillhouse.domain.reports.damage import FileTouched, NodeTouched, Ranges, SnapshotTouched
from stillhouse.repository.format.lines import LossLine, LostFile

_MOST_FILES = _MOST_RANGES = 200  # the most that a record of findings names
_MOST_BYTES = 512 << 10  # of the files in one line, which is then below the bound of lines


def together(touched: Iterable[SnapshotTouched]) -> list[SnapshotTouched]:
    """Join the losses of several faults by snapshot. A block that two faults take is counted once."""
    found: dict[str, SnapshotTouched] = {}
    for one in touched:
        known = found.get(one.snapshot)
        found[one.snapshot] = one if known is None else _of_both(known, one)
    return [found[snapshot] for snapshot in sorted(found)]


def bounded(touched: SnapshotTouched) -> SnapshotTouched:
    """The same losses, cut to the number of files and ranges that a record may name."""
    if touched.nodes is None:
        return touched
    return replace(touched, nodes=tuple(map(_bounded_node, touched.nodes)))


def lines(touched: SnapshotTouched) -> Iterable[LossLine]:
    """Lines of a record of findings, one per node (docs/format.md, section 6)."""
    snapshot, name = touched.snapshot, touched.name
    if touched.nodes is None:
        yield {"t": "loss", "snapshot": snapshot, "name": name, "node": None, "files": None}
    for node in touched.nodes or ():
        files = None if node.files is None else [_file_fields(file) for file in node.files]
        yield {
            "t": "loss",
            "snapshot": snapshot,
            "name": name,
            "node": node.node,
            "files": files,
            "more": node.more,
        }


def of_line(line: Mapping[str, Any]) -> SnapshotTouched:
    """The content of a `loss` line. Raises KeyError, TypeError or ValueError for any other line."""
    snapshot, name = str(line["snapshot"]), str(line["name"])
    if line["node"] is None:
        return SnapshotTouched(snapshot, name, None)
    files = None if line["files"] is None else tuple(map(_file, line["files"]))
    return SnapshotTouched(snapshot, name, (NodeTouched(str(line["node"]), files, int(line.get("more", 0))),))


def _of_both(one: SnapshotTouched, other: SnapshotTouched) -> SnapshotTouched:
    name = one.name or other.name
    if one.nodes is None or other.nodes is None:
        return SnapshotTouched(one.snapshot, name, None)
    nodes = {node.node: node for node in one.nodes}
    for node in other.nodes:
        known = nodes.get(node.node)
        nodes[node.node] = node if known is None else _node_of_both(known, node)
    return SnapshotTouched(one.snapshot, name, tuple(nodes[node] for node in sorted(nodes)))


def _node_of_both(one: NodeTouched, other: NodeTouched) -> NodeTouched:
    if one.files is None or other.files is None:
        return NodeTouched(one.node, None)
    files: dict[str, FileTouched] = {}
    for file in (*one.files, *other.files):
        known = files.get(file.path)
        files[file.path] = file if known is None else _file_of_both(known, file)
    return NodeTouched(one.node, tuple(files[path] for path in sorted(files)), max(one.more, other.more))


def _file_of_both(one: FileTouched, other: FileTouched) -> FileTouched:
    if not (one.blocks or one.bytes) or not (other.blocks or other.bytes):
        return FileTouched(one.path)
    return FileTouched(
        one.path,
        _joined(one.blocks + other.blocks),
        _joined(one.bytes + other.bytes),
        max(one.more, other.more),
    )


def _joined(ranges: Ranges) -> Ranges:
    """The ranges in ascending order; overlapping or adjacent ranges are joined."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def _bounded_node(node: NodeTouched) -> NodeTouched:
    if node.files is None:
        return node
    named: list[FileTouched] = []
    room = _MOST_BYTES
    for file in map(_bounded_file, node.files[:_MOST_FILES]):
        room -= len(json.dumps(_file_fields(file)))
        if room < 0:
            break
        named.append(file)
    return replace(node, files=tuple(named), more=node.more + len(node.files) - len(named))


def _bounded_file(file: FileTouched) -> FileTouched:
    blocks, spans = file.blocks[:_MOST_RANGES], file.bytes[:_MOST_RANGES]
    cut = len(file.blocks) - len(blocks) + len(file.bytes) - len(spans)
    return replace(file, blocks=blocks, bytes=spans, more=file.more + cut)


def _file_fields(file: FileTouched) -> LostFile:
    raw = os.fsencode(file.path)
    try:
        raw.decode()
        told: LostFile = {"path": file.path}
    except UnicodeDecodeError:
        told = {"path_b64": base64.b64encode(raw).decode()}
    if file.blocks:
        told["blocks"] = file.blocks
    if file.bytes:
        told["bytes"] = file.bytes
    if file.more:
        told["more"] = file.more
    return told


def _file(fields: LostFile) -> FileTouched:
    return FileTouched(
        os.fsdecode(base64.b64decode(fields["path_b64"])) if "path_b64" in fields else str(fields["path"]),
        _ranges(fields.get("blocks", ())),
        _ranges(fields.get("bytes", ())),
        int(fields.get("more", 0)),
    )


def _ranges(found: Iterable[Any]) -> Ranges:
    return tuple((int(first), int(last)) for first, last in found)
