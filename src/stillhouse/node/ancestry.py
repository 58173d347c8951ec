"""Whether a capture may build on an earlier one: one unbroken history of one node, or everything is read anew."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from stillhouse.domain.cluster import Node
from stillhouse.domain.ids import new_hex
from stillhouse.node.base import Source
from stillhouse.postgres import session, summaries
from stillhouse.postgres.backup import Facts
from stillhouse.postgres.lineage import Mark, read_mark, write_mark
from stillhouse.postgres.summaries import Changes
from stillhouse.postgres.wal import format_lsn
from stillhouse.repository import manifest
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.manifest import Line
from stillhouse.repository.sealed import Stored
from stillhouse.storage.store import ObjectStore

_MAJOR = 10000


@dataclass(frozen=True)
class Ground:
    """What a capture may build on. Without sources it is whole, and `why` says why.

    `lineage` is the node's from now on: another than before when its history was found broken.
    """

    sources: tuple[Source, ...]
    lineage: str
    why: str = ""

    @property
    def base(self) -> str | None:
        """The id of the manifest to build on."""
        return self.sources[0].manifest.id if self.sources else None


def find_ground(
    node: Node,
    base: Stored | None,
    why_none: str,
    facts: Facts,
    start_lsn: int,
    store: ObjectStore,
    keys: ClusterKeys,
) -> Ground:
    """Judge `base` within the session that began at `start_lsn`, and leave a mark of this start in the node.

    `why_none` is why the caller offers no base. Any doubt makes the capture whole.
    """
    with closing(session.connect(node, "postgres", application_name="stillhouse lineage")) as connection:
        mark = read_mark(connection)
        if base is None:
            broken = "" if mark is None or mark.lineage == node.lineage else "it is another's clone"
            found = Ground((), new_hex() if broken else node.lineage, broken or why_none)
        else:
            head = next(manifest.read(store, keys, base))
            if broken := _broken(node, head, mark, facts, start_lsn):
                found = Ground((), new_hex(), broken)
            else:
                found = _source(connection, node, base, head, facts, start_lsn)
        write_mark(connection, Mark(found.lineage, start_lsn))
    return found


def pass_mark(node: Node, lineage: str, lsn: int) -> None:
    """The node's history is known to have come as far as `lsn`: a server that shows less was rolled back."""
    with closing(session.connect(node, "postgres", application_name="stillhouse lineage")) as connection:
        write_mark(connection, Mark(lineage, lsn))


def _broken(node: Node, head: Line, mark: Mark | None, facts: Facts, start_lsn: int) -> str:
    """What shows that the base is not of this history, in words; empty when nothing does."""
    if mark is None:
        return "the node does not bear the mark of its last snapshot"
    if mark.lineage != node.lineage or head["lineage"] != node.lineage:
        return "the node's data come from another history than the base"
    if mark.lsn < head["cut"]["lsn"]:
        return f"the node was set back to before the base: it knows of {format_lsn(mark.lsn)}"
    if head["cut"]["lsn"] > start_lsn:
        return "the base is of a later place in the WAL"
    for field, here in (("system_identifier", facts.system_identifier), ("timeline", facts.timeline)):
        if head[field] != here:
            return f"the base's {field} is {head[field]}, the node's {here}"
    return ""


def _source(
    connection: session.Connection, node: Node, base: Stored, head: Line, facts: Facts, start_lsn: int
) -> Ground:
    """The base with what changed since; whole where that cannot be known, though the history is unbroken."""
    same: dict[str, Any] = {
        "block_size": facts.block_size,
        "segment_blocks": facts.segment_blocks,
        "checksum_version": facts.checksum_version,
    }
    for field, here in same.items():
        if head[field] != here:
            return Ground((), node.lineage, f"{field} was {head[field]} and is {here}")
    if head["pg_version_num"] // _MAJOR != facts.version_num // _MAJOR:
        return Ground((), node.lineage, "PostgreSQL is of another major version")
    changes: Changes | str = "PostgreSQL has no WAL summaries before version 17"
    if facts.version_num >= summaries.SINCE_VERSION:
        changes = summaries.read_changes(connection, facts.timeline, head["start_lsn"], start_lsn)
    if isinstance(changes, Changes):
        return Ground((Source(base, head["start_lsn"], changes),), node.lineage)
    if unsafe := _why_no_scan(head, facts):
        return Ground((), node.lineage, f"{changes}; no scan either: {unsafe}")
    return Ground((Source(base, head["start_lsn"], None),), node.lineage, changes)


def _why_no_scan(head: Line, facts: Facts) -> str:
    """A scan trusts that no page changes without its LSN; where hints do so, all-visible flags would be lost."""
    if not (facts.checksum_version or facts.wal_log_hints) or not head.get("hints_logged"):
        return "with neither data checksums nor wal_log_hints, pages change without a trace"
    if head.get("postmaster_started") != facts.postmaster_started:
        return "the server was restarted since, and may have been changed while it was down"
    return ""
