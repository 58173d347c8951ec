"""Counts of each kind of refusal within the hour. Kept in memory, and bounded."""

import threading
from collections import Counter, defaultdict

_KINDS = 1000
_HOUR_SECONDS = 3600.0
_OTHERS = ("others",)


class Tally:
    """Times are monotonic seconds. Used from many threads.

    Each outcome has its own thousand kinds, so that strangers' refusals do not crowd out those of known callers.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._hour_ends = 0.0
        self._guard = threading.Lock()

    def count(self, outcome: str, kind: tuple[str, ...], now: float) -> tuple[int, bool]:
        """Count one refusal. Returns the number of this outcome and kind now, and whether this one begins an hour."""
        with self._guard:
            begins = now >= self._hour_ends
            if begins:
                self._counts.clear()
                self._hour_ends = now + _HOUR_SECONDS
            counts = self._counts[outcome]
            if kind not in counts and len(counts) >= _KINDS:
                kind = _OTHERS
            counts[kind] += 1
            return counts[kind], begins
