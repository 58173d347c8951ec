"""The WAL follower: checks and seals each completed WAL segment during the copy, then lets the server remove it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from stillhouse.errors import CaptureInterrupted
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.postgres.files.reader import LocalReader
from stillhouse.postgres.wal.backup import BackupSession
from stillhouse.postgres.wal.segments import Finding, Pass, WalSource, check_segment, segment_name
from stillhouse.postgres.wal.slot import WalPosition
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Kind
from stillhouse.repository.format.maps import Extent, MapBuilder
from stillhouse.storage.store import ObjectStore

_POLL_SECONDS = 0.2


class WalFollower:
    """Follows one node's WAL, in a thread of its own, from the segment of the start LSN to the cut.

    When it is done, `map` holds an entry for each of `segments`. `findings` holds the findings of the pass over the
    WAL, each with its LSN.
    """

    def __init__(
        self,
        backup: BackupSession,
        position: WalPosition,
        reader: LocalReader,
        start_lsn: int,
        source: WalSource,
        store: ObjectStore,
        keys: ClusterKeys,
        ledger: PackLedger,
    ) -> None:
        self._backup, self._position = backup, position
        self._reader, self._source = reader, source
        self._writer = PackWriter(store, keys, ledger.add)
        self._next = start_lsn // source.segment_size * source.segment_size
        self._end: int | None = None
        self._pass = Pass(start_lsn, source)
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(1, "wal")
        self.map = MapBuilder()
        self.segment_size = source.segment_size
        self.segments: list[str] = []
        self.findings: list[tuple[int, Finding]] = []
        self._running = self._pool.submit(self._follow)

    def check(self) -> None:
        """Raise the thread's error, if it failed."""
        if self._running.done():
            self._running.result()

    def end_at(self, cut_lsn: int) -> None:
        """End at `cut_lsn`, which is on the server's disk already. The rest of its segment becomes zeros."""
        self._end = cut_lsn
        self._wake.set()

    def done(self, wait_seconds: float) -> bool:
        """Return True when all WAL up to the cut is durable. Raises the thread's error, if it failed."""
        wait([self._running], wait_seconds)
        self.check()
        return self._running.done()

    def stop(self) -> None:
        """Stop wherever it is, because the capture is given up. Harmless after the end."""
        self._end = 0
        self._wake.set()
        self._pool.shutdown()

    def _follow(self) -> None:
        while self._end is None or self._next < self._end:
            flushed = self._position.flushed()
            if self._until(flushed) is None:
                self._backup.check()
                self._wake.wait(_POLL_SECONDS)
                continue
            while (until := self._until(flushed)) is not None:
                self._take_segment(until)
            # Make segments durable before acknowledging them: the server may then remove them at once.
            self._writer.finish()
            self._backup.advance(min(self._next, flushed))

    def _until(self, flushed: int) -> int | None:
        """Return the LSN up to which the next segment is needed. `None` if that is not on the server's disk yet."""
        until = self._next + self._source.segment_size
        if self._end is not None:
            until = min(until, self._end)
        return until if self._next < until <= flushed else None

    def _take_segment(self, until: int) -> None:
        name = segment_name(self._source.timeline, self._next, self._source.segment_size)
        try:
            with os.fdopen(self._reader.open_wal(name), "rb", buffering=0) as file:
                # Read one byte more than allowed: a file that is too long is refused, without holding it in memory.
                image = np.fromfile(file, np.uint8, self._source.segment_size + 1)
        except FileNotFoundError:
            self._backup.advance(0)  # if the server has ended the session, this raises its reason
            raise CaptureInterrupted(f"WAL segment {name} is gone, though the slot should hold it") from None
        # Behind the cut lie later records, half a page that is being written, or the recycled file's old bytes.
        image[until - self._next :] = 0
        check_segment(image, self._next, until, self._source)
        self.findings += self._pass.feed(image)
        view = image.data.cast("B")
        extents = []
        for at in range(0, len(view), MAX_FRAME):
            part = view[at : at + MAX_FRAME]
            # After a WAL switch and after the cut there are only zeros, which need no frame.
            frame = self._writer.add(part, Kind.BYTES) if image[at : at + MAX_FRAME].any() else None
            extents.append(Extent(frame, 0, len(part)))
        self.map.add_bytes(extents)
        self.segments.append(name)
        self._next += self._source.segment_size
