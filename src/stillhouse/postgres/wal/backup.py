"""The backup session on one server: its slot, start and stop. Also the facts about the server that a restore needs."""

import os
import select
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg.errors import Diagnostic

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed, CaptureInterrupted, NodeUnreachable, StillhouseError
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Connection
from stillhouse.postgres.sessions.session_end import TIMELINE, End, LastSeen, look, why_ended
from stillhouse.postgres.wal import slot
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn

# PostgreSQL 18 ends a session at the next checkpoint if its slot was not touched for idle_replication_slot_timeout.
BEAT_SECONDS = 10.0
_PATIENCE_SECONDS = 1.0
_FIRST_ROLE = 10  # BOOTSTRAP_SUPERUSERID in catalog/pg_authid.dat
_SIGN_OF_LIFE = "SELECT pg_catalog.pg_is_in_recovery()"
_CLOSED = End("the backup's session was closed")
# SQLSTATEs: object_not_in_prerequisite_state, configuration_limit_exceeded.
_NOT_AS_IT_IS, _NONE_FREE = "55000", "53400"

# Recovery refuses to run if one of these is lower than when the WAL was written (src/backend/access/transam/xlog.c).
CAPACITY_SETTINGS = (
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_worker_processes",
    "max_wal_senders",
)

_CONFIG_FILES = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}

# What PostgreSQL can be built or made with (configure's --with-blocksize and --with-segsize, initdb's --wal-segsize).
_BLOCK_SIZES = frozenset(1 << bits for bits in range(10, 16))
_WAL_SEGMENT_SIZES = frozenset(1 << bits for bits in range(20, 31))
_MOST_SEGMENT = 1 << 40  # bytes of a relation's segment


@dataclass(frozen=True)
class Facts:
    """The facts about a server, read once at the start of its capture."""

    system_identifier: int
    timeline: int
    version_num: int
    control_version: int
    catalog_version: int
    block_size: int
    segment_blocks: int
    wal_segment_size: int
    checksum_version: int
    wal_log_hints: bool
    postmaster_started: str
    settings: dict[str, str]
    extensions: list[list[str]]
    collations: list[list[str]]
    config_files: dict[str, Path]
    """The configuration files outside the data directory, by the name that each would have inside it."""
    log_directory: str = "log"
    superuser: str = session.SUPERUSER
    """The name of the role that initdb made."""

    @property
    def tablespace_directory(self) -> str:
        """The directory of this server inside a tablespace's location (src/include/common/relpath.h)."""
        return f"PG_{self.version_num // 10000}_{self.catalog_version}"


@dataclass(frozen=True)
class Places:
    """The tablespaces of a server, and the tablespace of each database (by oid)."""

    databases: dict[int, int]
    tablespaces: frozenset[int]

    def moved_since(self, earlier: "Places") -> str:
        """Say in words which change moved files under a copy made between the two readings. Empty if there was no
        change.
        """
        if new := self.tablespaces - earlier.tablespaces:
            return f"tablespace {min(new)} was created"
        for oid, tablespace in self.databases.items():
            if earlier.databases.get(oid, tablespace) != tablespace:
                return f"database {oid} was moved to tablespace {tablespace}"
        return ""


@dataclass(frozen=True)
class Stopped:
    """The result of pg_backup_stop. Recovery needs its files byte for byte.

    The paths in the map are bytes, in any encoding.
    """

    stop_lsn: int
    backup_label: str
    tablespace_map: bytes


