"""An object store of a test's own: a clock that the test turns, listings that lag, a death at any call."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from stillhouse.errors import ObjectMissing
from stillhouse.storage.store import Chunk, StoredObject


class Died(BaseException):
    """The process that used the store was killed; not an Exception, so that nobody handles it."""


@dataclass
class _Change:
    """What listings show of a key from `since` on: an object's size and time, or None."""

    since: datetime
    shown: tuple[int, datetime] | None


@dataclass
class LateStore:
    """`lags` says how long the next changes stay out of listings, by the first folder below the cluster.

    `skew` bounds by how much the times of objects differ from the store's clock. `calls_left`: how many more calls
    the process makes before it dies, None for ever. `meanwhile`: what others do before a call of this number.
    """

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    lags: dict[str, timedelta] = field(default_factory=dict)
    skew: timedelta = timedelta()
    draws: random.Random = field(default_factory=lambda: random.Random(0))
    calls_left: int | None = None
    calls: int = 0
    meanwhile: dict[int, Callable[[], None]] = field(default_factory=dict)
    writes: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    _stored: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    _history: dict[str, list[_Change]] = field(default_factory=dict)

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._call()
        self._store(key, chunks)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._call()
        if key in self.objects:
            return self.objects[key] == b"".join(chunks)
        self._store(key, chunks)
        return True

    def get(self, key: str) -> bytes:
        self._call()
        if key not in self.objects:
            raise ObjectMissing(f"no object {key}")
        return self.objects[key]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.get(key)[start : start + length]

    def size(self, key: str) -> int | None:
        self._call()
        found = self.objects.get(key)
        return None if found is None else len(found)

    def stat(self, key: str) -> StoredObject | None:
        self._call()
        return None if key not in self.objects else StoredObject(key, *self._stored[key])

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._call()
        folder = prefix.rstrip("/") + "/"
        for key in sorted(self._history):
            if key.startswith(folder):
                visible = [change for change in self._history[key] if change.since <= self.now]
                if visible and (shown := visible[-1].shown) is not None:
                    yield StoredObject(key, *shown)

    def delete(self, key: str) -> None:
        self._call()
        self.writes += not key.startswith("probe/")
        if self.objects.pop(key, None) is not None:
            self._change(key, None)

    def settle(self) -> None:
        """From now on listings tell the truth."""
        self.lags.clear()
        for key, changes in self._history.items():
            changes[:] = [_Change(self.now, changes[-1].shown)] if key in self.objects else []

    def _store(self, key: str, chunks: Sequence[Chunk]) -> None:
        self.writes += not key.startswith("probe/")
        self.objects[key] = b"".join(chunks)
        off = self.skew * self.draws.uniform(-1, 1)
        self._stored[key] = len(self.objects[key]), self.now + off
        self._change(key, self._stored[key])

    def _change(self, key: str, shown: tuple[int, datetime] | None) -> None:
        parts = key.split("/")
        lag = self.lags.get(parts[2], timedelta()) if parts[0] == "c" else timedelta()
        since = self.now + lag * self.draws.random()
        history = self._history.setdefault(key, [])
        # A later change is never seen before an earlier one.
        history.append(_Change(max([since, *(change.since for change in history)]), shown))

    def _call(self) -> None:
        self.calls += 1
        if (others := self.meanwhile.pop(self.calls, None)) is not None:
            waiting, self.meanwhile = self.meanwhile, {}
            others()
            self.meanwhile = waiting
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise Died
            self.calls_left -= 1
