"""Finds named objects in the store, at a cost that follows their number and not the length of the history."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from stillhouse.storage.store import ObjectStore, StoredObject

_AT_ONCE = 16
# A page of a listing costs a store about as much as this many questions, and takes as long as 16 asked at once.
_WORTH = 16
_PAGE = 1000  # objects in a page of S3's ListObjectsV2, at most

Present = dict[str, StoredObject]
"""The objects that were found, by key."""


def find(store: ObjectStore, keys: Iterable[str]) -> Present:
    """Find the objects at these keys. Keys without an object are left out.

    A folder is listed as long as each page shows more of the wanted objects than the page costs. The others are asked
    for one by one, 16 at once. Ids are random, so the first page tells how dense the wanted ones are.
    """
    folders: dict[str, set[str]] = {}
    for key in keys:
        folders.setdefault(key.rpartition("/")[0], set()).add(key)
    found: Present = {}
    lacking: list[str] = []
    for folder, wanted in sorted(folders.items()):
        if len(wanted) > _WORTH:
            found |= _listed(store, folder, wanted)
        lacking += sorted(wanted - found.keys())
    return found | ask(store, lacking)


def ask(store: ObjectStore, keys: Iterable[str]) -> Present:
    """Ask for each object by itself."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {stored.key: stored for stored in pool.map(store.stat, keys) if stored is not None}


def _listed(store: ObjectStore, folder: str, wanted: set[str]) -> Present:
    found: Present = {}
    before = 0
    for number, stored in enumerate(store.list(folder), 1):
        if stored.key in wanted:
            found[stored.key] = stored
        if len(found) == len(wanted):
            break
        if number % _PAGE == 0:
            if len(found) - before < _WORTH:
                break
            before = len(found)
    return found
