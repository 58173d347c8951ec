"""The losses of a snapshot, in words for a terminal; as ShowSnapshotDamage and ListDamage tell them."""

from collections.abc import Sequence
from typing import Any

_FILES_SHOWN = 20  # of one node; --json has all that the service tells
_WHOLE = "all of it"

Lost = dict[str, Any] | None


def words(lost: Lost) -> str:
    """In a cell of a table: "3 files of cn, all of dn1"; empty where nothing is lost."""
    if lost is None:
        return ""
    return _WHOLE if lost["whole"] else ", ".join(_of_node(node) for node in lost["nodes"])


def fields(lost: Lost) -> dict[str, str]:
    """Lines for one snapshot: in all, and then file by file."""
    if lost is None:
        return {}
    told = {"damage": f"{words(lost)} cannot be read back"}
    for node in lost["nodes"]:
        for file in node["files"][:_FILES_SHOWN]:
            told[f"  {node['node']} {file['path']}"] = _of_file(file)
        if (more := len(node["files"]) + node["more_files"] - _FILES_SHOWN) > 0:
            told[f"  {node['node']}"] = f"and {more} more files"
    return told


def _of_node(node: dict[str, Any]) -> str:
    if node["whole"]:
        return f"all of {node['node']}"
    number = len(node["files"]) + node["more_files"]
    return f"{number} {'file' if number == 1 else 'files'} of {node['node']}"


def _of_file(file: dict[str, Any]) -> str:
    of = "" if file["relation"] is None else f" (database {file['database']}, relation {file['relation']})"
    if file["whole"]:
        return f"{_WHOLE}{of}"
    more = f" and {file['more_ranges']} more ranges" if file["more_ranges"] else ""
    if file["blocks"]:
        return f"blocks {_ranges(file['blocks'])}{more}{of}"
    return f"bytes {_ranges(file['bytes'])}{more}{of}"


def _ranges(ranges: Sequence[Sequence[int]]) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
