"""Opens the object store that a URL or path names."""

from datetime import timedelta
from pathlib import Path

from stillhouse.clock import Clock, SystemClock
from stillhouse.errors import InvalidInput
from stillhouse.storage.local import LocalStore
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.retries import PatientStore
from stillhouse.storage.s3 import S3Access, s3_store
from stillhouse.storage.s3_place import place_of
from stillhouse.storage.store import ObjectStore

# Longer than the restart of a store takes.
RETRY_FOR = timedelta(seconds=120)
# For callers who wait: `/readyz` tells reasons that are known within five seconds.
SHORTLY = timedelta(seconds=1)


def is_directory(location: str) -> bool:
    """Tell a directory from a URL."""
    return "://" not in location


def open_store(
    url_or_path: str | Path,
    *,
    s3: S3Access | None = None,
    clock: Clock | None = None,
    retry_for: timedelta = RETRY_FOR,
) -> ObjectStore:
    """Open `s3://bucket/prefix`, `memory://` (for tests) or a local directory, which is made when missing.

    A call to S3 that fails is tried again until `retry_for` has passed since its first failure.
    """
    text = str(url_or_path)
    if is_directory(text):
        if not text:
            raise InvalidInput("no object store given")
        return LocalStore(Path(text), clock or SystemClock())
    if text == "memory://":
        return memory_store()
    if not text.startswith("s3://"):
        raise InvalidInput(f"not an object store: {text}", hint="give a directory or s3://bucket/prefix")
    bucket = s3_store(place_of(text), s3 or S3Access(), stalled=retry_for)
    return PatientStore(bucket, retry_for, clock or SystemClock())
