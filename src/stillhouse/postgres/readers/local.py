"""The reader of a node's files on this host: opens each file as one that must be its account's own."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stillhouse.errors import FileRefused
from stillhouse.postgres.files import layout
from stillhouse.postgres.files.tree import Directory, Tree, read_outside, why_foreign
from stillhouse.postgres.readers import page_cache
from stillhouse.postgres.readers.node_files import Entry, FileRuns, Got, Pieces, Skipped

_TABLESPACE = r"pg_tblspc/[1-9][0-9]*"
_PERMISSIONS = 0o777  # no set-user-id bit: root owns a restored file until it is given away


class LocalReader:
    """Reads a data directory in place. Files may grow, shrink or vanish meanwhile: replay of the WAL repairs that.

    Links are followed only at `pg_tblspc/<oid>`, `pg_wal` and the log directory. `skipped` collects the listed files
    that the account does not own.
    """

    def __init__(
        self,
        pgdata: Path,
        tablespace_directory: str,
        *,
        owner: int | None = None,
        log_directory: str = "log",
    ) -> None:
        """`tablespace_directory` is `PG_<major>_<catalog version>`, the node's only directory in a tablespace.

        `owner` is the account's uid. If it is `None`, the owner of the data directory is taken.
        """
        log = re.escape(os.path.normpath(log_directory))
        self._tree = Tree(pgdata, owner=owner, links=re.compile(f"pg_wal|{_TABLESPACE}|{log}"))
        self._tablespace_directory = tablespace_directory
        self._is_cold = False  # whether the last run had to be read from the disk
        self._foreseen: dict[tuple[str, int], list[tuple[int, int]]] = {}
        self.skipped = Skipped()

    @property
    def owner(self) -> int:
        """The uid of the account that the files must belong to."""
        return self._tree.owner

    def list(self) -> Iterator[Entry]:
        """Yield everything that a capture takes except `pg_control` and WAL, parents before children."""
        yield from self._directory("", self._tree.directory(""))

    def _directory(self, path: str, directory: Directory) -> Iterator[Entry]:
        with os.scandir(directory.descriptor) as found:
            children = layout.captured(path, (entry.name for entry in found))
        yield from self._captured(directory, children)

    def _captured(self, directory: Directory, children: Iterable[tuple[str, str]]) -> Iterator[Entry]:
        """Yield the entries of a directory, given by name and path."""
        for name, child in children:
            try:
                status = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == self.owner:
                mode = status.st_mode & _PERMISSIONS
                yield Entry(child, mode, status.st_size, status.st_mtime_ns, status.st_ino)
            else:
                yield from self._other(child, name, directory, status)

    def _other(self, path: str, name: str, directory: Directory, status: os.stat_result) -> Iterator[Entry]:
        """Yield a directory with all below it. Any other file is skipped."""
        try:
            is_link = stat.S_ISLNK(status.st_mode) and self._tree.may_be_link(path)
            if is_link or stat.S_ISDIR(status.st_mode):
                opened = self._tree.directory(path)
                target = os.readlink(name, dir_fd=directory.descriptor) if is_link else None
                yield from self._subdirectory(path, opened, target)
            else:
                self.skipped.add(path, why_foreign(status, self.owner, stat.S_IFREG))
        except FileNotFoundError:
            return
        except FileRefused as refusal:
            self.skipped.add(path, refusal.reason)

    def _subdirectory(self, path: str, opened: Directory, target: str | None) -> Iterator[Entry]:
        mode = os.fstat(opened.descriptor).st_mode & _PERMISSIONS
        if target is not None and re.fullmatch(_TABLESPACE, path):
            yield Entry(path, mode, None, target=target)
            yield from self._captured(
                opened, [(self._tablespace_directory, f"{path}/{self._tablespace_directory}")]
            )
            return
        yield Entry(path, mode, None)
        if path not in layout.EMPTIED:
            yield from self._directory(path, opened)

    def read(self, wanted: Sequence[FileRuns], into: memoryview) -> Sequence[Got]:
        got: list[Got] = []
        at = 0
        for one in wanted:
            length = one.length
            got.append(self._read(one, into[at : at + length]))
            at += length
        return got

    def foresee(self, wanted: Sequence[FileRuns]) -> None:
        """Start to read uncached runs from the disk. Does nothing if the last run read was cached."""
        for one in wanted if self._is_cold else ():
            # An error is raised when the runs are read.
            with suppress(OSError, FileRefused), self._opened(one.path) as descriptor:
                self._foreseen[one.path, one.runs[0][0]] = page_cache.fetch(descriptor, one.runs)

    def read_to_end(self, files: Sequence[tuple[str, int]], piece: int) -> Iterator[Pieces]:
        for path, _ in files:
            try:
                descriptor = self.open(path)
            except FileNotFoundError:
                yield None
            except FileRefused as refusal:
                yield refusal
            else:
                yield _pieces(descriptor, piece)

    def content(self, path: str) -> bytes:
        return self._tree.read(path)

    def outside(self, path: str) -> bytes:
        return read_outside(Path(path), self.owner)

    def close(self) -> None:
        """Nothing is held: a directory is closed with the last reference to it."""

    def open(self, path: str) -> int:
        """Return a file descriptor for `os.preadv`. Raises FileNotFoundError if the file vanished since the listing,
        and FileRefused if the account does not own it any more.
        """
        descriptor = self._tree.open(path)
        # No read-ahead: it brings pages into the cache, and we could not tell afterwards which ones to drop.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return descriptor

    def _read(self, wanted: FileRuns, into: memoryview) -> Got:
        foreseen = self._foreseen.pop((wanted.path, wanted.runs[0][0]), [])
        try:
            with self._opened(wanted.path) as descriptor:
                got, missed = page_cache.fill(descriptor, wanted.runs, into)
                page_cache.forget(descriptor, foreseen)
        except FileNotFoundError:
            return None
        except FileRefused as refusal:
            return refusal
        self._is_cold = missed or bool(foreseen)
        return got

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        descriptor = self.open(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _pieces(descriptor: int, piece: int) -> Iterator[bytes]:
    at = 0
    try:
        while chunk := os.pread(descriptor, piece, at):
            yield chunk
            at += len(chunk)
    finally:
        os.close(descriptor)