class BackupSession:
    """One session from the slot to the last WAL, with backup mode, and a temporary slot unless a stream has it. Safe to
    use from several threads.

    When it ends for any reason, the server drops the slot and leaves backup mode by itself, and the attempt is dead.
    Any error drops the slot too (src/backend/tcop/postgres.c, PostgresMain). So the session runs nothing that may fail:
    it has no time-outs, never moves the slot backwards, and leaves other queries to other sessions.
    """

    def __init__(
        self, node: Node, name: str, *, beat_seconds: float = BEAT_SECONDS, has_slot: bool = True
    ) -> None:
        """Reserve WAL from now on. `name` contains installation, snapshot and attempt, and so is unique.

        Without a slot of its own the session relies on that of a stream, which was made before.

        The session is used every `beat_seconds`, so that it is never idle. Raises NodeUnreachable; CaptureFailed if
        the server is a standby or allows no slots; CaptureInterrupted if all its slots are in use.
        """
        self.name = name
        self._node, self._beat_seconds, self._has_slot = node, beat_seconds, has_slot
        self._lock = threading.Lock()
        self._end: End | None = None
        self._last_word = ""
        self._last_code: str | None = None
        self._connection = session.connect(
            node, "postgres", application_name=f"stillhouse {name}", settings=held_settings(beat_seconds)
        )
        self._connection.prepare_threshold = None
        self._line = socket.socket(fileno=os.dup(self._connection.fileno()))
        self._connection.add_notice_handler(self._hear)
        try:
            self.holds_from = self._reserve()
        except BaseException:
            self._connection.close()
            self._line.close()
            raise
        self._closing = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, name="backup beat", daemon=True)
        self._beat.start()

    def start(self, *, fast: bool = True) -> int:
        """Enter backup mode and return the start LSN. The checkpoint for it is immediate if `fast`, else spread."""
        return parse_lsn(self._speak("SELECT pg_catalog.pg_backup_start(%s, %s)::text", self.name, fast)[0])

    def stop(self) -> Stopped:
        """Leave backup mode. The base is valid only if this returns, in the session that called `start`."""
        lsn, label, tablespaces = self._speak(
            "SELECT lsn::text, labelfile, pg_catalog.textsend(spcmapfile)"
            " FROM pg_catalog.pg_backup_stop(wait_for_archive => false)"
        )
        return Stopped(parse_lsn(lsn), label, tablespaces or b"")

    def advance(self, lsn: int) -> None:
        """Let the server remove WAL before `lsn`. The slot never moves backwards: the server refuses that."""
        with self._lock:
            self._advance(max(lsn, self.holds_from))

    def check(self) -> None:
        """Raise CaptureInterrupted, with the reason, if the session has ended. Costs no round trip."""
        self._raise_if_ended()
        if not self._lock.acquire(blocking=False):
            return  # another thread is using the session, and will notice
        try:
            if self._has_news():
                self._advance(self.holds_from)
        finally:
            self._lock.release()

    def end(self, why: End) -> None:
        """End the session from outside, even in the middle of a statement. Slot and backup mode end with it."""
        self._end = self._end or why
        with suppress(NodeUnreachable):
            slot.remove_slots(self._node, [self.name])
        self._hang_up()  # the server notices this even if no other session could be opened

    def close(self) -> None:
        """Release the WAL, and end backup mode if it still lasts. Harmless a second time."""
        self._end = self._end or _CLOSED
        self._closing.set()
        if self._lock.acquire(timeout=_PATIENCE_SECONDS):
            self._connection.close()
            self._lock.release()
        else:
            self._hang_up()  # the server notices, also in the middle of a statement
        self._line.close()
        self._beat.join()

    def _reserve(self) -> int:
        standby, started, self._timeline = self._connection.execute(
            "SELECT pg_catalog.pg_is_in_recovery(), extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text,"
            f" CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE {TIMELINE} END"
        ).fetchall()[0]
        if standby:
            raise CaptureFailed(f"node {self._node.name} is a standby", hint="capture its primary")
        self._server_started = str(started)
        # Versions before 17 do not know this setting, so it cannot be an option of the connection.
        self._connection.execute(
            "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
            " WHERE name = 'transaction_timeout'"
        )
        self._touched = time.monotonic()
        if not self._has_slot:
            return 0
        try:
            ((lsn,),) = self._connection.execute(
                "SELECT lsn::text FROM pg_catalog.pg_create_physical_replication_slot(%s, true, true)",
                (self.name,),
            ).fetchall()
        except session.Error as error:
            raise no_slot(self._node, error) from error
        return parse_lsn(lsn)

    def _keep_beating(self) -> None:
        """Touch the slot, so that it is never idle for long, and so that the end of the session is noticed."""
        with suppress(CaptureInterrupted):  # the session's next use raises it
            while not self._closing.wait(self._beat_seconds):
                self.advance(0)

    def _advance(self, lsn: int) -> None:
        if not self._has_slot:
            self._alone(_SIGN_OF_LIFE)
            return
        (end,) = self._alone(
            "SELECT end_lsn::text FROM pg_catalog.pg_replication_slot_advance(%s, %s::pg_lsn)",
            self.name,
            format_lsn(lsn),
        )
        self.holds_from, self._touched = parse_lsn(end), time.monotonic()

    def _speak(self, query: str, *arguments: object) -> tuple[Any, ...]:
        with self._lock:
            return self._alone(query, *arguments)

    def _alone(self, query: str, *arguments: object) -> tuple[Any, ...]:
        """Run a query. The caller holds the lock. After an error the session is closed, because the slot is gone."""
        self._raise_if_ended()
        try:
            row = self._connection.execute(query, arguments).fetchone()
        except session.Error as error:
            self._connection.close()
            self._end = self._end or self._why(error)
            self._raise_if_ended(error)
        assert row is not None, "these queries answer with one row"
        return row

    def _why(self, error: session.Error) -> End:
        said = self._last_word or str(error).strip().partition("\n")[0]
        seen = LastSeen(
            code=self._last_code or error.sqlstate,
            said=said,
            holds_from=self.holds_from,
            idle_seconds=time.monotonic() - self._touched,
            server_started=self._server_started,
            timeline=self._timeline,
        )
        return why_ended(self._node.name, seen, look(self._node))

    def _raise_if_ended(self, error: session.Error | None = None) -> None:
        if self._end is not None:
            raise CaptureInterrupted(self._end.message, hint=self._end.hint) from error

    def _hear(self, said: Diagnostic) -> None:
        """Note the server's last message: it sends an idle session a notice that says why it ends."""
        if (said.sqlstate or "").startswith("57P"):
            self._last_code, self._last_word = said.sqlstate, said.message_primary or ""

    def _has_news(self) -> bool:
        """Whether the server has sent a message by itself, or closed the connection."""
        if self._connection.closed:
            return False
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _hang_up(self) -> None:
        """Cut the connection under a thread that may be waiting in it.

        The descriptor is our own copy: the number of the connection's descriptor may belong to another file by now.
        """
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)


