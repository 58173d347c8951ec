"""A store over which a program dies: at its n-th call, before or after the call has done its work."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stillhouse.storage.store import Chunk, ObjectStore, StoredObject


class Killed(BaseException):
    """No `except` of the program's may catch it, as none catches kill -9."""


class Crashing:
    """Dies at call number `at` (from 0); `after` says whether that call has its effect yet."""

    def __init__(self, store: ObjectStore, at: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, at, after

    def _call(self, work: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left >= 0:
            return work()
        if self._left == -1 and self._after:
            work()
        raise Killed  # and so does every call that another thread makes from now on

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._call(lambda: self._store.put(key, chunks))

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        return bool(self._call(lambda: self._store.create(key, chunks)))

    def get(self, key: str) -> bytes:
        found: bytes = self._call(lambda: self._store.get(key))
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        found: bytes = self._call(lambda: self._store.get_range(key, start, length))
        return found

    def size(self, key: str) -> int | None:
        found: int | None = self._call(lambda: self._store.size(key))
        return found

    def stat(self, key: str) -> StoredObject | None:
        found: StoredObject | None = self._call(lambda: self._store.stat(key))
        return found

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return iter(self._call(lambda: [*self._store.list(prefix)]))

    def delete(self, key: str) -> None:
        self._call(lambda: self._store.delete(key))
