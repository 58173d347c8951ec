"""Values read from the catalog, remembered until somebody commits a change to it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 1000


class Remembered(Generic[T]):
    """Used from many threads. Values must be immutable."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._values: dict[str, T] = {}
        self._guard = threading.Lock()

    def find(self, version: int | None, key: str, read: Callable[[], T | None]) -> T | None:
        """Return the value, which is read unless it was read before at this version of the catalog.

        The version must have been asked before the call: then a value read is at least as new as its version. `None`
        as a version, and as a value, is not remembered.
        """
        with self._guard:
            if version is not None and version == self._version and key in self._values:
                return self._values[key]
        value = read()
        if version is not None and value is not None:
            self._keep(version, key, value)
        return value

    def _keep(self, version: int, key: str, value: T) -> None:
        with self._guard:
            if version != self._version or len(self._values) >= _MOST:
                self._values.clear()
            self._version = version
            self._values[key] = value
