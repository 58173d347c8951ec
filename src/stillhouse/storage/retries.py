"""Waiting for an object store that is away: how long, and how often it is asked again."""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from stillhouse.clock import Clock
from stillhouse.errors import StillhouseError
from stillhouse.storage.store import Chunk, ObjectStore, StoredObject

Answer = TypeVar("Answer")

# Pauses double from the first to the longest, each drawn anew so that many writers do not come back at one moment.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


class Wait:
    """The failures of one call. Time decides how long it is tried again, counted from the first failure."""

    def __init__(self, lasting: timedelta, clock: Clock) -> None:
        self._lasting, self._clock = lasting.total_seconds(), clock
        self._end: float | None = None
        self._pause = _FIRST_PAUSE

    def after(self, error: StillhouseError) -> None:
        """Pause before the next try. Raises the error itself when trying again does not help, or the time is over."""
        now = self._clock.monotonic()
        if self._end is None:
            self._end = now + self._lasting
        if not error.retryable or now >= self._end:
            raise error
        pause = random.uniform(self._pause / 2, self._pause)  # noqa: S311
        # A store that wants to rest for longer than the time that is left is asked once more at its end.
        self._clock.sleep(min(error.retry_after + pause, self._end - now))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


class PatientStore:
    """A store that tries each call again for a while when the inner store is away, busy or cut short."""

    def __init__(self, store: ObjectStore, lasting: timedelta, clock: Clock) -> None:
        self._store, self._lasting, self._clock = store, lasting, clock

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._persist(lambda: self._store.put(key, chunks))

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        """Create the object. A lost reply does no harm: the next try finds these very bytes, and so has won."""
        return self._persist(lambda: self._store.create(key, chunks))

    def get(self, key: str) -> bytes:
        return self._persist(lambda: self._store.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._persist(lambda: self._store.get_range(key, start, length))

    def size(self, key: str) -> int | None:
        return self._persist(lambda: self._store.size(key))

    def stat(self, key: str) -> StoredObject | None:
        return self._persist(lambda: self._store.stat(key))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """List objects, each once. A listing that breaks off begins anew, since stores need not list in order."""
        given: set[str] = set()
        wait, given_before = self._wait(), 0
        while True:
            try:
                for found in self._store.list(prefix):
                    if found.key not in given:
                        given.add(found.key)
                        yield found
                return
            except StillhouseError as error:
                if len(given) > given_before:
                    wait, given_before = self._wait(), len(given)
                wait.after(error)

    def delete(self, key: str) -> None:
        self._persist(lambda: self._store.delete(key))

    def _wait(self) -> Wait:
        return Wait(self._lasting, self._clock)

    def _persist(self, call: Callable[[], Answer]) -> Answer:
        wait = self._wait()
        while True:
            try:
                return call()
            except StillhouseError as error:
                wait.after(error)
