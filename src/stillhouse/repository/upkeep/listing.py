"""The listing of a cluster's objects, held in little memory: 33 bytes for each pack, map and manifest."""

from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import overload

from stillhouse.domain.collection import Listed, kind_of
from stillhouse.domain.object_kinds import CONTENT
from stillhouse.storage.store import StoredObject

_FOLDERS = sorted(CONTENT)
_OTHER = len(_FOLDERS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_ID = 16


class Listing(Sequence[Listed]):
    """All objects in the order in which the store listed them."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kinds = bytearray()
        self._ids = bytearray()
        self._sizes = array("Q")  # of objects of other kinds, where they stand in `_others`
        self._times = array("q")
        self._others: list[Listed] = []

    def add(self, one: StoredObject) -> None:
        key = one.key.removeprefix(self._folder)
        kind = kind_of(key)
        if kind in CONTENT:
            self._kinds.append(_FOLDERS.index(kind))
            self._ids += bytes.fromhex(key.rpartition("/")[2])
            self._sizes.append(one.size)
            self._times.append((one.modified - _EPOCH) // _TICK)
            return
        self._kinds.append(_OTHER)
        self._ids += bytes(_ID)
        self._sizes.append(len(self._others))
        self._times.append(0)
        self._others.append(Listed(key, one.size, one.modified))

    def of(self, folder: str) -> Iterator[Listed]:
        """The objects of one kind."""
        if folder not in CONTENT:
            return (one for one in self._others if kind_of(one.key) == folder)
        number = _FOLDERS.index(folder)
        return (self[at] for at, kind in enumerate(self._kinds) if kind == number)

    def __len__(self) -> int:
        return len(self._kinds)

    @overload
    def __getitem__(self, at: int) -> Listed: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Listed]: ...
    def __getitem__(self, at: int | slice) -> Listed | Sequence[Listed]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        if self._kinds[at] == _OTHER:
            return self._others[self._sizes[at]]
        name = self._ids[_ID * at : _ID * at + _ID].hex()
        modified = _EPOCH + _TICK * self._times[at]
        return Listed(f"{_FOLDERS[self._kinds[at]]}/{name}", self._sizes[at], modified)
