"""How often each kind of refusal was met within the hour. In memory, and bounded."""

import threading
from collections import Counter, defaultdict

_KINDS = 1000
_HOUR_SECONDS = 3600.0
_OTHERS = ("others",)


class Tally:
    """Times are monotonic seconds. Used from many threads.

    Each outcome has its thousand kinds: strangers must not crowd out what is refused to those who are known.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._hour_ends = 0.0
        self._guard = threading.Lock()

    def count(self, outcome: str, kind: tuple[str, ...], now: float) -> tuple[int, bool]:
        """How many of this outcome and kind there are now, and whether this one begins an hour."""
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
