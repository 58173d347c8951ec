"""The seam of WAL: a follower takes a node's WAL segment by segment, and releases each when it is stored."""

import os
import re
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import CaptureInterrupted
from stillhouse.postgres.files.tree import Tree
from stillhouse.postgres.wal.backup import BackupSession
from stillhouse.postgres.wal.lsn import segment_name
from stillhouse.postgres.wal.segments import WalSource
from stillhouse.postgres.wal.slot import WalPosition


class WalFeed(Protocol):
    """The WAL of one node from a slot on. A segment begins at the LSN `start`, a multiple of the segment's size.

    One thread calls `available`, `segment` and `release`, another may call `kept`.
    """

    def begin(self, source: WalSource, start: int) -> None:
        """Begin with the segment at `start`, before anything else is asked. Earlier WAL is not needed."""
        ...

    def available(self) -> int:
        """Return the LSN up to which WAL can be taken."""
        ...

    def segment(self, start: int, until: int) -> NDArray[np.uint8]:
        """Return a segment's bytes up to the LSN `until`, and zeros behind it. The caller may change them.

        Behind it lie later records, half a page that is being written, or the recycled file's old bytes. The WAL must
        be available. Raises CaptureInterrupted if the segment is gone.
        """
        ...

    def release(self, lsn: int) -> None:
        """Let the server remove WAL before `lsn`, which is durable elsewhere."""
        ...

    def kept(self) -> int:
        """Return how many bytes of WAL the server keeps for us."""
        ...

    def check(self) -> None:
        """Raise CaptureInterrupted, with the reason, if the feed has ended."""
        ...

    def close(self) -> None:
        """Let go of the WAL. Harmless a second time."""
        ...


class SegmentFiles:
    """The feed of a node on this host: its segment files, kept by the slot of the backup's session."""

    def __init__(self, backup: BackupSession, position: WalPosition, tree: Tree) -> None:
        """`tree` is the data directory. It follows a link at `pg_wal`."""
        self._backup, self._position, self._tree = backup, position, tree

    def begin(self, source: WalSource, start: int) -> None:
        self._source = source

    def available(self) -> int:
        return self._position.flushed()

    def segment(self, start: int, until: int) -> NDArray[np.uint8]:
        name = segment_name(self._source.timeline, start, self._source.segment_size)
        try:
            with os.fdopen(self._tree.open(f"pg_wal/{name}"), "rb") as file:
                # A file that is too long is refused for its length, without holding it in memory.
                size = min(os.fstat(file.fileno()).st_size, self._source.segment_size + 1)
                image = np.zeros(size, np.uint8)  # takes memory only where it is written
                file.readinto(image[: until - start].data)
                return image
        except FileNotFoundError:
            self._backup.advance(0)  # if the server has ended the session, this raises its reason
            raise CaptureInterrupted(f"WAL segment {name} is gone, though the slot should hold it") from None

    def release(self, lsn: int) -> None:
        self._backup.advance(lsn)

    def kept(self) -> int:
        return self._position.flushed() - self._backup.holds_from

    def check(self) -> None:
        self._backup.check()

    def close(self) -> None:
        self._backup.close()


def wal_tree(pgdata: Path, owner: int | None) -> Tree:
    """Return a data directory as a tree in which `pg_wal` may be a link. `owner` is as for a tree."""
    return Tree(pgdata, owner=owner, links=re.compile("pg_wal"))
