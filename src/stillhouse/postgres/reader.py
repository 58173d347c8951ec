"""Reader of a node's files on this host: lists what a capture takes, and reads runs of bytes of it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stillhouse.postgres import layout


@dataclass(frozen=True)
class Entry:
    """A directory (`size` None) or a file of the data directory; `path` is relative to it.

    A tablespace's link is a directory with its `target`.
    """

    path: str
    mode: int
    size: int | None
    mtime_ns: int = 0
    inode: int = 0
    target: str | None = None


class LocalReader:
    """Reads a data directory in place. Files may grow, shrink or vanish meanwhile: replay repairs what that tears."""

    def __init__(self, pgdata: Path, tablespace_directory: str) -> None:
        """`tablespace_directory` is `PG_<major>_<catalog version>`, all that is ours in a tablespace's place."""
        self._pgdata = pgdata
        self._tablespace_directory = tablespace_directory

    def list(self) -> Iterator[Entry]:
        """Everything a capture takes but `pg_control` and WAL; parents before children."""
        yield from self._directory("")

    def _directory(self, path: str) -> Iterator[Entry]:
        try:
            with os.scandir(self._pgdata / path) as found:
                every = (entry.name for entry in found)
                names = (
                    layout.without_unlogged(every) if layout.is_database_directory(path) else sorted(every)
                )
        except FileNotFoundError:
            return
        for name in names:
            child = f"{path}/{name}" if path else name
            if not layout.is_skipped(child) and child != layout.CONTROL:
                yield from self._entry(child)

    def _entry(self, path: str) -> Iterator[Entry]:
        try:
            status = (self._pgdata / path).stat()  # through links: tablespaces, a linked pg_wal
        except FileNotFoundError:
            return
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            yield Entry(path, mode, status.st_size, status.st_mtime_ns, status.st_ino)
        elif stat.S_ISDIR(status.st_mode):
            if path.startswith("pg_tblspc/") and path.count("/") == 1 and (self._pgdata / path).is_symlink():
                yield Entry(path, mode, None, target=str((self._pgdata / path).readlink()))
                yield from self._entry(f"{path}/{self._tablespace_directory}")
                return
            yield Entry(path, mode, None)
            if path not in layout.EMPTIED:
                yield from self._directory(path)

    def path(self, path: str) -> Path:
        return self._pgdata / path

    def open(self, path: str) -> int:
        """File descriptor for `os.preadv`; raises FileNotFoundError when the file vanished since the listing."""
        descriptor = os.open(self._pgdata / path, os.O_RDONLY | os.O_CLOEXEC)
        # Reading ahead would bring pages into the cache of which nobody knows afterwards that they were not there.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return descriptor

    def read(self, path: str) -> bytes:
        return (self._pgdata / path).read_bytes()
