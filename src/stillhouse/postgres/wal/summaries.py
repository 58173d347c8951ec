"""WAL summaries (PostgreSQL 17 and later): reads which blocks changed between two checkpoints.

Semantics: src/backend/postmaster/walsummarizer.c and src/common/blkreftable.c. A summary begins and ends at a
checkpoint's redo point. A row that is a limit says that the fork was truncated to that length, or made with it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.page_choice import Changed
from stillhouse.postgres.sessions.session import Connection, Error, sql
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn
from stillhouse.postgres.wal.timelines import Stretch

_WAIT_SECONDS = 60.0  # the summariser reads hundreds of MB/s; if it lags by more, it is stuck
_POLL_SECONDS = 0.02

# One row of binary COPY: the number of fields, then each field's length and value, big-endian, never null.
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("tablespace_length", ">i4"), ("tablespace", ">u4"),
        ("database_length", ">i4"), ("database", ">u4"),
        ("relation_length", ">i4"), ("relation", ">u4"),
        ("is_limit_length", ">i4"), ("is_limit", "?"),
        ("block_length", ">i4"), ("block", ">i8"),
    ]
)  # fmt: skip
_COPY_HEADER, _COPY_TRAILER = 19, 2
_MAIN_FORK = 0

# SQLSTATE classes of a missing or damaged file (src/backend/utils/errcodes.txt).
_UNREADABLE = ("58", "XX")

Key = tuple[int, int, int]
Range = tuple[int, int]
"""First LSN of a summary, and the LSN after its last byte."""
Summary = tuple[int, int, int]
"""The timeline of a summary, and its range."""


class Changes:
    """All changes on a server in a range of WAL. Each changed page of a relation's main fork takes four bytes."""

    def __init__(self) -> None:
        self._relations: dict[Key, Changed] = {}
        self._copied: set[tuple[int, int]] = set()

    def add(self, tablespace: int, database: int, relation: int, changed: Changed) -> None:
        if relation == 0:
            self._copied.add((tablespace, database))
        else:
            self._relations[tablespace, database, relation] = changed

    def is_copied(self, tablespace: int, database: int) -> bool:
        """Whether the database was made or dropped there by copying or removing files. Its relations are not listed."""
        return (tablespace, database) in self._copied

    def of(self, tablespace: int, database: int, relation: int) -> Changed | None:
        """Return the changes of a relation, or `None` if it did not change."""
        return self._relations.get((tablespace, database, relation))

    @property
    def pages(self) -> int:
        return sum(len(changed.blocks) for changed in self._relations.values())


def read_changes(connection: Connection, stretches: Sequence[Stretch], until: int) -> Changes | str:
    """Return the changes in the WAL from the begin of the first stretch to `until` or later, or say in words why the
    summaries cannot tell.

    A summary must begin where the first stretch does. This is so exactly for the start of a backup of this very
    history.
    """
    if gap := _wait(connection, until):
        return gap
    chain = find_chain(connection, stretches, until)
    return chain if isinstance(chain, str) else read_chain(connection, chain)


