"""The pass over WAL finds each record that matters, wherever pages and segments cut it, and nothing made to look so."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.postgres.wal.segments import FilesCopied, Finding, Pass, Prepared, StorageCreated, WalSource
from support.data_directories.synthetic_wal import (
    DATABASE,
    HEAP,
    SYSTEM,
    TABLESPACE,
    Wal,
    data,
    prepare,
    record,
    storage_created,
)

# Small pages and segments: nearly every record is cut somewhere.
TINY = WalSource(SYSTEM, 3, 2048, 512)
oids = st.integers(0, 2**32 - 1)
Written = tuple[bytes, Finding | None]


def _copied(oids: tuple[int, int, int, int]) -> Written:
    body = struct.pack("<IIII", *oids)
    what = f"database {oids[0]} was made by file copy or moved to tablespace {oids[1]}"
    return record(DATABASE, 0x01, data(body)), FilesCopied(what)


wanted = st.one_of(
    st.tuples(oids, oids, oids, st.integers(0, 3)).map(lambda f: (storage_created(*f), StorageCreated(*f))),
    st.tuples(oids, oids, oids, oids).map(_copied),
    st.binary(min_size=5, max_size=300).map(
        lambda path: (record(TABLESPACE, 0, data(path)), FilesCopied("a tablespace was created"))
    ),
    st.tuples(oids, st.integers(12, 6000), st.sampled_from([b"", b"\xfd\1\0", b"\xfc\1\0\0\0"])).map(
        lambda f: (prepare(f[0], f[1], fragments=f[2]), Prepared(f[0]))
    ),
)
plain = st.binary(max_size=1500).map(lambda body: (record(HEAP, 0x20, body), None))
# User data may hold whole records, CRC and all; at any place, so also where a record might begin.
forged = st.tuples(st.integers(0, 40), wanted).map(
    lambda f: (record(HEAP, 0, bytes(f[0]) + f[1][0] + bytes(f[0])), None)
)


@given(st.lists(st.one_of(plain, wanted, forged), max_size=40), st.integers(0, 10))
@settings(max_examples=300, deadline=None)
def test_the_pass_finds_what_was_written_and_nothing_else(written: list[Written], skipped: int) -> None:
    wal = Wal(TINY)
    placed = [(wal.append(whole), finding) for whole, finding in written]
    wal.switch()
    start = placed[skipped][0] if skipped < len(placed) else wal.start
    segments = wal.segments()[(start - wal.start) // TINY.segment_size :]
    one_pass = Pass(start, TINY)
    found = [finding for image in segments for finding in one_pass.feed(image)]
    assert found == [(lsn, finding) for lsn, finding in placed if finding is not None and lsn >= start]


@pytest.mark.parametrize(
    ("whole", "finding"),
    [
        (storage_created(1, 2, 3, 0), StorageCreated(1, 2, 3, 0)),
        (prepare(9, 600), Prepared(9)),
        (prepare(9, 6000), Prepared(9)),  # longer than a segment
    ],
)
def test_a_record_is_found_wherever_it_begins(whole: bytes, finding: Finding) -> None:
    for room in range(0, TINY.segment_size, 8):
        wal = Wal(TINY)
        wal.append(record(HEAP, 0, bytes(room)))
        lsn = wal.append(whole)
        wal.switch()
        one_pass = Pass(wal.start, TINY)
        found = [found for image in wal.segments() for found in one_pass.feed(image)]
        assert found == [(lsn, finding)], room
