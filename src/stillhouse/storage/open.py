"""Which store a URL or path means, and whether it keeps its promises."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from stillhouse.clock import Clock, SystemClock
from stillhouse.errors import InvalidInput
from stillhouse.storage.local import LocalStore
from stillhouse.storage.objects import S3Access, memory_store, s3_store
from stillhouse.storage.patience import PatientStore
from stillhouse.storage.store import ObjectStore, check_key

_CREATORS = 16
_ROUNDS = 5  # a store that checks first and writes then has one winner now and then by luck


def open_store(
    url_or_path: str | Path, *, s3: S3Access | None = None, clock: Clock | None = None
) -> ObjectStore:
    """`s3://bucket/prefix`, `memory://` (for tests) or a local directory, which is made when missing."""
    text = str(url_or_path)
    if "://" not in text:
        if not text:
            raise InvalidInput("no object store given")
        return LocalStore(Path(text), clock or SystemClock())
    url = urlsplit(text)
    if text == "memory://":
        return memory_store()
    if url.scheme != "s3":
        raise InvalidInput(f"not an object store: {text}", hint="give a directory or s3://bucket/prefix")
    prefix = url.path.strip("/")
    if not url.netloc or url.query or url.fragment:
        raise InvalidInput(f"not an S3 location: {text}", hint="give s3://bucket/prefix")
    access = s3 or S3Access()
    bucket = s3_store(url.netloc, check_key(prefix) if prefix else "", access)
    return PatientStore(bucket, access.retry_for, clock or SystemClock())


def probe(store: ObjectStore) -> None:
    """Prove what snapshots rest on: one winner of a conditional create, read after write, ranges.

    Some services ignore the condition of a conditional create, and some (OpenStack Swift's object server)
    check it before they write but not while they do: several writers are told that they have won.
    """
    for _ in range(_ROUNDS):
        key = f"probe/{secrets.token_hex(16)}"
        try:
            _prove_one_winner(store, key)
            _prove_reading(store, key)
        finally:
            store.delete(key)


def _prove_one_winner(store: ObjectStore, key: str) -> None:
    start = threading.Barrier(_CREATORS)

    def create(content: bytes) -> bool:
        start.wait()
        return store.create(key, [content])

    contents = [secrets.token_bytes(64) for _ in range(_CREATORS)]
    with ThreadPoolExecutor(_CREATORS) as creators:
        answers = list(creators.map(create, contents))
    winners = [content for content, won in zip(contents, answers, strict=True) if won]
    if len(winners) != 1:
        raise _unfit(f"{len(winners)} of {_CREATORS} concurrent writers won one conditional create")
    if store.get(key) != winners[0]:
        raise _unfit("a conditional create answered that it won, but other bytes are stored")
    if store.create(key, [b"too late"]):
        raise _unfit("a conditional create replaced an object")


def _prove_reading(store: ObjectStore, key: str) -> None:
    content = secrets.token_bytes(64 * 1024)
    store.put(key, [content])
    if store.get(key) != content or store.size(key) != len(content):
        raise _unfit("a read after a write did not return what was written")
    if store.get_range(key, 1000, 500) != content[1000:1500]:
        raise _unfit("a read of a range returned other bytes")


def _unfit(what: str) -> InvalidInput:
    return InvalidInput(
        f"this object store cannot hold snapshots: {what}",
        hint="use a store that honours 'If-None-Match: *', 'Range' and read-after-write",
    )
