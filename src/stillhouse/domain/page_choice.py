"""The choice of pages: which pages of a relation file a capture reads, and which it takes from its base. Pure.

A page may come from the base only if nothing can have changed it unseen. After DELETE, vacuum's truncation and a bulk
load, the zero pages that bulk extension adds are in no WAL record and in no summary. So every page at or above the
smallest length that the fork had in between is read, listed or not.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint32]

MAX_FRAGMENTATION = 1.5


class How(StrEnum):
    """How a capture treated a file. It stands in the file's manifest line."""

    WHOLE = "whole"  # all of it was read, nothing was taken from the base
    PAGES = "pages"  # only the pages named by WAL summaries were read
    SCAN = "scan"  # all pages were read, and pages with a newer LSN were stored
    SAME = "same"  # all of it was read, but bytes already in the base were not stored again
    KEPT = "kept"  # nothing was read: the base's map is named again


@dataclass(frozen=True)
class Changed:
    """The changes to a relation's main fork since the base began, from WAL summaries.

    `limit` is the smallest length, in blocks, that it was truncated to or created with. `None` if it was neither.
    `blocks` are the listed blocks, ascending, numbered within the whole relation.
    """

    limit: int | None
    blocks: Blocks


def no_blocks() -> Blocks:
    return np.empty(0, np.uint32)


@dataclass(frozen=True)
class InBase:
    """A relation file in the base: its length in pages, and `held`, the most pages of it that its frames can hold.

    `lost` are the pages, ascending, that are known to be damaged in the repository.
    """

    pages: int
    held: int
    lost: Blocks = field(default_factory=no_blocks)


@dataclass(frozen=True)
class Choice:
    """The choice for one file. `read` lists the pages to read, ascending. `why` is for people."""

    how: How
    read: Blocks
    why: str = ""


def whole(pages: int, why: str) -> Choice:
    return Choice(How.WHOLE, np.arange(pages, dtype=np.uint32), why)


def by_summaries(pages: int, first_block: int, base: InBase | None, changed: Changed | None) -> Choice:
    """Choose by WAL summaries for a file of `pages` pages. Its first page is block `first_block` of its relation.

    If `changed` is `None`, no summary mentions the relation.
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
    if len(base.lost):
        listed = np.union1d(listed, base.lost[base.lost < safe])
    read = np.concatenate([listed, np.arange(safe, pages, dtype=np.uint32)])
    if not len(read) and pages == base.pages:
        return Choice(How.KEPT, read)
    if base.held + len(read) > MAX_FRAGMENTATION * pages:
        return whole(pages, "fragmented" if safe else "made anew")
    return Choice(How.PAGES, read.astype(np.uint32))


def by_scan(pages: int, base: InBase | None) -> Choice:
    """Choose to read all pages. `is_unmoved` then tells which of them are the base's."""
    if base is None:
        return whole(pages, "not in the base")
    if base.held > MAX_FRAGMENTATION * pages:
        return whole(pages, "fragmented")
    return Choice(How.SCAN, np.arange(pages, dtype=np.uint32))


def by_reading(pages: int, base: InBase) -> Choice:
    """Choose to read all pages. A comparison with the base's bytes then tells which of them are not stored again."""
    if base.held > MAX_FRAGMENTATION * pages:
        return whole(pages, "fragmented")
    return Choice(How.SAME, np.arange(pages, dtype=np.uint32))


def is_unmoved(
    lsns: NDArray[np.uint64], pages: Blocks, base_pages: int, base_start: int, lost: Blocks
) -> NDArray[np.bool_]:
    """Tell which pages read in a scan are unchanged in the base. LSN 0 proves nothing, because of bulk extension."""
    found: NDArray[np.bool_] = (lsns != 0) & (lsns < np.uint64(base_start)) & (pages < base_pages)
    return found & ~np.isin(pages, lost) if len(lost) else found
