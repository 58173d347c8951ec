"""The watchdog: ends a backup's session before its slot fills the server's disk, for example while a store hangs."""

import threading
from collections.abc import Callable
from contextlib import suppress

from stillhouse.errors import CaptureInterrupted, NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session_end import End
from stillhouse.postgres.wal.backup import BackupSession
from stillhouse.postgres.wal.feed import WalFeed

_WATCH_SECONDS = 1.0


class Watchdog:
    """Watches the WAL that a slot keeps, until stopped. If it ends the session, its next use raises the reason."""

    def __init__(
        self, backup: BackupSession, feed: WalFeed, free: Callable[[], int] | None, limit_bytes: int
    ) -> None:
        """Start to watch. The slot may keep at most `limit_bytes` of WAL, and a quarter of the disk's free space.

        `free` returns that space in bytes. It is `None` if nothing can tell it.
        """
        self._backup, self._feed = backup, feed
        self._free, self._limit = free, limit_bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wal watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            self._watch_until_stopped()
        except (session.Error, NodeUnreachable, OSError) as error:
            with suppress(CaptureInterrupted):  # if the session has ended by itself, it knows a better reason
                self._backup.check()
                self._backup.end(End(f"the WAL kept for {self._backup.name} cannot be watched: {error}"))

    def _watch_until_stopped(self) -> None:
        while not self._stopped.wait(_WATCH_SECONDS):
            kept = self._feed.kept()
            allowed = self._limit if self._free is None else min(self._limit, self._free() // 4)
            if kept > allowed:
                told = f"{kept} bytes of WAL were retained on {self._backup.name}, {allowed} are allowed"
                self._backup.end(
                    End(told, "raise wal_retention_bytes or give the store more room to breathe")
                )
                return
