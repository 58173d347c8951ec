"""The seam of readers: a capture lists the files of a node and reads runs of their bytes, wherever the node is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stillhouse.errors import FileRefused
from stillhouse.postgres.files.tree import shown

_NAMED = 100  # skipped paths that are named; the rest is only counted


class Entry(NamedTuple):
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


@dataclass(frozen=True)
class FileRuns:
    """Runs of bytes to read from one file. Each run is its offset in the file and its length, both in bytes."""

    path: str
    runs: Sequence[tuple[int, int]]

    @property
    def length(self) -> int:
        return sum(length for _, length in self.runs)


Got = int | FileRefused | None
"""The bytes read of one file: fewer than were wanted if the file ended in one of its runs. `None` if it is gone."""

Pieces = Iterator[bytes] | FileRefused | None
"""A file's bytes, piece by piece. `None` if it is gone."""


class NodeFiles(Protocol):
    """The files of one node. They may grow, shrink or vanish meanwhile: replay of the WAL repairs that.

    A reader may be used by several threads, and may be sent to another process. `skipped` collects the listed files
    that are left out. Errors other than a vanished or refused file are raised: OSError, or the driver's.
    """

    skipped: Skipped

    def list(self) -> Iterator[Entry]:
        """Yield everything that a capture takes except `pg_control` and WAL, parents before children."""
        ...

    def read(self, wanted: Sequence[FileRuns], into: memoryview) -> Sequence[Got]:
        """Read runs of some files, one file after another.

        The bytes of a file begin in `into` behind the bytes wanted of all files before it. They end with the first run
        that the file did not fill.
        """
        ...

    def foresee(self, wanted: Sequence[FileRuns]) -> None:
        """Prepare for a `read` of the same runs, which comes next but one at the latest. Never fails."""
        ...

    def read_to_end(self, files: Sequence[tuple[str, int]], piece: int) -> Iterator[Pieces]:
        """Read files whole, given their paths and listed sizes, in pieces of `piece` bytes. Only the last is shorter.

        The pieces of a file must be taken before the next file is asked for.
        """
        ...

    def content(self, path: str) -> bytes:
        """Return the bytes of a small file. Raises FileNotFoundError, and FileRefused."""
        ...

    def outside(self, path: str) -> bytes:
        """Return the bytes of a configuration file outside the data directory. Raises as `content` does."""
        ...

    def close(self) -> None:
        """Let go of everything that is held for reading. Harmless a second time."""
        ...