def _wait(connection: Connection, until: int) -> str:
    """Wait until the summariser has reached `until`, within milliseconds of a checkpoint. Say why if it does not."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        row = connection.execute(
            "SELECT summarized_lsn::text, pg_catalog.current_setting('summarize_wal')"
            " FROM pg_catalog.pg_get_wal_summarizer_state()"
        ).fetchone()
        assert row is not None, "a function without a set returns one row"
        if parse_lsn(row[0]) >= until:
            return ""
        if row[1] != "on":
            return "summarize_wal is off"
        if time.monotonic() > deadline:
            return f"the WAL summarizer stands at {row[0]}"
        time.sleep(_POLL_SECONDS)


def is_boundary(connection: Connection, timeline: int, lsn: int) -> bool:
    """Whether a summary begins or ends exactly at `lsn`, which shows that this history had a checkpoint there."""
    return bool(
        connection.execute(
            "SELECT FROM pg_catalog.pg_available_wal_summaries()"
            " WHERE tli = %s AND %s::pg_lsn IN (start_lsn, end_lsn) LIMIT 1",
            (timeline, format_lsn(lsn)),
        ).fetchall()
    )


def find_chain(connection: Connection, stretches: Sequence[Stretch], until: int) -> list[Summary] | str:
    """Return the summaries that cover the stretches up to `until` without a gap, or say in words where the gap is.

    A summary ends where its timeline was left, and another begins there (src/backend/postmaster/walsummarizer.c).
    """
    rows = connection.execute(
        "SELECT tli, start_lsn::text, end_lsn::text FROM pg_catalog.pg_available_wal_summaries()"
        " WHERE tli = ANY(%s) AND end_lsn > %s::pg_lsn",
        ([one.timeline for one in stretches], format_lsn(stretches[0].begin)),
    ).fetchall()
    chain: list[Summary] = []
    for one in stretches:
        goal = until if one.end is None else one.end
        ranges = [(parse_lsn(start), parse_lsn(end)) for tli, start, end in rows if tli == one.timeline]
        found = follow(ranges, one.begin, goal)
        reached = found[-1][1] if found else one.begin
        if reached < goal:
            return f"no WAL summary begins at {format_lsn(reached)}"
        chain += [(one.timeline, start, end) for start, end in found]
    return chain


def follow(ranges: Iterable[Range], since: int, until: int) -> list[Range]:
    """Return the ranges that follow each other without a gap from `since`, up to the first that reaches `until`.

    They are sorted here, because `SELECT start_lsn::text ... ORDER BY start_lsn` sorts by the text: 0/10000028 comes
    before 0/F000028.
    """
    chain: list[Range] = []
    reached = since
    for start, end in sorted(ranges):
        if reached >= until or start != reached:
            break
        chain.append((start, end))
        reached = end
    return chain


def read_chain(connection: Connection, chain: Sequence[Summary]) -> Changes | str:
    """Return the changes in exactly these summaries, or say in words which of them cannot be read.

    The server may remove old summaries at any time. A summary that was removed since the chain was found is an error
    here. If the summaries were listed again, its changes would be missed silently, and old pages taken as current.
    """
    changes = Changes()
    try:
        for tablespace, database, relation, changed in _relations(_rows(_stream(connection, chain))):
            changes.add(tablespace, database, relation, changed)
    except Error as error:
        if (error.sqlstate or "")[:2] not in _UNREADABLE:
            raise
        return f"a WAL summary cannot be read: {str(error).splitlines()[0]}"
    return changes


def _stream(connection: Connection, chain: Sequence[Summary]) -> Iterator[bytes]:
    """Yield the rows as the server sorts them, on its disk, so that a relation is complete when the next one begins."""
    query = sql.SQL(
        "COPY (SELECT DISTINCT c.reltablespace, c.reldatabase, c.relfilenode, c.is_limit_block, c.relblocknumber"
        " FROM unnest({}::int[], {}::pg_lsn[], {}::pg_lsn[]) AS s (tli, start_lsn, end_lsn),"
        " pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) c"
        " WHERE c.relforknumber = {} OR c.relfilenode = 0"
        " ORDER BY 1, 2, 3, 4, 5) TO STDOUT (FORMAT binary)"
    ).format(
        sql.Literal([timeline for timeline, _, _ in chain]),
        sql.Literal([format_lsn(start) for _, start, _ in chain]),
        sql.Literal([format_lsn(end) for _, _, end in chain]),
        sql.Literal(_MAIN_FORK),
    )
    with connection.cursor().copy(query) as copy:
        for chunk in copy:
            yield bytes(chunk)


def _rows(chunks: Iterator[bytes]) -> Iterator[NDArray[np.void]]:
    """Yield the rows of a binary COPY, as arrays. The end of a chunk may cut a row."""
    rest = b""
    skip = _COPY_HEADER
    for chunk in chunks:
        rest += chunk
        if skip:
            if len(rest) < skip:
                continue
            rest, skip = rest[skip:], 0
        usable = len(rest) // _ROW.itemsize * _ROW.itemsize
        if usable:
            yield np.frombuffer(rest[:usable], _ROW)
            rest = rest[usable:]
    assert len(rest) == _COPY_TRAILER, "COPY ends with its trailer"


def _relations(batches: Iterator[NDArray[np.void]]) -> Iterator[tuple[int, int, int, Changed]]:
    """Yield each relation with all its rows, joined over batches."""
    key: Key | None = None
    limits: list[int] = []
    parts: list[NDArray[np.uint32]] = []

    def done() -> tuple[int, int, int, Changed]:
        assert key is not None
        blocks = np.concatenate(parts) if parts else np.empty(0, np.uint32)
        return (*key, Changed(min(limits, default=None), blocks))

    for rows in batches:
        keys = np.stack([rows["tablespace"], rows["database"], rows["relation"]], axis=1).astype(np.uint32)
        starts = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
        for first, last in zip([0, *starts.tolist()], [*starts.tolist(), len(rows)], strict=True):
            tablespace, database, relation = keys[first].tolist()
            if key is not None and key != (tablespace, database, relation):
                yield done()
                limits, parts = [], []
            key = (tablespace, database, relation)
            part = rows[first:last]
            limits += part["block"][part["is_limit"]].tolist()
            parts.append(part["block"][~part["is_limit"]].astype(np.uint32))
    if key is not None:
        yield done()