def held_settings(beat_seconds: float) -> dict[str, str]:
    """Return the settings of a session that is held for hours. With them the server soon notices that the client is
    gone, even in the middle of a long checkpoint. The TCP settings have no effect on a unix socket.
    """
    beat = max(1, round(beat_seconds))
    return {
        "statement_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "client_connection_check_interval": f"{round(beat_seconds * 1000)}ms",
        "tcp_keepalives_idle": f"{beat}s",
        "tcp_keepalives_interval": f"{beat}s",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{3 * beat}s",
    }


def no_slot(node: Node, error: session.Error) -> StillhouseError:
    said = str(error).partition("\n")[0]
    told = f"node {node.name} gives no slot: {said}"
    if error.sqlstate == _NOT_AS_IT_IS:
        return CaptureFailed(
            told, hint="set wal_level to replica and max_replication_slots above 0, and restart it"
        )
    if error.sqlstate == _NONE_FREE:
        return CaptureInterrupted(told, hint="raise max_replication_slots, or drop slots that nobody uses")
    return CaptureInterrupted(told)


def places(connection: Connection) -> Places:
    """Read the places, once before the start and once after the cut."""
    databases = connection.execute("SELECT oid, dattablespace FROM pg_catalog.pg_database").fetchall()
    tablespaces = connection.execute("SELECT oid FROM pg_catalog.pg_tablespace").fetchall()
    return Places(dict(databases), frozenset(oid for (oid,) in tablespaces))


def facts(connection: Connection) -> Facts:
    """Read the facts. Raises CaptureFailed for sizes that no PostgreSQL has."""
    row = connection.execute(
        "SELECT s.system_identifier, c.timeline_id, current_setting('server_version_num')::int, s.pg_control_version,"
        " s.catalog_version_no, i.database_block_size, i.blocks_per_segment, i.bytes_per_wal_segment,"
        " i.data_page_checksum_version, current_setting('wal_log_hints')::boolean,"
        " extract(epoch FROM pg_postmaster_start_time())::text"
        " FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i"
    ).fetchone()
    assert row is not None, "control data always has one row"
    settings: dict[str, str] = dict(
        connection.execute(
            "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)",
            (list(CAPACITY_SETTINGS),),
        ).fetchall()
    )
    directory = connection.execute(
        "SELECT current_setting('data_directory'), current_setting('log_directory'),"
        f" (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = {_FIRST_ROLE})"
    ).fetchone()
    files = connection.execute(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)", (list(_CONFIG_FILES),)
    ).fetchall()
    assert directory is not None
    outside = {
        _CONFIG_FILES[name]: Path(path) for name, path in files if not Path(path).is_relative_to(directory[0])
    }
    extensions = connection.execute(
        "SELECT current_database(), extname, extversion FROM pg_catalog.pg_extension ORDER BY 2"
    ).fetchall()
    collations = connection.execute(
        "SELECT datname, datlocprovider::text, datcollate, coalesce(datcollversion, '')"
        " FROM pg_catalog.pg_database ORDER BY 1"
    ).fetchall()
    identifier, timeline, version, control, catalog, block, blocks, wal_segment, checksums, hints, started = (
        row
    )
    _check_sizes(block, blocks, wal_segment)
    return Facts(
        system_identifier=identifier,
        timeline=timeline,
        version_num=version,
        control_version=control,
        catalog_version=catalog,
        block_size=block,
        segment_blocks=blocks,
        wal_segment_size=wal_segment,
        checksum_version=checksums,
        wal_log_hints=hints,
        postmaster_started=started,
        settings=settings,
        extensions=[list(row) for row in extensions],
        collations=[list(row) for row in collations],
        config_files=outside,
        log_directory=directory[1],
        superuser=directory[2],
    )


def _check_sizes(block: int, blocks: int, wal_segment: int) -> None:
    is_known = block in _BLOCK_SIZES and wal_segment in _WAL_SEGMENT_SIZES
    if not is_known or not 0 < blocks * block <= _MOST_SEGMENT:
        raise CaptureFailed(
            f"the server tells of pages of {block} bytes, {blocks} in a segment, and WAL segments of {wal_segment}",
            hint="no PostgreSQL has these: another program answers, or functions of PostgreSQL's were replaced there",
        )
