"""Ancestry: decides whether a capture may build on an earlier one, which needs one unbroken history of the node."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from stillhouse.domain.cluster import Node
from stillhouse.domain.ids import new_hex
from stillhouse.node.capture.base import Source
from stillhouse.postgres.host.capture_checks import SUMMARIES_SINCE
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.wal import summaries, timelines
from stillhouse.postgres.wal.backup import Facts
from stillhouse.postgres.wal.lineage import PATIENCE, Mark, read_mark, write_mark
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.postgres.wal.timelines import History
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import NodeLine
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_MAJOR = 10000
_REASON = 500  # characters: a server's words may be long, and manifests and roots hold the reason
_FOREIGN = "the node's data come from another history than the base"


@dataclass(frozen=True)
class Offered:
    """The manifests that the caller offers to build on: a published one, or why it is missing, and parts of attempts
    that failed.
    """

    base: Stored | None
    why_none: str = ""
    parts: tuple[Stored, ...] = ()


@dataclass(frozen=True)
class Ground:
    """The manifests that a capture may build on. `base` is the id of the published one among the sources. Without it
    the capture is whole, and `why` says why.

    `lineage` is the node's lineage from now on. It is a new one if the node's history was found broken.
    """

    sources: tuple[Source, ...]
    lineage: str
    base: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Passed:
    """The evidence by which a later capture knows that the node's history came as far as `lsn`.

    It is the mark left in the node. If no mark could be left, `unmarked` says why, and the evidence is a checkpoint
    after `lsn` at which a WAL summary begins.
    """

    lsn: int
    unmarked: str = ""
    checkpoint: int | None = None


def find_ground(
    node: Node, offered: Offered, facts: Facts, start_lsn: int, store: ObjectStore, keys: ClusterKeys
) -> Ground:
    """Judge the offered manifests in the session that began at `start_lsn`, and leave a mark of this start in the node.

    Any doubt makes the capture whole. The capture goes on if no mark can be left.
    """
    with _marking(node) as connection:
        judge = _Judge(connection, node, facts, start_lsn, store, keys)
        found = judge.judge(offered)
        found = replace(found, why=found.why[:_REASON])
        write_mark(connection, found.lineage, start_lsn)
    return found


def pass_mark(node: Node, lineage: str) -> Passed:
    """Record in the node how far its WAL has come. If the mark later shows less, the server was rolled back."""
    with _marking(node) as connection:
        ((flushed,),) = connection.execute("SELECT pg_catalog.pg_current_wal_flush_lsn()::text").fetchall()
        lsn = parse_lsn(flushed)
        return Passed(lsn, write_mark(connection, lineage, lsn))


def pass_cut(node: Node, lineage: str, lsn: int, token: str) -> Passed:
    """Record in the node that a complete base ends at `lsn`. The node recognises this base by `token`.

    If no mark can be left, make a checkpoint instead, provided that WAL summaries will show it.
    """
    with _marking(node) as connection:
        unmarked = write_mark(connection, lineage, lsn, token)
        return Passed(lsn, unmarked, _make_checkpoint(connection, lsn) if unmarked else None)


@contextmanager
def _marking(node: Node) -> Iterator[session.Connection]:
    with closing(
        session.connect(node, MAINTENANCE, application_name="stillhouse lineage", settings=PATIENCE)
    ) as connection:
        yield connection


def _make_checkpoint(connection: session.Connection, lsn: int) -> int | None:
    """Make a checkpoint after `lsn` and return its redo point.

    Return `None` if the server has no WAL summaries, or if the checkpoint failed.
    """
    if connection.info.server_version < SUMMARIES_SINCE:
        return None
    try:
        connection.execute("CHECKPOINT")
        ((redo,),) = connection.execute("SELECT redo_lsn::text FROM pg_control_checkpoint()").fetchall()
    except session.Error:
        return None
    return parse_lsn(redo) if parse_lsn(redo) >= lsn else None


class _Judge:
    def __init__(
        self,
        connection: session.Connection,
        node: Node,
        facts: Facts,
        start_lsn: int,
        store: ObjectStore,
        keys: ClusterKeys,
    ) -> None:
        self._connection, self._node, self._facts, self._start_lsn = connection, node, facts, start_lsn
        self._store, self._keys = store, keys
        self._history = timelines.read_history(connection, facts.timeline)
        self._changes: dict[tuple[int, int], Changes | str] = {}

    def judge(self, offered: Offered) -> Ground:
        try:
            mark, unread = read_mark(self._connection), ""
        except session.Error as error:
            if self._connection.broken:
                raise
            mark, unread = None, f": {str(error).partition(chr(10))[0]}"
        heads = [
            (stored, manifest.head_of(manifest.read(self._store, self._keys, stored)))
            for stored in ([offered.base] if offered.base else []) + list(offered.parts)
        ]
        for _, head in heads:
            broken = why_another_history(
                head, mark, self._node.lineage, self._start_lsn, self._facts, self._history
            )
            if broken := broken or self._why_not_vouched_for(head):
                return Ground((), new_hex(), why=f"{broken}{unread}")
        if not heads and mark is not None and mark.lineage != self._node.lineage:
            return Ground((), new_hex(), why="the node's data come from another history")
        sources: list[Source] = []
        base, why = None, offered.why_none
        for stored, head in heads:
            source = self._source(stored, head)
            if isinstance(source, Source):
                sources.append(source)
                base = stored.id if stored == offered.base else base
            elif stored == offered.base:
                why = source
        return Ground(tuple(sources), self._node.lineage, base, why)

    def _why_not_vouched_for(self, head: NodeLine) -> str:
        """Say why a base is in doubt if no mark could be left at its end. WAL summaries must then vouch for it."""
        if not head.get("unmarked"):
            return ""
        said = f"the node could not be marked at its last snapshot ({head['unmarked']})"
        if isinstance(changes := self._changes_since(head), str):
            return f"{said}; {changes}"
        timeline, passed = head["timeline"], head.get("passed")
        is_vouched_for = (
            passed is not None
            and not timelines.why_not_passed(self._history, timeline, passed)
            and summaries.is_boundary(self._connection, timeline, passed)
        )
        return "" if is_vouched_for else f"{said}, and no WAL summary shows that it came so far"

    def _source(self, stored: Stored, head: NodeLine) -> Source | str:
        """Return the manifest with the changes since, or the reason why the changes cannot be known."""
        if unlike := why_other_pages(head, self._facts):
            return unlike
        changes = self._changes_since(head)
        if isinstance(changes, Changes):
            return Source(stored, head["start_lsn"], changes)
        if unsafe := why_no_scan(head, self._facts):
            return f"{changes}; no scan either: {unsafe}"
        return Source(stored, head["start_lsn"], None)

    def _changes_since(self, head: NodeLine) -> Changes | str:
        if self._facts.version_num < SUMMARIES_SINCE:
            return "PostgreSQL has no WAL summaries before version 17"
        since = head["timeline"], head["start_lsn"]
        if since not in self._changes:
            stretches = [*timelines.stretches_from(self._history, *since)]
            self._changes[since] = summaries.read_changes(self._connection, stretches, self._start_lsn)
        return self._changes[since]


def why_another_history(
    head: NodeLine, mark: Mark | None, lineage: str, start_lsn: int, facts: Facts, history: History
) -> str:
    """Say in words why a manifest is not of this node's history. `head` is its `node` line. Empty if all fits.

    After a failover the node is on another timeline than the base. Its history then tells whether it had come by the
    base's end before: a standby may have missed it.

    A published manifest holds pages up to its cut. A part holds pages up to the LSN that it says it had reached. A part
    without that LSN may hold pages of any age. A part has no token: only the very next attempt uses it, so the LSN
    suffices. If no mark could be left at a base's end, the mark says nothing about that base.
    """
    reached = head["cut"]["lsn"] if head["cut"] else head.get("reached", start_lsn)
    if head["lineage"] != lineage:
        return _FOREIGN
    if not head.get("unmarked") and (denied := _what_the_mark_denies(head, mark, lineage, reached)):
        return denied
    if reached > start_lsn:
        return "the base ends later in the WAL than the node stands now"
    if head["system_identifier"] != facts.system_identifier:
        return f"the base's system_identifier is {head['system_identifier']}, the node's {facts.system_identifier}"
    return timelines.why_not_passed(history, head["timeline"], reached)


def _what_the_mark_denies(head: NodeLine, mark: Mark | None, lineage: str, reached: int) -> str:
    if mark is None:
        return "the node lacks the mark of its last snapshot"
    if mark.lineage != lineage:
        return _FOREIGN
    if mark.lsn < reached:
        return f"the node was set back to before the base: it knows of {format_lsn(mark.lsn)}"
    if head["cut"] and head.get("token") not in mark.tokens:
        return "the node does not know the base: it was set back to before it, and has come as far again"
    return ""


def why_other_pages(head: NodeLine, facts: Facts) -> str:
    """Say in words why the pages of a manifest are unlike the node's pages now, though its history is the same."""
    for field, was, here in (
        ("block_size", head["block_size"], facts.block_size),
        ("segment_blocks", head["segment_blocks"], facts.segment_blocks),
        ("checksum_version", head["checksum_version"], facts.checksum_version),
    ):
        if was != here:
            return f"{field} was {was} and is {here}"
    if head["pg_version_num"] // _MAJOR != facts.version_num // _MAJOR:
        return "PostgreSQL is of another major version"
    return ""


def why_no_scan(head: NodeLine, facts: Facts) -> str:
    """Say why a scan for newer LSNs is unsafe. A scan trusts that no page changes without a new LSN. If hint bits
    change pages silently, all-visible flags would be lost.
    """
    if not (facts.checksum_version or facts.wal_log_hints) or not head.get("hints_logged"):
        return "with neither data checksums nor wal_log_hints, pages change without a trace"
    if head.get("postmaster_started") != facts.postmaster_started:
        return "the server was restarted since, and may have been changed while it was down"
    return ""
