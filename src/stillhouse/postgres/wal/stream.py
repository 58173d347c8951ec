"""The WAL stream of a node that is reached by connections: streaming replication on a temporary slot of its own.

The slot goes with the connection, whichever way it ends. Protocol: "Streaming Replication Protocol" in PostgreSQL's
manual; src/backend/replication/walsender.c.
"""

import select
import struct
import threading
import time
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from psycopg import OperationalError, pq
from psycopg.errors import error_from_result

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed, CaptureInterrupted, InternalError
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.sessions.session_end import End, LastSeen, look, why_ended
from stillhouse.postgres.wal.backup import no_slot
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn
from stillhouse.postgres.wal.segments import WalSource
from stillhouse.postgres.wal.slot import WalPosition

_SEGMENTS_HELD = 2  # one that is taken, and one that fills meanwhile
_POLL_SECONDS, _REPORT_SECONDS = 0.2, 5.0
_DATA, _KEEPALIVE, _REPORT = b"w", b"k", b"r"
_DATA_HEADER = struct.Struct("!cQQq")  # first LSN, end of the server's WAL, its clock
_KEEPALIVE_BODY = struct.Struct("!cQqB")  # end of the server's WAL, its clock, whether it wants an answer
_REPORT_BODY = struct.Struct(
    "!cQQQqB"
)  # LSNs written, flushed and applied, our clock, whether we want an answer
_CLOSED = End("the WAL stream was closed")
# The server ends a stream that is silent for longer. The time-outs of ordinary sessions would end it while it waits.
_SETTINGS = {
    "wal_sender_timeout": "60s",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
}


