"""The time of the object store's own clock, which is never compared with ours."""

import secrets
from datetime import datetime, timedelta

from stillhouse.clock import Clock
from stillhouse.errors import StoreUnavailable
from stillhouse.storage.store import ObjectStore

_FOLDER = "probe"
_LEFTOVER_AGE = timedelta(days=1)
_LOOKS, _PAUSE_SECONDS = 10, 1.0


def store_time(store: ObjectStore, clock: Clock) -> datetime:
    """Return the time that the store gives to an object stored now; `clock` only paces the looks at it.

    Raises StoreUnavailable if the store does not list the new object: some stores list late.
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
    raise StoreUnavailable(
        "the object store does not list an object that it has stored", hint="try again later"
    )


def _remove_leftovers(store: ObjectStore, found: dict[str, datetime], before: datetime) -> None:
    """Remove probe objects that a killed process left."""
    for key, modified in found.items():
        if modified < before:
            store.delete(key)
