"""What time it is by the object store's own clock: ours is never compared with it."""

import secrets
from datetime import datetime

from stillhouse.clock import Clock
from stillhouse.errors import StoreUnavailable
from stillhouse.storage.store import ObjectStore

_LOOKS, _PAUSE_SECONDS = 10, 1.0


def store_time(store: ObjectStore, clock: Clock) -> datetime:
    """The time that the store gives to an object stored now; `clock` only paces the looks at it.

    Raises StoreUnavailable when it does not list what it has just stored: some stores list late.
    """
    key = f"probe/{secrets.token_hex(16)}"
    store.put(key, [b"what time is it?"])
    try:
        for look in range(_LOOKS):
            clock.sleep(_PAUSE_SECONDS if look else 0)
            for found in store.list("probe"):
                if found.key == key:
                    return found.modified
    finally:
        store.delete(key)
    raise StoreUnavailable("the object store does not list what it has stored", hint="try again later")
