"""Which pages of a relation file a capture reads, and which it takes from its base: pure, one decision per file.

A page may come from the base only where nothing can have changed it unseen. After DELETE, vacuum's truncation and a
bulk load, the zero pages that bulk extension adds are in no WAL record and in no summary: whatever lies at or above
the smallest length that the fork had in between is read, listed or not.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint32]

MAX_FRAGMENTATION = 1.5


class How(StrEnum):
    """What a capture did with a file; stands in its manifest line."""

    WHOLE = "whole"  # all of it was read, nothing was taken from the base
    PAGES = "pages"  # the pages named by WAL summaries were read
    SCAN = "scan"  # all pages were read, those that moved on by their LSN were stored
    SAME = "same"  # all of it was read, what the base has already was not stored again
    KEPT = "kept"  # nothing was read: the base's map is named again


@dataclass(frozen=True)
class Changed:
    """What WAL summaries say of a relation's main fork since the base began.

    `limit` is the smallest length, in blocks, that it was truncated or created with; None if it was not. `blocks` are
    those listed, ascending, numbered within the whole relation.
    """

    limit: int | None
    blocks: Blocks


def no_blocks() -> Blocks:
    return np.empty(0, np.uint32)


@dataclass(frozen=True)
class InBase:
    """A relation file in the base: its length in pages, and `held`, the pages of it that its frames hold at most.

    `lost` are pages, ascending, whose place in the repository is known to be damaged.
    """

    pages: int
    held: int
    lost: Blocks = field(default_factory=no_blocks)


@dataclass(frozen=True)
class Choice:
    """`read` lists the pages of this file to read, ascending; the rest is the base's. `why` is for people."""

    how: How
    read: Blocks
    why: str = ""


def whole(pages: int, why: str) -> Choice:
    return Choice(How.WHOLE, np.arange(pages, dtype=np.uint32), why)


def by_summaries(pages: int, first_block: int, base: InBase | None, changed: Changed | None) -> Choice:
    """For a file of `pages` whose first page is `first_block` of its relation.

    `changed` None: no summary mentions the relation.
    """
    if base is None:
        return whole(pages, "not in the base")
    safe = min(pages, base.pages)
    listed = no_blocks()
    if changed is not None:
        if changed.limit is not None:
            safe = min(safe, max(changed.limit - first_block, 0))
        within = np.searchsorted(changed.blocks, [first_block, first_block + safe])
        listed = changed.blocks[within[0] : within[1]] - np.uint32(first_block)
    listed = np.union1d(listed, base.lost[base.lost < safe])
    read = np.concatenate([listed, np.arange(safe, pages, dtype=np.uint32)])
    if not len(read) and pages == base.pages:
        return Choice(How.KEPT, read)
    if base.held + len(read) > MAX_FRAGMENTATION * pages:
        return whole(pages, "fragmented" if safe else "made anew")
    return Choice(How.PAGES, read.astype(np.uint32))


def by_scan(pages: int, base: InBase | None) -> Choice:
    """All pages are read; which of them are the base's, `is_unmoved` says of each."""
    if base is None:
        return whole(pages, "not in the base")
    if base.held > MAX_FRAGMENTATION * pages:
        return whole(pages, "fragmented")
    return Choice(How.SCAN, np.arange(pages, dtype=np.uint32))


def is_unmoved(
    lsns: NDArray[np.uint64], pages: Blocks, base_pages: int, base_start: int, lost: Blocks
) -> NDArray[np.bool_]:
    """Of pages read in a scan, those that the base holds as they are. LSN 0 proves nothing: bulk extension."""
    found: NDArray[np.bool_] = (lsns != 0) & (lsns < np.uint64(base_start)) & (pages < base_pages)
    return found & ~np.isin(pages, lost) if len(lost) else found
