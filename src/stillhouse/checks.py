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

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._looking: dict[str, _Looking] = {}
        self._well_since: dict[str, float] = {}
        self._lock = threading.Lock()

    def look(
        self, looks: Mapping[str, Look], patience_seconds: float, good_for: Mapping[str, float] | None = None
    ) -> dict[str, list[str]]:
        """Return the result of each look; one that takes longer than `patience_seconds` is told as silent.

        A look that found nothing wrong is not repeated for the seconds that `good_for` has for it; one that found
        something is.
        """
        latest = monotonic() + patience_seconds
        due = [name for name in looks if not self._is_well(name, (good_for or {}).get(name, 0.0))]
        looking = {name: self._begin(name, looks[name]) for name in due}
        found: dict[str, list[str]] = {name: [] for name in looks}
        for name, one in looking.items():
            one.join(max(0.0, latest - monotonic()))
            silent = [f"no answer within {patience_seconds:g} s"]
            found[name] = silent if one.is_alive() else one.found
            self._note(name, is_well=not found[name])
        return found

    def _is_well(self, name: str, for_seconds: float) -> bool:
        with self._lock:
            since = self._well_since.get(name)
            return since is not None and self._now() - since < for_seconds

    def _note(self, name: str, *, is_well: bool) -> None:
        with self._lock:
            if is_well:
                self._well_since[name] = self._now()
            else:
                self._well_since.pop(name, None)

    def _begin(self, name: str, look: Look) -> _Looking:
        with self._lock:
            before = self._looking.get(name)
            if before is not None and before.is_alive():
                return before
            begun = self._looking[name] = _Looking(name, look)
            begun.start()
            return begun
