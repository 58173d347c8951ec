"""Heap and index pages: checksum, LSN and zero tests over whole batches of pages at once."""

import numpy as np
from numpy.typing import NDArray

from stillhouse import compiled

# src/include/storage/checksum_impl.h: 32 parallel FNV-1a sums, each with another seed.
_SUMS = 32
_PRIME = np.uint32(16777619)
_SEEDS = np.array(
    [
        0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
        0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
        0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
        0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
    ],
    dtype=np.uint32,
)  # fmt: skip

Pages = NDArray[np.uint8]
"""A batch: shape (pages, block size), contiguous."""


def lsns(pages: Pages) -> NDArray[np.uint64]:
    """Return each page's LSN (pd_lsn: two 32-bit halves, the high one first)."""
    halves = pages[:, :8].copy().view("<u4")
    found: NDArray[np.uint64] = (halves[:, 0].astype(np.uint64) << np.uint64(32)) | halves[:, 1]
    return found


def is_zero(pages: Pages) -> NDArray[np.bool_]:
    """Return for each page whether it holds only zero bytes."""
    # Nearly every page has a header, so the rest of a page is read only if its header is empty.
    empty: NDArray[np.bool_] = ~np.any(pages[:, :24], axis=1)
    if empty.any():
        candidates = np.flatnonzero(empty)
        empty[candidates] = ~np.any(pages[candidates].view("<u8"), axis=1)
    return empty


def checksums(pages: Pages, blocks: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Return the checksum that each page should have. `blocks` are their block numbers within the whole relation."""
    if compiled.loops is not None:
        return compiled.loops.checksums(pages, blocks)
    return checksums_by_numpy(pages, blocks)


def checksums_by_numpy(pages: Pages, blocks: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """Do the same as `checksums`, in six times the time.

    Batches of 4 MiB keep the sums of all pages in cache. One page at a time would cost a hundred times more.
    """
    count, size = pages.shape
    words = pages.view("<u4").reshape(count, size // (4 * _SUMS), _SUMS)
    head = words[:, 0, :].copy()
    head[:, 2] &= np.uint32(0xFFFF0000)  # pd_checksum itself counts as zero
    sums = np.tile(_SEEDS, (count, 1))
    shifted = np.empty_like(sums)

    def fold(row: NDArray[np.uint32] | np.uint32) -> None:
        np.bitwise_xor(sums, row, out=sums)
        np.right_shift(sums, 17, out=shifted)
        np.multiply(sums, _PRIME, out=sums)
        np.bitwise_xor(sums, shifted, out=sums)

    fold(head)
    for row in range(1, words.shape[1]):
        fold(words[:, row, :])
    fold(np.uint32(0))
    fold(np.uint32(0))
    page_sums: NDArray[np.uint32] = np.bitwise_xor.reduce(sums, axis=1) ^ blocks
    return (page_sums % np.uint32(65535) + np.uint32(1)).astype(np.uint16)


def failing(pages: Pages, blocks: NDArray[np.uint32], start_lsn: int) -> NDArray[np.intp]:
    """Return the indexes of the pages that fail their checksum.

    Only pages with an LSN below `start_lsn` are judged: the copy may tear a page that changed since the backup began,
    and replay repairs it. Pages of zeros (new, never written) have no checksum.
    """
    stored = pages[:, 8:10].copy().view("<u2")[:, 0]
    wrong = stored != checksums(pages, blocks)
    if not wrong.any():
        return np.flatnonzero(wrong)
    return np.flatnonzero(wrong & (lsns(pages) < np.uint64(start_lsn)) & ~is_zero(pages))
