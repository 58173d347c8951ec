"""One service per data directory: a lock that the kernel drops when the process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillhouse.errors import DataDirectoryInUse


@contextmanager
def lock_data_directory(data: Path) -> Iterator[None]:
    """Hold the directory, or raise DataDirectoryInUse at once.

    Two services over one directory would both carry out the same flows. The lock file stays behind:
    removing it would let a third process lock a new file while the second waits on the old one.
    """
    path = data / "lock"
    # Close-on-exec (Python's default) keeps the PostgreSQL servers, which outlive us, from inheriting it.
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise DataDirectoryInUse(
                f"process {owner} already serves {data}", hint="stop it first"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
