"""A store that counts what is asked of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stillhouse.storage.store import Chunk, ObjectStore, StoredObject

PAGE = 1000


@dataclass
class Counting:
    """A store that counts its calls; of a long listing, also the pages of 1,000 objects after its first."""

    store: ObjectStore
    calls: Counter[str] = field(default_factory=Counter)

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self.calls["put"] += 1
        self.store.put(key, chunks)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self.calls["create"] += 1
        return self.store.create(key, chunks)

    def get(self, key: str) -> bytes:
        self.calls["get"] += 1
        return self.store.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self.calls["get_range"] += 1
        return self.store.get_range(key, start, length)

    def size(self, key: str) -> int | None:
        self.calls["size"] += 1
        return self.store.size(key)

    def stat(self, key: str) -> StoredObject | None:
        self.calls["stat"] += 1
        return self.store.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self.calls["list"] += 1
        for number, found in enumerate(self.store.list(prefix)):
            if number and number % PAGE == 0:
                self.calls["further pages"] += 1
            yield found

    def delete(self, key: str) -> None:
        self.calls["delete"] += 1
        self.store.delete(key)
