"""The progress of a server in recovery, read from its log: while it lets no one in, it reports it nowhere else.

PostgreSQL 15 to 18 log "redo starts at X", then every `log_startup_progress_interval` "redo in progress, elapsed time:
..., current LSN: X", unless they are standbys (PerformWalRecovery in src/backend/access/transam/xlogrecovery.c).
"""

import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stillhouse.postgres.files.tree import Tree
from stillhouse.postgres.wal.lsn import parse_lsn

Show = Callable[[int, int], None]
"""Called with (bytes of WAL replayed, bytes to replay)."""

_POLL_SECONDS = 0.5
_AT_MOST = 8 << 20  # bytes read at one look; the next look reads on
_STARTS = re.compile(rb"LOG: +redo starts at ([0-9A-F]+/[0-9A-F]+)")
_STANDS = re.compile(rb"LOG: +redo in progress, .*current LSN: ([0-9A-F]+/[0-9A-F]+)")


class ReplayLog:
    """Reads on in a server's log, from its present end. Raises FileRefused for a log that is not the account's."""

    def __init__(self, log: Path) -> None:
        self._tree, self._name = Tree(log.parent), log.name
        with self._open() as opened:
            self._read = opened.seek(0, os.SEEK_END)
        self._start: int | None = None
        self._at = 0

    def look(self, target: int) -> tuple[int, int] | None:
        """(bytes replayed, bytes up to `target`), or None before replay has begun."""
        with self._open() as log:
            log.seek(self._read)
            told = log.read(_AT_MOST)
        whole = told[: told.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(line)
        if self._start is None:
            return None
        total = max(target - self._start, 0)
        return min(self._at - self._start, total), total

    def _open(self) -> BinaryIO:
        """Open the log. A missing log reads as an empty one."""
        try:
            return os.fdopen(self._tree.open(self._name), "rb")
        except FileNotFoundError:
            return io.BytesIO()

    def _take(self, line: bytes) -> None:
        if (found := _STARTS.search(line)) is not None:
            self._start = self._at = parse_lsn(found[1].decode())
        elif (found := _STANDS.search(line)) is not None:
            self._at = parse_lsn(found[1].decode())


@contextmanager
def watching(log: Path, target: int, show: Show | None) -> Iterator[None]:
    """Call `show` from a separate thread while the block runs. An error that it raises is raised at the end."""
    if show is None:
        yield
        return
    replay, ended = ReplayLog(log), threading.Event()

    def tell() -> None:
        while not ended.wait(_POLL_SECONDS):
            if (seen := replay.look(target)) is not None:
                show(*seen)

    with ThreadPoolExecutor(1, "replay") as pool:
        telling = pool.submit(tell)
        try:
            yield
        finally:
            ended.set()
    telling.result()
    if (seen := replay.look(target)) is not None:
        show(seen[1], seen[1])
