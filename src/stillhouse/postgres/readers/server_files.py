"""Questions to a server about its own files: names, sizes and bytes, over as many sessions as threads ask.

Paths are relative to the data directory. The functions that answer are in src/backend/utils/adt/genfile.c.
"""

import os
import posixpath
import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import OperationalError, pq
from psycopg.errors import InsufficientPrivilege, error_from_result
from psycopg.pq.abc import PGconn

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed, CaptureInterrupted, FileRefused, NodeUnreachable
from stillhouse.postgres.sessions import session, text
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.sessions.session import Connection, Error
from stillhouse.postgres.sessions.session_end import End, look, why_another_run
from stillhouse.postgres.wal.backup import Facts

_NAMES_AT_ONCE = 1000
# A name may hold bytes that the database's encoding does not allow in a parameter. So a path that is not ASCII is
# found by its names: textsend() gives their bytes as they are.
_FIND = """
    WITH RECURSIVE walk (depth, path) AS (
        SELECT 0, '.' UNION ALL
        SELECT walk.depth + 1, walk.path || '/' || name
          FROM walk CROSS JOIN LATERAL pg_catalog.pg_ls_dir(walk.path, true, false) name
         WHERE walk.depth < pg_catalog.cardinality(%(names)s::bytea[])
           AND pg_catalog.textsend(name) = (%(names)s::bytea[])[walk.depth + 1]
    ), found AS (SELECT path FROM walk WHERE depth = pg_catalog.cardinality(%(names)s::bytea[]))
"""
_GIVEN = "WITH found AS (SELECT %(path)s::text AS path)"
_NAMES = """
    SELECT pg_catalog.textsend(name) FROM found CROSS JOIN LATERAL pg_catalog.pg_ls_dir(found.path, true, false) name
"""
_STATUS = """
    SELECT file.size, file.isdir, extract(epoch FROM file.modification)::bigint,
           extract(epoch FROM pg_catalog.clock_timestamp() - file.modification)::float8
"""
_STATUSES = f"""{_STATUS}
      FROM unnest(%s::text[]) WITH ORDINALITY AS found (path, number)
      LEFT JOIN LATERAL pg_catalog.pg_stat_file(found.path, true) file ON true
     ORDER BY found.number
"""
_READ = b"""
    SELECT pg_catalog.pg_read_binary_file(piece.path, piece.at, piece.length, true)
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS piece (path, at, length)
"""
_READ_FOUND = "SELECT pg_catalog.pg_read_binary_file(found.path, %(at)s, %(length)s, true) FROM found"
_SERVER = """
    SELECT system_identifier, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text
      FROM pg_catalog.pg_control_system()
"""
_DIRECTORY_MODE = "SELECT pg_catalog.current_setting('data_directory_mode')"
_DIRECTORY_MODES = ("0700", "0750")  # no server starts with another (src/backend/utils/init/miscinit.c)
_CONFIGURATION = """
    SELECT DISTINCT sourcefile, pg_catalog.current_setting('data_directory') FROM pg_catalog.pg_settings
     WHERE sourcefile IS NOT NULL
"""
# SQLSTATEs: insufficient_privilege, wrong_object_type (of a directory in the place of a file), undefined_file.
_DENIED, _OTHER_KIND, _GONE = "42501", "42809", "58P01"
_FUNCTION_DENIED = "permission denied for function"


@dataclass(frozen=True)
class Status:
    """A file's status. Times are in whole seconds, as the server tells them; `age` is by the server's clock."""

    size: int
    is_directory: bool
    modified: int
    age: float


@dataclass(frozen=True)
class Piece:
    """Bytes of a file: `length` of them from the offset `at`."""

    path: str
    at: int
    length: int


