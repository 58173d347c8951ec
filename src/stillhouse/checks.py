"""Looks at several things at once, each in a thread of its own: one that hangs does not hold up the others."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

Look = Callable[[], list[str]]
"""Returns what is wrong, in words; an empty list if nothing is."""


@dataclass
class _Looking:
    thread: threading.Thread
    found: list[str] = field(default_factory=lambda: ["the look itself failed: the service's log tells why"])


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
            one.thread.join(max(0.0, latest - monotonic()))
            silent = [f"no answer within {patience_seconds:g} s"]
            found[name] = silent if one.thread.is_alive() else one.found
        return found

    def _begin(self, name: str, look: Look) -> _Looking:
        with self._lock:
            before = self._looking.get(name)
            if before is not None and before.thread.is_alive():
                return before
            begun = _Looking(threading.Thread(name=f"check of {name}", daemon=True))

            def work() -> None:
                begun.found = look()

            begun.thread = threading.Thread(target=work, name=f"check of {name}", daemon=True)
            self._looking[name] = begun
            begun.thread.start()
            return begun