class WalStream:
    """Receives WAL from the moment it is made, in a thread. It holds two segments and the message that begins a third:
    until they are taken, the server keeps the rest.

    `position` tells how far the server's WAL has come. The stream does not close it.
    """

    def __init__(self, node: Node, name: str, position: WalPosition) -> None:
        """Make the slot `name`. Raises NodeUnreachable, and the errors of BackupSession for a slot."""
        self._node, self._name, self._position = node, name, position
        self._end: End | None = None
        self._changed = threading.Condition()
        self._segments: dict[int, NDArray[np.uint8]] = {}  # by their first LSN
        self._segment_size, self._server_started = _look(node)
        self._connection = session.replicate(node, _SETTINGS, application_name=f"stillhouse {name}")
        try:
            self._timeline = self._find_timeline()
            self._released = self._make_slot()
            self._received = self._released // self._segment_size * self._segment_size
            self._first = self._received
            self._start()
        except BaseException:
            self._connection.finish()
            raise
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="wal stream", daemon=True)
        self._thread.start()

    def begin(self, source: WalSource, start: int) -> None:
        if source.timeline != self._timeline:
            raise CaptureInterrupted(
                f"node {self._node.name} went to timeline {source.timeline} while the snapshot began"
            )
        if start < self._first:
            raise CaptureInterrupted(f"the WAL stream of node {self._node.name} began too late")
        self.release(start)

    def available(self) -> int:
        return self._received

    def segment(self, start: int, until: int) -> NDArray[np.uint8]:
        with self._changed:
            segment = self._segments[start]
            # The stream goes on writing into a segment that is not full.
            image = segment if self._received >= start + self._segment_size else segment.copy()
        image[until - start :] = 0
        return image

    def release(self, lsn: int) -> None:
        with self._changed:
            self._released = max(self._released, lsn)
            for start in [one for one in self._segments if one + self._segment_size <= self._released]:
                del self._segments[start]
            self._changed.notify()

    def kept(self) -> int:
        return self._position.flushed() - self._released

    def check(self) -> None:
        if self._end is not None:
            raise CaptureInterrupted(self._end.message, hint=self._end.hint)
        if not self._thread.is_alive():
            raise InternalError(f"the WAL stream of node {self._node.name} ended without a reason")

    def close(self) -> None:
        """End the connection, and with it the slot."""
        self._end = self._end or _CLOSED
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join()
        self._connection.finish()

    def _ask(self, command: bytes) -> list[str]:
        result = self._connection.exec_(command)
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(result)
        return [(result.get_value(0, column) or b"").decode() for column in range(result.nfields)]

    def _find_timeline(self) -> int:
        _, timeline, *_ = self._ask(b"IDENTIFY_SYSTEM")
        return int(timeline)

    def _make_slot(self) -> int:
        """Make the slot and return the LSN that it keeps WAL from."""
        name = self._name.encode()
        try:
            self._ask(b'CREATE_REPLICATION_SLOT "%s" TEMPORARY PHYSICAL RESERVE_WAL' % name)
        except session.Error as error:
            raise no_slot(self._node, error) from error
        _, restart_lsn, _ = self._ask(b'READ_REPLICATION_SLOT "%s"' % name)
        return parse_lsn(restart_lsn)

    def _start(self) -> None:
        place = format_lsn(self._received).encode(), self._timeline
        command = b'START_REPLICATION SLOT "%s" PHYSICAL %s TIMELINE %d' % (self._name.encode(), *place)
        result = self._connection.exec_(command)
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise error_from_result(result)

    def _receive(self) -> None:
        try:
            poll = select.poll()
            poll.register(self._connection.socket, select.POLLIN)
            reported = 0.0
            while not self._closing.is_set():
                if self._has_room():
                    poll.poll(_POLL_SECONDS * 1000)
                    self._connection.consume_input()
                    wants_answer = self._take_messages()
                else:
                    wants_answer = False
                    self._wait_for_room()
                if wants_answer or time.monotonic() - reported >= _REPORT_SECONDS:
                    self._report()
                    reported = time.monotonic()
        except (session.Error, OSError) as error:
            self._end = self._end or self._why(error)

    def _has_room(self) -> bool:
        begins_another = self._received % self._segment_size == 0
        return len(self._segments) + begins_another <= _SEGMENTS_HELD

    def _wait_for_room(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._has_room() or self._closing.is_set(), _POLL_SECONDS)

    def _take_messages(self) -> bool:
        """Take the messages that have arrived. Return whether the server wants an answer at once."""
        wants_answer = False
        while self._has_room():
            length, message = self._connection.get_copy_data(1)
            if length == 0:
                break
            if length < 0:
                raise self._ended()
            kind = bytes(message[:1])
            if kind == _DATA:
                _, start, _, _ = _DATA_HEADER.unpack_from(message)
                self._add(start, message[_DATA_HEADER.size :])
            elif kind == _KEEPALIVE:
                wants_answer = bool(_KEEPALIVE_BODY.unpack_from(message)[3]) or wants_answer
        return wants_answer

    def _ended(self) -> session.Error:
        """Return why the server has ended the stream. It never does so unasked, unless it shuts down."""
        result = self._connection.get_result()
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            return error_from_result(result)
        return OperationalError("the server ended the stream")

    def _add(self, start: int, content: memoryview) -> None:
        if start != self._received:
            raise OperationalError(f"WAL goes on at {format_lsn(start)}, not at {format_lsn(self._received)}")
        done = 0
        while done < len(content):
            within = self._received % self._segment_size
            first = self._received - within
            part = content[done : done + self._segment_size - within]
            with self._changed:
                if first + self._segment_size > self._released:
                    segment = self._segments.get(first)
                    if segment is None:
                        segment = self._segments[first] = np.zeros(self._segment_size, np.uint8)
                    segment[within : within + len(part)] = np.frombuffer(part, np.uint8)
                self._received += len(part)
            done += len(part)

    def _report(self) -> None:
        """Tell the server how far its WAL is durable with us. It may remove earlier WAL."""
        lsn = self._released
        self._connection.put_copy_data(_REPORT_BODY.pack(_REPORT, lsn, lsn, lsn, 0, 0))
        self._connection.flush()

    def _why(self, error: Exception) -> End:
        said = str(error).strip().partition("\n")[0]
        seen = LastSeen(
            code=getattr(error, "sqlstate", None),
            said=said,
            holds_from=self._released,
            idle_seconds=0.0,
            server_started=self._server_started,
            timeline=self._timeline,
        )
        return why_ended(self._node.name, seen, look(self._node))


def _look(node: Node) -> tuple[int, str]:
    """Return the size of a WAL segment, and the mark of this run of the server."""
    with (
        session.refusing_as(CaptureFailed, node),
        closing(session.connect(node, MAINTENANCE, application_name="stillhouse wal")) as connection,
    ):
        ((size, started),) = connection.execute(
            "SELECT setting::bigint, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
            " FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'"
        ).fetchall()
    return size, started