class ServerFiles:
    """Each question has a session for itself. A session is used again, and proves first that its server is the one that
    the backup runs on: an address may lead to another server after a failover.

    All methods raise CaptureInterrupted if the server does not answer, and CaptureFailed if it refuses to, or answers
    what cannot be: its superuser may have put functions of his own in the place of PostgreSQL's.
    """

    def __init__(self, node: Node, facts: Facts) -> None:
        self._node = node
        self._expected = facts.system_identifier, facts.postmaster_started
        self._run = facts.postmaster_started, facts.timeline
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def names(self, path: str) -> Iterator[str]:
        """Yield the names in a directory, in no order. A directory that is gone has no names."""
        query, given = _found(path)
        with self._asking(path) as connection, connection.cursor(binary=True) as cursor:
            for (encoded,) in cursor.stream(query + _NAMES, given, size=_NAMES_AT_ONCE):
                name = text.decode(encoded or b"")
                if name in ("", ".", "..") or "/" in name or "\0" in name:
                    raise self._impossible(f"names a file {name!r} in the directory {path or '.'}")
                yield name

    def statuses(self, paths: Sequence[str]) -> list[Status | None]:
        """Return the status of each file. `None` if it is gone."""
        plain = [path for path in paths if path.isascii()]
        with self._asking() as connection:
            known = dict(zip(plain, connection.execute(_STATUSES, [plain]).fetchall(), strict=True))
            for path in paths:
                if path not in known:
                    known[path] = _one(connection, path)
        for path in paths:
            if (known[path][0] or 0) < 0:
                raise self._impossible(f"tells a size of {known[path][0]} bytes for {path}")
        return [None if known[path][0] is None else Status(*known[path]) for path in paths]

    def location(self, oid: int) -> str | None:
        """Return where a tablespace lies. `None` if its link is gone."""
        try:
            with self._asking(f"pg_tblspc/{oid}") as connection:
                ((place,),) = connection.execute(
                    "SELECT pg_catalog.textsend(pg_catalog.pg_tablespace_location(%s))", [oid]
                ).fetchall()
        except FileNotFoundError:
            return None
        return text.decode(place)

    def read(self, pieces: Sequence[Piece]) -> Iterator[bytes | None]:
        """Ask for the bytes of each piece, and return at once. The iterator yields them as they arrive: fewer at the
        file's end, `None` if the file is gone.

        The server works ahead until the connection is full. Raises FileRefused at the piece that the server cannot
        read; those before it have come.
        """
        answer = self._answer(pieces)
        next(answer)
        return answer

    def _answer(self, pieces: Sequence[Piece]) -> Iterator[bytes | None]:
        """Yield `None` when the server is asked, and then the bytes of each piece."""
        if not pieces or not all(piece.path.isascii() for piece in pieces):
            yield None
            for piece in pieces:
                yield from self._read_found(piece)
            return
        values = [_array([getattr(piece, name) for piece in pieces]) for name in ("path", "at", "length")]
        with self._asking(pieces[0].path) as connection:
            _send(connection.pgconn, values)
            yield None
            asked = iter(pieces)
            for content in _column(connection.pgconn):
                yield self._checked(next(asked, None), content)
            for piece in asked:
                raise self._impossible(f"does not answer for {piece.path}")

    def directory_mode(self) -> int:
        """Return the mode of the data directory, which decides on the modes of all files in it."""
        with self._asking() as connection:
            ((mode,),) = connection.execute(_DIRECTORY_MODE).fetchall()
        if mode not in _DIRECTORY_MODES:
            raise self._impossible(f"tells the mode {mode!r} for its data directory")
        return int(mode, 8)

    def configuration(self) -> list[str]:
        """Return the files in the data directory that the server's settings come from."""
        with self._asking() as connection:
            rows = connection.execute(_CONFIGURATION).fetchall()
        return [
            posixpath.relpath(file, data) for file, data in rows if file.startswith(f"{data.rstrip('/')}/")
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]] | None:
        """Return the rows of a question about the server. `None` if our role may not ask it."""
        with self._asking() as connection:
            try:
                return connection.execute(query.encode()).fetchall()
            except InsufficientPrivilege:
                return None

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _read_found(self, piece: Piece) -> list[bytes | None]:
        query, given = _found(piece.path)
        with self._asking(piece.path) as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(query + _READ_FOUND, {**given, "at": piece.at, "length": piece.length})
            return [self._checked(piece, content) for (content,) in cursor.fetchall()] or [None]

    def _checked(self, asked: Piece | None, content: bytes | None) -> bytes | None:
        """Return the bytes. They must fit, since they are written beside those of other files."""
        if asked is None or len(content or b"") > asked.length:
            raise self._impossible("sends more bytes of its files than were asked for")
        return content

    def _impossible(self, what: str) -> CaptureFailed:
        return CaptureFailed(
            f"the server of node {self._node.name} {what}",
            hint="functions of PostgreSQL's were replaced there, or another program answers at its address",
        )

    @contextmanager
    def _asking(self, path: str = "") -> Iterator[Connection]:
        """Lend a session. An error of the block is told as one of ours; `path` names the file that it is about."""
        try:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            connection = connection or self._connect()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)
        except (Error, NodeUnreachable) as error:
            raise self._told(error, path) from error

    def _connect(self) -> Connection:
        connection = session.connect(self._node, MAINTENANCE, application_name="stillhouse files")
        try:
            ((*found,),) = connection.execute(_SERVER).fetchall()
            if tuple(found) != self._expected:
                why = self._why_broken() or End(
                    f"the address of node {self._node.name} leads to another server than the backup's",
                    "after a failover or a restart a new attempt begins",
                )
                raise CaptureInterrupted(why.message, hint=why.hint)
        except BaseException:
            connection.close()
            raise
        return connection

    def _told(self, error: Error | NodeUnreachable, path: str) -> Exception:
        if isinstance(error, NodeUnreachable):
            return CaptureInterrupted(error.message, hint=error.hint)
        said = str(error).partition("\n")[0]
        if path and error.sqlstate == _GONE:
            return FileNotFoundError(said)
        if path and error.sqlstate in (_DENIED, _OTHER_KIND) and not said.startswith(_FUNCTION_DENIED):
            return FileRefused(
                f"{path} of node {self._node.name}: {said}", hint="the server cannot read it", reason=said
            )
        if error.sqlstate == _DENIED:
            return CaptureFailed(
                f"node {self._node.name}: {said}",
                hint="`stillhouse cluster grants` prints the rights that its role needs",
            )
        if isinstance(error, OperationalError) and (why := self._why_broken()):
            return CaptureInterrupted(why.message, hint=why.hint)
        told = CaptureInterrupted if session.may_pass(error) else CaptureFailed
        return told(f"the files of node {self._node.name} cannot be read: {said}")

    def _why_broken(self) -> End | None:
        """Look whether another run of the server answers now."""
        after = look(self._node)
        return None if after is None else why_another_run(self._node.name, *self._run, after)


