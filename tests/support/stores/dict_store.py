"""An object store in a dict, with times set by hand: cheap to copy, so that each damage has a store of its own."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.storage.store import Chunk, StoredObject, check_folder, check_key, check_range

START = datetime(2026, 3, 1, tzinfo=UTC)


class DictStore:
    """`now` is the store's clock: what is written is of that time."""

    def __init__(
        self, objects: dict[str, tuple[bytes, datetime]] | None = None, now: datetime = START
    ) -> None:
        self.objects = {} if objects is None else objects
        self.now = now
        self.gets: list[str] = []

    def fork(self) -> "DictStore":
        """Another store of the same objects; what is written to one is not in the other."""
        return DictStore(dict(self.objects), self.now)

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self.objects[check_key(key)] = b"".join(bytes(chunk) for chunk in chunks), self.now

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        if key in self.objects:
            return self.get(key) == b"".join(bytes(chunk) for chunk in chunks)
        self.put(key, chunks)
        return True

    def get(self, key: str) -> bytes:
        self.gets.append(key)
        try:
            return self.objects[key][0]
        except KeyError:
            raise ObjectMissing(f"no object {key} in the dict", key=key) from None

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(start, length)
        found = self.get(key)[start : start + length]
        if len(found) != length:
            raise RepositoryDamaged(f"{key} ends before byte {start + length}", key=key)
        return found

    def size(self, key: str) -> int | None:
        return len(self.objects[key][0]) if key in self.objects else None

    def stat(self, key: str) -> StoredObject | None:
        found = self.objects.get(key)
        return None if found is None else StoredObject(key, len(found[0]), found[1])

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folder = check_folder(prefix)
        for key, (content, modified) in list(self.objects.items()):
            if not folder or key.startswith(f"{folder}/"):
                yield StoredObject(key, len(content), modified)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)
