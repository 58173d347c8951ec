"""WAL made by hand, after src/include/access/xlog_internal.h and xlogrecord.h: pages, records, segments."""

import struct

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from stillhouse.postgres.wal.segments import WalSource

SYSTEM = 7_000_000_000_000_000_001
XACT, STORAGE, DATABASE, TABLESPACE, HEAP = 1, 2, 4, 5, 10
PREPARE, CREATE = 0x10, 0x10
_LONG, _SHORT = 40, 24
_CONTINUED = 1


def record(rmid: int, info: int, body: bytes, *, previous: int = 0) -> bytes:
    """One record with a CRC that fits. `body` is all that follows its header."""
    head = struct.pack("<IIQBBH", 24 + len(body), 7, previous, info, rmid, 0)
    return head + struct.pack("<I", google_crc32c.extend(google_crc32c.value(body), head)) + body


def data(main: bytes) -> bytes:
    """Main data behind the fragment header that tells its length."""
    return (
        struct.pack("<BB", 255, len(main)) if len(main) < 256 else struct.pack("<BI", 254, len(main))
    ) + main


def prepare(xid: int, size: int = 200, *, fragments: bytes = b"") -> bytes:
    return record(
        XACT, PREPARE, fragments + data(struct.pack("<III", 0x57F94534, size, xid).ljust(size, b"\x5a"))
    )


def storage_created(tablespace: int, database: int, relation: int, fork: int) -> bytes:
    return record(STORAGE, CREATE, data(struct.pack("<IIII", tablespace, database, relation, fork)))


class Wal:
    """A stream of records from the beginning of a segment on."""

    def __init__(self, source: WalSource, first_segment: int = 1) -> None:
        self.source = source
        self.start = first_segment * source.segment_size
        self._image = bytearray()

    @property
    def lsn(self) -> int:
        """Where the next byte goes."""
        return self.start + len(self._image)

    def append(self, whole: bytes) -> int:
        """The record's LSN."""
        self._begin_page()
        lsn = self.lsn
        left = whole
        while left:
            self._begin_page(len(left) if len(left) < len(whole) else 0)
            room = self.source.page_size - len(self._image) % self.source.page_size
            self._image += left[:room]
            left = left[room:]
        self._image += bytes(-len(self._image) % 8)
        return lsn

    def switch(self) -> None:
        """End the segment as pg_switch_wal() does: one record, then zeros."""
        self.append(record(0, 0x40, b""))
        self._image += bytes(-len(self._image) % self.source.segment_size)

    def segments(self) -> list[NDArray[np.uint8]]:
        whole = bytes(self._image) + bytes(-len(self._image) % self.source.segment_size)
        size = self.source.segment_size
        return [np.frombuffer(whole[at : at + size], np.uint8) for at in range(0, len(whole), size)]

    def _begin_page(self, owed: int = 0) -> None:
        at = len(self._image)
        if at % self.source.page_size:
            return
        flags = (_CONTINUED if owed else 0) | (0 if at % self.source.segment_size else 2)
        self._image += struct.pack("<HHIQII", 0xD118, flags, self.source.timeline, self.start + at, owed, 0)
        if not at % self.source.segment_size:
            self._image += struct.pack("<QII", SYSTEM, self.source.segment_size, self.source.page_size)