def _array(values: Sequence[str | int]) -> bytes:
    """Write an array as the server reads it ("Array Input and Output Syntax" in PostgreSQL's manual)."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return ("{" + ",".join(f'"{value}"' for value in quoted) + "}").encode()


def _send(connection: PGconn, values: Sequence[bytes]) -> None:
    """Send the question, by the calls of libpq ("Asynchronous Command Processing" in PostgreSQL's manual)."""
    connection.send_query_params(_READ, values, result_format=pq.Format.BINARY)
    connection.set_single_row_mode()
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN | select.POLLOUT)
    while connection.flush():
        poll.poll()
        connection.consume_input()


def _column(connection: PGconn) -> Iterator[bytes | None]:
    """Yield the rows of one column as they arrive: no more than one is in memory."""
    poll = select.poll()
    poll.register(connection.socket, select.POLLIN)
    while True:
        while connection.is_busy():
            poll.poll()
            connection.consume_input()
        result = connection.get_result()
        if result is None:
            return
        if result.status == pq.ExecStatus.SINGLE_TUPLE:
            yield result.get_value(0, 0)
        elif result.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(result)


def _found(path: str) -> tuple[str, dict[str, Any]]:
    """Return the beginning of a query, and its parameters. It has the table `found` with the one column `path`."""
    if path.isascii():
        return _GIVEN, {"path": path or "."}
    return _FIND, {"names": [os.fsencode(name) for name in path.split("/")]}


def _one(connection: Connection, path: str) -> tuple[Any, ...]:
    query, given = _found(path)
    rows = connection.execute(
        f"{query}{_STATUS} FROM found CROSS JOIN LATERAL pg_catalog.pg_stat_file(found.path, true) file",
        given,
    ).fetchall()
    return rows[0] if rows else (None, None, None, None)
