"""Lock-out: after six failures in a row, every attempt is refused for five minutes.

The lock holds for a name at one address, so that a stranger who fails on purpose does not shut out the
holder elsewhere. Failures during a lock do not prolong it. Unknown names are locked like any other,
because a lock would otherwise tell which names exist.

Here they are kept in memory. A restart forgets all locks: a stranger cannot cause a restart, and the few
tries that it gives are too few to guess a secret. `control/replicas/shared_lockouts.py` keeps those of replicas.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from stillhouse.clock import Clock

TRIES = 6
SECONDS = 300.0
REMEMBERED = 10_000

Subject = tuple[str, ...]


class Lockouts(Protocol):
    """Used from many threads."""

    def is_locked(self, subject: Subject, clock: Clock) -> bool: ...

    def failed(self, subject: Subject, clock: Clock) -> None: ...

    def succeeded(self, subject: Subject) -> None: ...


@dataclass
class _Failures:
    count: int
    last: float
    locked_until: float = 0.0


class LockoutsInMemory:
    """Those of one process."""

    def __init__(self) -> None:
        self._failures: OrderedDict[bytes, _Failures] = OrderedDict()
        self._guard = threading.Lock()

    def is_locked(self, subject: Subject, clock: Clock) -> bool:
        if not self._failures:
            return False
        now = clock.monotonic()
        with self._guard:
            failures = self._failures.get(digest(subject))
            return failures is not None and now < failures.locked_until

    def failed(self, subject: Subject, clock: Clock) -> None:
        key, now = digest(subject), clock.monotonic()
        with self._guard:
            failures = self._failures.get(key)
            if failures is None or now - failures.last > SECONDS:
                failures = self._failures[key] = _Failures(0, now)
            self._failures.move_to_end(key)
            failures.count, failures.last = failures.count + 1, now
            if failures.count >= TRIES:
                failures.count, failures.locked_until = 0, now + SECONDS
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, subject: Subject) -> None:
        if not self._failures:
            return
        with self._guard:
            self._failures.pop(digest(subject), None)


def digest(subject: Subject) -> bytes:
    """Return a short stand-in for the subject, which may hold a stranger's words of any length."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in subject:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "big") + encoded)
    return hashed.digest()
