"""What time it is by the object store's own clock: ours is never compared with it."""

import secrets
from datetime import datetime, timedelta

from stillhouse.clock import Clock
from stillhouse.errors import StoreUnavailable
from stillhouse.storage.store import ObjectStore

_FOLDER = "probe"
_LEFTOVER_AGE = timedelta(days=1)
_LOOKS, _PAUSE_SECONDS = 10, 1.0


def store_time(store: ObjectStore, clock: Clock) -> datetime:
    """The time that the store gives to an object stored now; `clock` only paces the looks at it.

    Raises StoreUnavailable when it does not list what it has just stored: some stores list late.
    """
    key = f"{_FOLDER}/{secrets.token_hex(16)}"
    store.put(key, [b"what time is it?"])
    try:
        for look in range(_LOOKS):
            clock.sleep(_PAUSE_SECONDS if look else 0)
            found = {one.key: one.modified for one in store.list(_FOLDER)}
            if key in found:
                _remove_leftovers(store, found, found[key] - _LEFTOVER_AGE)
                return found[key]
    finally:
        store.delete(key)
    raise StoreUnavailable("the object store does not list what it has stored", hint="try again later")


def _remove_leftovers(store: ObjectStore, found: dict[str, datetime], before: datetime) -> None:
    """What was stored to learn something, by somebody who was killed before it was removed."""
    for key, modified in found.items():
        if modified < before:
            store.delete(key)
