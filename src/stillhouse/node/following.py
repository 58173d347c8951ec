"""WAL beside the copy: each completed segment is checked, sealed and let go of, from the first minute to the cut."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from stillhouse.errors import CaptureInterrupted
from stillhouse.node.pack_writer import PackWriter
from stillhouse.node.shelf import PackLedger
from stillhouse.postgres.backup import BackupSession
from stillhouse.postgres.reader import LocalReader
from stillhouse.postgres.slot import WalPosition
from stillhouse.postgres.wal import Finding, Pass, WalSource, check_segment, segment_name
from stillhouse.repository.container import MAX_FRAME, Kind
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.maps import Extent, MapBuilder
from stillhouse.storage.store import ObjectStore

_POLL_SECONDS = 0.2


class WalFollower:
    """Follows one node's WAL, in a thread of its own, from the segment of the start LSN to the cut.

    When it is done, `map` holds an entry for each of `segments`, and `findings` what the one pass over the WAL
    found, with LSNs.
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
        """Raise what the thread failed of, if it did."""
        if self._running.done():
            self._running.result()

    def end_at(self, cut_lsn: int) -> None:
        """End at `cut_lsn`, which is on the server's disk already. What follows it in its segment becomes zeros."""
        self._end = cut_lsn
        self._wake.set()

    def done(self, wait_seconds: float) -> bool:
        """True when all WAL up to the cut is durable. Raises what the thread failed of."""
        wait([self._running], wait_seconds)
        self.check()
        return self._running.done()

    def stop(self) -> None:
        """Stop wherever it is; for a capture that is given up, and harmless after the end."""
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
            # Durable first, then let go: the server may remove what we acknowledge at once.
            self._writer.finish()
            self._backup.advance(min(self._next, flushed))

    def _until(self, flushed: int) -> int | None:
        """The LSN up to which the next segment is wanted; None as long as that is not on the server's disk."""
        until = self._next + self._source.segment_size
        if self._end is not None:
            until = min(until, self._end)
        return until if self._next < until <= flushed else None

    def _take_segment(self, until: int) -> None:
        name = segment_name(self._source.timeline, self._next, self._source.segment_size)
        try:
            with os.fdopen(self._reader.open_wal(name), "rb", buffering=0) as file:
                # One byte more than is allowed: a file that is too long is refused, and never held in memory.
                image = np.fromfile(file, np.uint8, self._source.segment_size + 1)
        except FileNotFoundError:
            self._backup.advance(0)  # the server ends the session first, and that has a reason
            raise CaptureInterrupted(f"WAL segment {name} is gone, though the slot should hold it") from None
        # Behind the cut: later records, half a page that is being written, or what the file held in an earlier life.
        image[until - self._next :] = 0
        check_segment(image, self._next, until, self._source)
        self.findings += self._pass.feed(image)
        view = image.data.cast("B")
        extents = []
        for at in range(0, len(view), MAX_FRAME):
            part = view[at : at + MAX_FRAME]
            # Behind a switch, and behind the cut, there are only zeros: they need no frame.
            frame = self._writer.add(part, Kind.BYTES) if image[at : at + MAX_FRAME].any() else None
            extents.append(Extent(frame, 0, len(part)))
        self.map.add_bytes(extents)
        self.segments.append(name)
        self._next += self._source.segment_size
