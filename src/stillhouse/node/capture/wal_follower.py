"""The WAL follower: checks and seals each completed WAL segment during the copy, then lets the server remove it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.postgres.wal.feed import WalFeed
from stillhouse.postgres.wal.lsn import segment_name
from stillhouse.postgres.wal.segments import Finding, Pass, WalSource, check_segment
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Kind
from stillhouse.repository.format.maps import Extent, MapBuilder
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_POLL_SECONDS, _END_POLL_SECONDS = 0.2, 0.01
_MAP_BYTES = 1 << 20  # of about 80 GiB of WAL


@dataclass(frozen=True)
class WalMap:
    """A stored map of some WAL segments, in ascending order. `packs` are their ordinals in the manifest."""

    stored: Stored
    packs: list[int]
    segments: list[str]


class WalFollower:
    """Follows one node's WAL, in a thread of its own, from the segment of the start LSN to the cut.

    When it is done, `maps` hold all segments. `findings` holds the findings of the pass over the WAL, each with its
    LSN.
    """

    def __init__(
        self,
        feed: WalFeed,
        start_lsn: int,
        source: WalSource,
        store: ObjectStore,
        keys: ClusterKeys,
        ledger: PackLedger,
    ) -> None:
        self._feed, self._source = feed, source
        self._store, self._keys, self._ledger = store, keys, ledger
        self._writer = PackWriter(store, keys, ledger.add)
        self._next = start_lsn // source.segment_size * source.segment_size
        self._end: int | None = None
        self._pass = Pass(start_lsn, source)
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(1, "wal")
        self._map = MapBuilder()
        self._mapped: list[str] = []  # the segments in the open map
        self.segment_size = source.segment_size
        self.maps: list[WalMap] = []
        self.findings: list[tuple[int, Finding]] = []
        feed.begin(source, self._next)
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
            available = self._feed.available()
            if self._until(available) is None:
                self._feed.check()
                self._pause()
                continue
            while (until := self._until(available)) is not None:
                self._take_segment(until)
                if self._map.bytes >= _MAP_BYTES:
                    self._store_map()
            # Make segments durable before acknowledging them: the server may then remove them at once.
            self._writer.finish()
            self._feed.release(min(self._next, available))
        if self._end and self._mapped:
            self._store_map()

    def _pause(self) -> None:
        if self._end is None:
            self._wake.wait(_POLL_SECONDS)
        else:  # the last WAL is on its way
            time.sleep(_END_POLL_SECONDS)

    def _store_map(self) -> None:
        """Store the open map, after the packs that it names. However long the WAL grows, no map grows with it."""
        self._writer.finish()
        packs = self._ledger.ordinals(self._map.packs)
        assert packs is not None, "the packs were finished"
        self.maps.append(WalMap(self._map.store(self._store, self._keys), packs, self._mapped))
        self._map, self._mapped = MapBuilder(), []

    def _until(self, available: int) -> int | None:
        """Return the LSN up to which the next segment is needed. `None` if it cannot be taken yet."""
        until = self._next + self._source.segment_size
        if self._end is not None:
            until = min(until, self._end)
        return until if self._next < until <= available else None

    def _take_segment(self, until: int) -> None:
        name = segment_name(self._source.timeline, self._next, self._source.segment_size)
        image = self._feed.segment(self._next, until)
        check_segment(image, self._next, until, self._source)
        self.findings += self._pass.feed(image)
        view = image.data.cast("B")
        extents = []
        for at in range(0, len(view), MAX_FRAME):
            part = view[at : at + MAX_FRAME]
            # After a WAL switch and after the cut there are only zeros, which need no frame.
            frame = self._writer.add(part, Kind.BYTES) if image[at : at + MAX_FRAME].any() else None
            extents.append(Extent(frame, 0, len(part)))
        self._map.add_bytes(extents)
        self._mapped.append(name)
        self._next += self._source.segment_size
