"""Looks at several things at once, each in a thread of its own: one that hangs does not hold up the others."""

import threading
from collections.abc import Callable, Mapping
from time import monotonic

Look = Callable[[], list[str]]
"""Returns what is wrong, in words; an empty list if nothing is."""


class _Looking(threading.Thread):
    def __init__(self, name: str, look: Look) -> None:
        super().__init__(name=f"check of {name}", daemon=True)
        self._look = look
        self.found = ["the look itself failed: the service's log tells why"]

    def run(self) -> None:
        self.found = self._look()


class Checks:
    """For any thread. While a look hangs, no second one of its name is begun."""

    def __init__(self) -> None:
        self._looking: dict[str, _Looking] = {}
        self._lock = threading.Lock()

    def look(self, looks: Mapping[str, Look], patience_seconds: float) -> dict[str, list[str]]:
        """Return the result of each look; one that takes longer than `patience_seconds` is told as silent."""
        latest = monotonic() + patience_seconds
        looking = {name: self._begin(name, look) for name, look in looks.items()}
        found: dict[str, list[str]] = {}
        for name, one in looking.items():
            one.join(max(0.0, latest - monotonic()))
            silent = [f"no answer within {patience_seconds:g} s"]
            found[name] = silent if one.is_alive() else one.found
        return found

    def _begin(self, name: str, look: Look) -> _Looking:
        with self._lock:
            before = self._looking.get(name)
            if before is not None and before.is_alive():
                return before
            begun = self._looking[name] = _Looking(name, look)
            begun.start()
            return begun
