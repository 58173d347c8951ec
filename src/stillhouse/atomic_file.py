"""Files that appear whole or not at all, and are on the disk on return."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write the file, mode 0600, in place of one that may be there. One process at a time may write a file."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write(fresh, content)
    fresh.rename(path)
    sync_directory(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Write the file, mode 0600, unless there is one; False when there is. Several processes may try at once."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(draft, content)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
            return True
        return False
    finally:
        draft.unlink(missing_ok=True)
        # Also for the loser of a race: the winner's file must be durable before the loser relies on it.
        sync_directory(path.parent)


def drawn_once(path: Path, draw: Callable[[], str]) -> str:
    """Return the text in the file; the first call draws it."""
    if not path.exists():
        replace(path, draw().encode())
    return path.read_text().strip()


def sync_directory(directory: Path) -> None:
    """Make the names in the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
