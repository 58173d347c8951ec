"""The reader of a node elsewhere: the server itself lists its files and reads their bytes, over ordinary sessions.

Nothing is installed on the node. A server follows links, and does not tell them from other files. So of the directories
in the data directory it is asked only for those that are PostgreSQL's own or hold its configuration.
"""

import posixpath
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, islice

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed, CaptureInterrupted, FileRefused
from stillhouse.postgres.files import layout
from stillhouse.postgres.readers import configuration
from stillhouse.postgres.readers.node_files import Entry, FileRuns, Got, Pieces, Skipped
from stillhouse.postgres.readers.server_files import Piece, ServerFiles, Status
from stillhouse.postgres.wal.backup import Facts

_TABLESPACE = re.compile(r"pg_tblspc/([1-9][0-9]*)")
_OWN_DIRECTORY = re.compile(r"base|global|pg_\w+")
_UNKNOWN = "a directory that is not PostgreSQL's own, and may be a link"
_TOO_DEEP = "nested too deeply"
_DEEPEST = 8  # levels; PostgreSQL's own files lie five deep
_STATUSES = 1000  # asked for in one query
_QUERY_BYTES = 4 << 20  # asked for in one query: so much memory an answer takes, here and there
# A row of this size costs half the CPU of one of 1 MiB, which takes fresh memory each time.
_PIECE_BYTES = 64 << 10
_SPARE = 8192  # read beyond the listed end of a small file, to see in the same query whether it has grown
_MOST = 16 << 20  # bytes of a file that is read at once
# The times of files have whole seconds: a file so young may yet be replaced by one of the same time.
_YOUNG_SECONDS = 2


