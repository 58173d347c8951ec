"""How often each kind of refusal was met within the hour. In memory, and bounded."""

import threading
from collections import Counter

_KINDS = 1000
_HOUR_SECONDS = 3600.0
_OTHERS = ("", "", "", "others")


class Tally:
    """Times are monotonic seconds. Used from many threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._hour_ends = 0.0
        self._guard = threading.Lock()

    def count(self, kind: tuple[str, ...], now: float) -> tuple[int, bool]:
        """How many of this kind there are now, and whether this one begins an hour."""
        with self._guard:
            begins = now >= self._hour_ends
            if begins:
                self._counts.clear()
                self._hour_ends = now + _HOUR_SECONDS
            if kind not in self._counts and len(self._counts) >= _KINDS:
                kind = _OTHERS
            self._counts[kind] += 1
            return self._counts[kind], begins
