"""Numbers for ids: a table of 16-byte ids, each with an ordinal, and runs of ordinals; both in little memory."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.bytes_]
"""16 bytes each (numpy's `S16`). They all have one length, so zeros at their end do no harm."""

Runs = NDArray[np.uint32]
"""Ascending ordinals without a repetition, as rows of (first, count)."""

_ID = 16
_WAITING = 16384  # ids in a dict, of 200 bytes each, before they are merged into the sorted ones


class IdTable:
    """Gives each id an ordinal, in the order in which they come. Takes 36 bytes for each."""

    def __init__(self) -> None:
        self._by_ordinal = bytearray()
        self._sorted = np.empty(0, "S16")
        self._ordinals = np.empty(0, np.uint32)  # of the sorted ids
        self._waiting: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._by_ordinal) // _ID

    def ordinals(self, ids: Ids) -> NDArray[np.uint32]:
        """The ordinal of each id. New ids are added."""
        parts = [self._add(ids[at : at + _WAITING]) for at in range(0, len(ids), _WAITING)]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint32)

    def _add(self, ids: Ids) -> NDArray[np.uint32]:
        found, is_known = self._look(ids)
        for at in np.flatnonzero(~is_known).tolist():
            one = ids[at : at + 1].tobytes()
            ordinal = self._waiting.get(one)
            if ordinal is None:
                ordinal = self._waiting[one] = len(self)
                self._by_ordinal += one
            found[at] = ordinal
        if len(self._waiting) > max(_WAITING, len(self) // 64):
            self._merge()
        return found

    def find(self, one: bytes) -> int | None:
        """The ordinal of an id; `None` if it is not in the table."""
        if self._waiting:
            self._merge()
        at = int(np.searchsorted(self._sorted, np.frombuffer(one, "S16"))[0])
        if at < len(self._sorted) and self._sorted[at : at + 1].tobytes() == one:
            return int(self._ordinals[at])
        return None

    def ids(self, ordinals: NDArray[np.uint32]) -> Ids:
        """The ids with these ordinals."""
        found: Ids = np.frombuffer(bytes(self._by_ordinal), "S16")[ordinals]
        return found

    def _look(self, ids: Ids) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        found = np.zeros(len(ids), np.uint32)
        if not len(self._sorted):
            return found, np.zeros(len(ids), np.bool_)
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        is_known: NDArray[np.bool_] = self._sorted[at] == ids
        found[is_known] = self._ordinals[at[is_known]]
        return found, is_known

    def _merge(self) -> None:
        new = np.frombuffer(b"".join(self._waiting), "S16")
        ordinals = np.fromiter(self._waiting.values(), np.uint32)
        order = np.argsort(new)
        at = np.searchsorted(self._sorted, new[order])
        self._sorted = np.insert(self._sorted, at, new[order])
        self._ordinals = np.insert(self._ordinals, at, ordinals[order])
        self._waiting.clear()


def ids_of(hexes: list[str]) -> Ids:
    return np.frombuffer(bytes.fromhex("".join(hexes)), "S16")


def runs_of(ordinals: NDArray[np.integer]) -> Runs:
    """The runs of some ordinals, in any order."""
    distinct = np.unique(ordinals)
    starts = np.flatnonzero(np.diff(distinct, prepend=-2) != 1) if len(distinct) else np.empty(0, np.intp)
    counts = np.diff(np.append(starts, len(distinct)))
    runs: Runs = np.stack([distinct[starts], counts], axis=1).astype(np.uint32)
    return runs


def expand(runs: Runs) -> NDArray[np.uint32]:
    """The ordinals of some runs."""
    counts = runs[:, 1].astype(np.int64)
    before = np.cumsum(counts) - counts
    ordinals = np.arange(int(counts.sum())) + np.repeat(runs[:, 0].astype(np.int64) - before, counts)
    found: NDArray[np.uint32] = ordinals.astype(np.uint32)
    return found