class RemoteReader:
    """Reads a data directory through its server. The modes of its files are those that PostgreSQL gives them.

    A file without bytes is never opened: it may be a device or a pipe, which would hold the server up.
    """

    def __init__(self, node: Node, facts: Facts) -> None:
        self._node, self._facts = node, facts
        self._server = ServerFiles(node, facts)
        self._ahead: dict[tuple[Piece, ...], Iterator[bytes | None]] = {}  # answers to come
        self.skipped = Skipped()

    def __reduce__(self) -> tuple[type["RemoteReader"], tuple[Node, Facts]]:
        return RemoteReader, (self._node, self._facts)

    def list(self) -> Iterator[Entry]:
        self._mode = self._server.directory_mode()
        log = posixpath.normpath(self._facts.log_directory)
        entered = [log, *map(posixpath.dirname, self._server.configuration())]
        self._entered = {path.partition("/")[0] for path in entered}
        yield from self._directory("")

    def read(self, wanted: Sequence[FileRuns], into: memoryview) -> Sequence[Got]:
        starts = [*accumulate((one.length for one in wanted), initial=0)]
        got: list[Got] = [one.length for one in wanted]
        for group in _grouped(_pieces_of(wanted)):
            for (number, place, piece), content in zip(group, self._read_group(group), strict=True):
                if content is None or isinstance(content, FileRefused):
                    got[number] = content
                    continue
                at = starts[number] + place
                into[at : at + len(content)] = content
                whole = got[number]
                if len(content) < piece.length and isinstance(whole, int):
                    got[number] = min(whole, place + len(content))
        return got

    def foresee(self, wanted: Sequence[FileRuns]) -> None:
        """Ask for the first of the runs, so that the server reads and sends them while we pack others."""
        for group in islice(_grouped(_pieces_of(wanted)), 1):
            with suppress(CaptureInterrupted, CaptureFailed):  # it is raised when the runs are read
                self._ahead[_asked(group)] = self._server.read(_asked(group))

    def read_to_end(self, files: Sequence[tuple[str, int]], piece: int) -> Iterator[Pieces]:
        first = [(path, min(size + _SPARE, piece) if size else 0) for path, size in files]
        for group in _grouped(
            (number, 0, Piece(path, 0, length)) for number, (path, length) in enumerate(first)
        ):
            for (_, _, asked), content in zip(group, self._read_group(group), strict=True):
                if content is None or isinstance(content, FileRefused):
                    yield content
                else:
                    yield self._pieces(asked, content, piece)

    def content(self, path: str) -> bytes:
        return self._small(path)

    def outside(self, path: str) -> bytes:
        """The file, or what the server has read in it, if it may not read the file for us."""
        try:
            return self._small(path)
        except FileRefused:
            name = next(name for name, place in self._facts.config_files.items() if str(place) == path)
            rows = self._server.rows(configuration.AS_READ[name][1])
            if rows is None:
                raise
            return configuration.written(name, rows)

    def close(self) -> None:
        self._ahead.clear()
        self._server.close()

    def _small(self, path: str) -> bytes:
        (content,) = self._server.read([Piece(path, 0, _MOST + 1)])
        if content is None:
            raise FileNotFoundError(path)
        if len(content) > _MOST:
            reason = f"larger than {_MOST} bytes"
            raise FileRefused(f"{path} is {reason}", reason=reason)
        return content

    def _directory(self, path: str) -> Iterator[Entry]:
        if path.count("/") >= _DEEPEST:
            self.skipped.add(path, _TOO_DEEP)
            return
        try:
            children = layout.captured(path, self._server.names(path))
        except FileNotFoundError:
            return
        except FileRefused as refusal:
            self.skipped.add(path, refusal.reason)
            return
        for paths in _chunks((child for _, child in children), _STATUSES):
            for child, status in zip(paths, self._server.statuses(paths), strict=True):
                if status is not None:
                    yield from self._entry(child, status)

    def _entry(self, path: str, status: Status) -> Iterator[Entry]:
        if status.is_directory:
            yield from self._subdirectory(path)
            return
        inode = 0
        if path.endswith(f"/{layout.VERSION}") and status.age < _YOUNG_SECONDS:
            inode = secrets.randbits(62)  # the same file as no other
        yield Entry(path, self._mode & 0o666, status.size, status.modified * 10**9, inode)

    def _subdirectory(self, path: str) -> Iterator[Entry]:
        if (tablespace := _TABLESPACE.fullmatch(path)) is not None:
            target = self._server.location(int(tablespace[1]))
            if target is None:
                return
            if target != path:  # else it lies in place
                yield Entry(path, self._mode, None, target=target)
                within = f"{path}/{self._facts.tablespace_directory}"
                (status,) = self._server.statuses([within])
                if status is not None:
                    yield from self._entry(within, status)
                return
        if "/" not in path and not _OWN_DIRECTORY.fullmatch(path) and path not in self._entered:
            self.skipped.add(path, _UNKNOWN)
            return
        yield Entry(path, self._mode, None)
        if path not in layout.EMPTIED:
            yield from self._directory(path)

    def _read_group(self, group: "Sequence[_Numbered]") -> Iterator[bytes | FileRefused | None]:
        """Read pieces in one query. If the server refuses one, ask for each of the rest by itself."""
        done = 0
        try:
            content = self._ahead.pop(_asked(group), None) or self._server.read(_asked(group))
            for _, _, piece in group:
                yield next(content) if piece.length else b""
                done += 1
            next(content, None)  # its session is free now
        except FileRefused as refusal:
            if len(group) == 1:
                yield refusal
                return
            for one in group[done:]:
                yield from self._read_group([one])

    def _pieces(self, asked: Piece, content: bytes, size: int) -> Iterator[bytes]:
        """Go on from the first bytes of a file to its end."""
        at, length = 0, asked.length
        while content:
            while length <= len(content) < size:  # as many as were asked for: there may be more
                length = size
                (more,) = self._server.read([Piece(asked.path, at + len(content), size - len(content))])
                content += more or b""
            yield content
            if len(content) < size:
                return
            at += size
            (following,) = self._server.read([Piece(asked.path, at, size)])
            content = following or b""


_Numbered = tuple[int, int, Piece]
"""A piece, the number of its file among those wanted, and the place of its bytes behind the file's first."""


def _asked(group: Sequence[_Numbered]) -> tuple[Piece, ...]:
    """Return the pieces to ask for: a file without bytes is never opened."""
    return tuple(piece for _, _, piece in group if piece.length)


def _pieces_of(wanted: Sequence[FileRuns]) -> Iterator[_Numbered]:
    for number, one in enumerate(wanted):
        place = 0
        for offset, length in one.runs:
            for at in range(0, length, _PIECE_BYTES):
                size = min(_PIECE_BYTES, length - at)
                yield number, place + at, Piece(one.path, offset + at, size)
            place += length


def _grouped(pieces: Iterator[_Numbered]) -> Iterator[Sequence[_Numbered]]:
    """Cut pieces into groups of at most _QUERY_BYTES, but of one piece at least."""
    group: list[_Numbered] = []
    room = _QUERY_BYTES
    for one in pieces:
        if group and one[2].length > room:
            yield group
            group, room = [], _QUERY_BYTES
        group.append(one)
        room -= one[2].length
    if group:
        yield group


def _chunks(paths: Iterator[str], size: int) -> Iterator[Sequence[str]]:
    while chunk := [*islice(paths, size)]:
        yield chunk
