"""The known damage of a cluster, and the losses that it means for a snapshot, node by node and file by file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Lines = list[dict[str, Any]]
Ranges = tuple[tuple[int, int], ...]
"""First and last number of each range, both included, ascending."""


@dataclass(frozen=True)
class FileTouched:
    """The lost blocks or bytes of a file, as stored; without both, the whole file. `more` counts ranges left out."""

    path: str
    blocks: Ranges = ()
    bytes: Ranges = ()
    more: int = 0


@dataclass(frozen=True)
class NodeTouched:
    """If `files` is None, the whole node is lost. `more` counts files left out."""

    node: str
    files: tuple[FileTouched, ...] | None
    more: int = 0


@dataclass(frozen=True)
class SnapshotTouched:
    """If `nodes` is None, the whole snapshot is lost and its name with it, or another object that had that id."""

    snapshot: str
    name: str
    nodes: tuple[NodeTouched, ...] | None


@dataclass(frozen=True)
class KnownDamage:
    """The known damage of one cluster.

    `records` are those that were read. `objects` are the damaged objects: key, kind, detail, and since when it is
    known.
    """

    records: Sequence[str]
    is_worked_out: bool
    objects: Lines
