"""The reader of a node's files on this host: lists the files that a capture takes, and opens them for reading."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stillhouse.domain import relation_files
from stillhouse.errors import FileRefused
from stillhouse.postgres.files import layout
from stillhouse.postgres.files.tree import Directory, Tree, shown, why_foreign

_TABLESPACE = r"pg_tblspc/[1-9][0-9]*"
_NAMED = 100  # skipped paths that are named; the rest is only counted
_PERMISSIONS = 0o777  # no set-user-id bit: root owns a restored file until it is given away


@dataclass(frozen=True)
class Entry:
    """A file or a directory in the data directory. `path` is relative to it. The `size` of a directory is `None`.

    The link to a tablespace is a directory with a `target`.
    """

    path: str
    mode: int
    size: int | None
    mtime_ns: int = 0
    inode: int = 0
    target: str | None = None


class Skipped:
    """The files that a capture left out because the account does not own them. The first are named, with the reason."""

    def __init__(self) -> None:
        self.count = 0
        self.reasons: dict[str, str] = {}

    def add(self, path: str, reason: str) -> None:
        """Add a path. A path is counted once, as long as paths are still named."""
        name = shown(path)
        if name in self.reasons:
            return
        self.count += 1
        if len(self.reasons) < _NAMED:
            self.reasons[name] = reason


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
            every = (entry.name for entry in found)
            names = (
                layout.without_unlogged(every)
                if relation_files.is_database_directory(path)
                else sorted(every)
            )
        for name in names:
            child = f"{path}/{name}" if path else name
            if not layout.is_skipped(child) and child != layout.CONTROL:
                yield from self._entry(child, name, directory)

    def _entry(self, path: str, name: str, directory: Directory) -> Iterator[Entry]:
        try:
            status = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode) and self._tree.may_be_link(path)
            if is_link or stat.S_ISDIR(status.st_mode):
                opened = self._tree.directory(path)
                target = os.readlink(name, dir_fd=directory.descriptor) if is_link else None
                yield from self._subdirectory(path, opened, target)
            elif reason := why_foreign(status, self.owner, stat.S_IFREG):
                self.skipped.add(path, reason)
            else:
                mode = status.st_mode & _PERMISSIONS
                yield Entry(path, mode, status.st_size, status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            return
        except FileRefused as refusal:
            self.skipped.add(path, refusal.reason)

    def _subdirectory(self, path: str, opened: Directory, target: str | None) -> Iterator[Entry]:
        mode = os.fstat(opened.descriptor).st_mode & _PERMISSIONS
        if target is not None and re.fullmatch(_TABLESPACE, path):
            yield Entry(path, mode, None, target=target)
            yield from self._entry(f"{path}/{self._tablespace_directory}", self._tablespace_directory, opened)
            return
        yield Entry(path, mode, None)
        if path not in layout.EMPTIED:
            yield from self._directory(path, opened)

    def directory(self, path: str) -> Directory:
        return self._tree.directory(path)

    def open(self, path: str) -> int:
        """Return a file descriptor for `os.preadv`. Raises FileNotFoundError if the file vanished since the listing,
        and FileRefused if the account does not own it any more.
        """
        descriptor = self._tree.open(path)
        # No read-ahead: it brings pages into the cache, and the packer could not tell afterwards which ones to drop.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return descriptor

    def open_wal(self, name: str) -> int:
        """Return a file descriptor of a WAL segment. Raises as `open` does."""
        return self._tree.open(f"pg_wal/{name}")

    def read(self, path: str) -> bytes:
        """Return the bytes of a small file. Raises as `open` does."""
        return self._tree.read(path)
