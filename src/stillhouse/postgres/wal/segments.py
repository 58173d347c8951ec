"""WAL segments: the proof that bytes are the expected segment, and a search for the few records that
make a capture leave files out or start again.

Layouts: src/include/access/xlog_internal.h (pages), xlogrecord.h (records), rmgrlist.h (resource managers).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import CaptureFailed
from stillhouse.postgres.wal.lsn import BLOCK_SIZE, format_lsn

_SHORT, _LONG = 24, 40  # page headers: every page, first page of a segment
_RECORD = struct.Struct("<IIQBBHI")  # tot_len, xid, prev, info, rmid, padding, crc


@dataclass(frozen=True)
class WalSource:
    """The source of a node's WAL. Every page must agree with it."""

    system_identifier: int
    timeline: int
    segment_size: int
    page_size: int = BLOCK_SIZE


def check_segment(image: NDArray[np.uint8], start: int, end: int, source: WalSource) -> None:
    """Prove that `image` is the segment beginning at LSN `start`, written as far as `end`. Raises CaptureFailed.

    Recycled and foreign segments have the right size and plausible content, so the page addresses, the timeline and
    the system identifier are the only proof.
    """
    if len(image) != source.segment_size:
        raise CaptureFailed(f"WAL segment at {format_lsn(start)} has {len(image)} bytes")
    written = min(-(-(end - start) // source.page_size), len(image) // source.page_size)
    pages = image.reshape(-1, source.page_size)[:written]
    addresses = pages[:, 8:16].copy().view("<u8")[:, 0]
    expected = np.arange(written, dtype=np.uint64) * np.uint64(source.page_size) + np.uint64(start)
    timelines = pages[:, 4:8].copy().view("<u4")[:, 0]
    wrong = np.flatnonzero((addresses != expected) | (timelines != source.timeline))
    # After a switch record the rest of the segment is never written, so it must be zeros.
    if len(wrong) and pages[wrong[0] :].any():
        raise CaptureFailed(f"WAL segment at {format_lsn(start)} holds pages of another place or timeline")
    identifier, size = struct.unpack("<QI", image[24:36].tobytes())
    if identifier != source.system_identifier or size != source.segment_size:
        raise CaptureFailed(f"WAL segment at {format_lsn(start)} belongs to another server")


@dataclass(frozen=True)
class StorageCreated:
    """A relation fork was created (rmgr Storage)."""

    tablespace: int
    database: int
    relation: int
    fork: int


@dataclass(frozen=True)
class FilesCopied:
    """A database was made or moved by copying files, or a tablespace was made. Redo would touch the source's paths."""

    what: str


@dataclass(frozen=True)
class Prepared:
    """A transaction was prepared. `xid` is its 32-bit id."""

    xid: int


Finding = StorageCreated | FilesCopied | Prepared

# Sizes of the fragments that may precede a record's own data: top-level transaction (252), replication origin (253).
_FRAGMENTS = {252: 5, 253: 3}
# (rmid << 8 | info & 0xF0) as in a record's header, with zeros above as padding.
_SMGR_CREATE, _DB_FILE_COPY, _TABLESPACE_CREATE = 0x0210, 0x0400, 0x0500
_PREPARE, _PREPARE_INFO = 0x0110, 0x0190
_KIND_MASK = 0xFFFFFFF0
_WANTED = np.array(
    [_SMGR_CREATE, _DB_FILE_COPY, _TABLESPACE_CREATE, _PREPARE, _PREPARE_INFO], dtype=np.uint32
)
_CRC_OF_HEADER = 20  # the CRC covers the data after the header, then the header up to the CRC field
_KIND_AT = 16  # info and rmid, in the header
_CONTINUED = 1  # XLP_FIRST_IS_CONTRECORD: the page begins with the rest of a record


class Pass:
    """One pass over a node's WAL, segment after segment in order, from LSN `start` on.

    Page headers are cut out, which leaves one stream of records aligned to 8 bytes. A search over the whole segment
    finds bytes that look like the header of a wanted record. They may be user data. So records are walked one by one,
    but only on the few pages with a match, beginning at the first record that the page header points to.
    """

    def __init__(self, start: int, source: WalSource) -> None:
        self._start, self._source = start, source
        self._next = start // source.segment_size * source.segment_size
        self._tail = np.empty(0, np.uint8)  # a record cut by the segment's end that is wanted, or may be
        self._tail_lsn = 0

    def feed(self, image: NDArray[np.uint8]) -> Iterator[tuple[int, Finding]]:
        """Yield the findings of the next segment, each with its LSN.

        A record cut by the segment's end is kept, and found with the following segment.
        """
        pages = image.reshape(-1, self._source.page_size)
        # Count the pages with a magic number (0xD1..): after a switch there are only zeros.
        pages = pages[: np.count_nonzero(pages[:, 1])]
        stream = np.concatenate([self._tail, pages[0, _LONG:], pages[1:, _SHORT:].reshape(-1)])
        records = _Records(stream, len(self._tail), pages, self._next)
        found = [(0, self._tail_lsn)] if len(self._tail) else []
        found += [(at, records.lsn(at)) for at in _candidates(stream) if records.begins_at(at)]
        cut = [(at, records.lsn(at)) for at in records.cut_headers()]
        for position, lsn in found:
            header = stream[position : position + _RECORD.size].tobytes()
            (length,) = struct.unpack_from("<I", header)
            if lsn < self._start or _kind(header) not in _WANTED:
                continue
            record = stream[position : position + length].tobytes()
            if len(record) < length:
                cut = [(position, lsn)]
            elif _is_whole(record):
                yield lsn, _finding(record)
        self._next += self._source.segment_size
        keep_from, self._tail_lsn = cut[0] if cut else (len(stream), 0)
        self._tail = stream[keep_from:].copy()


class _Records:
    """The records' beginnings in a segment's stream, which starts with `offset` bytes kept of the previous segment."""

    def __init__(
        self, stream: NDArray[np.uint8], offset: int, pages: NDArray[np.uint8], segment: int
    ) -> None:
        self._stream, self._offset, self._page_size = stream, offset, int(pages.shape[1])
        self._segment = segment
        self._flags = pages[:, 2:4].copy().view("<u2")[:, 0]
        self._rest = pages[:, 16:20].copy().view("<u4")[:, 0]
        self._begins: dict[int, frozenset[int]] = {}

    def begins_at(self, position: int) -> bool:
        return position >= self._offset and position in self._of_page(self._page_of(position))

    def cut_headers(self) -> list[int]:
        """Return where a record begins so late that the segment ends before its kind. There is one at most."""
        return [at for at in self._of_page(len(self._flags) - 1) if at + _RECORD.size > len(self._stream)]

    def lsn(self, position: int) -> int:
        page = self._page_of(position)
        header = _SHORT if page else _LONG
        return self._segment + page * self._page_size + header + position - self._page_start(page)

    def _page_of(self, position: int) -> int:
        """Return the page that holds a byte of the stream. All pages but the first have the short header."""
        return (position - self._offset + _LONG - _SHORT) // (self._page_size - _SHORT)

    def _page_start(self, page: int) -> int:
        return self._offset + (page * (self._page_size - _SHORT) - (_LONG - _SHORT) if page else 0)

    def _of_page(self, page: int) -> frozenset[int]:
        if page not in self._begins:
            self._begins[page] = frozenset(self._walk(page))
        return self._begins[page]

    def _walk(self, page: int) -> Iterator[int]:
        at, end = self._page_start(page), min(self._page_start(page + 1), len(self._stream))
        if self._flags[page] & _CONTINUED:
            at += _aligned(int(self._rest[page]))
        while at < end:
            # A header may cross the page's end, but never its first 8 bytes.
            (length,) = struct.unpack("<I", self._stream[at : at + 4].tobytes())
            if length < _RECORD.size:
                return  # zeros after a switch
            yield at
            at += _aligned(length)


def _aligned(length: int) -> int:
    return -(-length // 8) * 8


def _kind(header: bytes) -> int:
    (word,) = struct.unpack_from("<I", header, _KIND_AT)
    return int(word) & _KIND_MASK


def _is_whole(record: bytes) -> bool:
    *_, crc = _RECORD.unpack_from(record)
    return bool(google_crc32c.extend(google_crc32c.value(record[24:]), record[:_CRC_OF_HEADER]) == crc)


def _candidates(stream: NDArray[np.uint8]) -> list[int]:
    usable = len(stream) // 8 * 8
    kinds = stream[:usable].view("<u4")[_KIND_AT // 4 :: 2] & np.uint32(_KIND_MASK)
    return [int(index) * 8 for index in np.flatnonzero(np.isin(kinds, _WANTED))]


def _finding(record: bytes) -> Finding:
    kind = _kind(record)
    if kind == _SMGR_CREATE:
        return StorageCreated(*struct.unpack("<IIII", record[-16:]))
    if kind == _DB_FILE_COPY:
        database, tablespace, _, _ = struct.unpack("<IIII", record[-16:])
        return FilesCopied(f"database {database} was made by file copy or moved to tablespace {tablespace}")
    if kind == _TABLESPACE_CREATE:
        return FilesCopied("a tablespace was created")
    at = 24
    while record[at] in _FRAGMENTS:
        at += _FRAGMENTS[record[at]]
    data = at + (2 if record[at] == 255 else 5)
    return Prepared(struct.unpack_from("<I", record, data + 8)[0])
