"""Reads that leave the page cache as they found it: a large capture must not push out the warehouse's own pages."""

import errno
import os
from collections.abc import Sequence

# Read from the disk at a time, then dropped from the page cache, with any bytes of the range that were cached before.
_FETCH_BYTES = 512 << 10
_ONE_BYTE = memoryview(bytearray(1))


def fill(descriptor: int, runs: Sequence[tuple[int, int]], into: memoryview) -> tuple[int, bool]:
    """Fill `into` with runs of a file, one after another. Return how many bytes it holds, up to the first run that the
    file did not fill, and whether the disk was read.

    All uncached bytes are requested at once, so that the disk never waits for the next request. They are dropped from
    the page cache afterwards.
    """
    start, end = 0, sum(length for _, length in runs)
    gaps: list[
        tuple[memoryview, int, int]
    ] = []  # where it belongs, its offset in the file, its place in `into`
    for offset, length in runs:
        for at in range(0, length, _FETCH_BYTES):
            piece = into[start + at : start + min(at + _FETCH_BYTES, length)]
            done = _read_cached(descriptor, piece, offset + at)
            if done < len(piece):
                gaps.append((piece[done:], offset + at + done, start + at + done))
        start += length
    for gap, offset, _ in gaps:
        os.posix_fadvise(descriptor, offset, len(gap), os.POSIX_FADV_WILLNEED)
    for gap, offset, place in gaps:
        done = _read_all(descriptor, gap, offset)
        os.posix_fadvise(descriptor, offset, len(gap), os.POSIX_FADV_DONTNEED)
        if done < len(gap):
            end = min(end, place + done)
    return end, bool(gaps)


def fetch(descriptor: int, runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start to read the uncached parts of some runs from the disk. Return them, so that `forget` can drop them."""
    pieces = [
        (offset + at, min(_FETCH_BYTES, length - at))
        for offset, length in runs
        for at in range(0, length, _FETCH_BYTES)
    ]
    missing = [(at, length) for at, length in pieces if not _read_cached(descriptor, _ONE_BYTE, at)]
    for at, length in missing:
        os.posix_fadvise(descriptor, at, length, os.POSIX_FADV_WILLNEED)
    return missing


def forget(descriptor: int, runs: Sequence[tuple[int, int]]) -> None:
    """Drop runs from the page cache."""
    for at, length in runs:
        os.posix_fadvise(descriptor, at, length, os.POSIX_FADV_DONTNEED)


def _read_all(descriptor: int, into: memoryview, offset: int) -> int:
    done = 0
    while done < len(into) and (read := os.preadv(descriptor, [into[done:]], offset + done)):
        done += read
    return done


def _read_cached(descriptor: int, into: memoryview, offset: int) -> int:
    """Read from the page cache only. Return the bytes found there: 0 if the file system cannot tell."""
    try:
        return os.preadv(descriptor, [into], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return 0
        raise
