"""A directory as an object store. Every acknowledged write survives a power cut.

A name appears only by link(2) or rename(2), after the file's bytes are on the disk. It is acknowledged only when
its directory is on the disk too. Unfinished files live in `.tmp`, apart from all keys.
"""

import errno
import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stillhouse.atomic_file import sync_directory
from stillhouse.clock import Clock
from stillhouse.errors import InvalidInput, ObjectMissing, RepositoryDamaged, StoreUnavailable
from stillhouse.storage.store import (
    Chunk,
    StoredObject,
    byte_views,
    check_folder,
    check_key,
    check_range,
    create_once,
    is_key,
)

TEMPORARY = ".tmp"
LEFTOVER_AGE = timedelta(days=1)  # far longer than any one object takes to write

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME_IS_TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
_NO_SUCH_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_IOV_MAX = os.sysconf("SC_IOV_MAX")
_LARGE = 1 << 20
_BUFFER_BYTES, _BLOCK = 4 << 20, 4096  # no disk has larger blocks

_mine = threading.local()


class LocalStore:
    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root.absolute()
        self._temporary = self._root / TEMPORARY
        self._known: set[Path] = set()  # folders with names that this instance has seen made durable
        with self._telling("opening the store"):
            _make_missing(self._temporary)
            _remove_leftovers(self._temporary, clock.now() - LEFTOVER_AGE)

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        target = self._root / check_key(key)
        with self._telling(f"writing {key}"), self._durable_file(chunks) as written:
            self._make_folders(target.parent)
            written.rename(target)
            sync_directory(target.parent)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        check_key(key)
        return create_once(key, chunks, lambda: self._link(key, chunks), self.size, self.get)

    def get(self, key: str) -> bytes:
        path = self._root / check_key(key)
        with self._reading(key):
            return path.read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        path = self._root / check_key(key)
        check_range(start, length)
        with self._reading(key), path.open("rb") as file:
            file.seek(start)
            found = file.read(length)
        if len(found) != length:
            raise RepositoryDamaged(f"{key} ends before byte {start + length}", key=key)
        return found

    def size(self, key: str) -> int | None:
        path = self._root / check_key(key)
        try:
            with self._reading(key), path.open("rb") as file:
                return os.fstat(file.fileno()).st_size
        except ObjectMissing:
            return None

    def stat(self, key: str) -> StoredObject | None:
        path = self._root / check_key(key)
        try:
            with self._reading(key), path.open("rb") as file:
                return _described(key, os.fstat(file.fileno()))
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folder = check_folder(prefix)
        self._demand_presence()
        with self._telling(f"listing {folder or 'the store'}"):
            yield from self._walk(folder)

    def delete(self, key: str) -> None:
        path = self._root / check_key(key)
        with self._telling(f"deleting {key}"):
            try:
                path.unlink()
            except _NO_SUCH_FILE:
                self._demand_presence()
            # Also when it was gone: the process that removed it may have died before this.
            with suppress(*_NO_SUCH_FILE):
                sync_directory(path.parent)

    def _link(self, key: str, chunks: Sequence[Chunk]) -> bool:
        target = self._root / key
        with self._telling(f"creating {key}"), self._durable_file(chunks) as written:
            self._make_folders(target.parent)
            try:
                target.hardlink_to(written)
                created = True
            except FileExistsError:
                if target.is_dir():
                    raise
                created = False
            # The loser waits for the disk too: it will act on a name that the winner may not have made durable yet.
            sync_directory(target.parent)
            return created

    @contextmanager
    def _durable_file(self, chunks: Sequence[Chunk]) -> Iterator[Path]:
        """Write the chunks durably to a file outside all keys; remove it unless it was renamed."""
        path = self._temporary / secrets.token_hex(16)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                views = byte_views(chunks)
                write = _write_large if sum(map(len, views)) > _LARGE else _write_all
                write(descriptor, views)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _make_folders(self, folder: Path) -> None:
        """Make the folder and those above it, each one's name durable before anything is put below it.

        Another process may have made an existing folder and not yet synced it, so every instance syncs
        its parent once.
        """
        steps = [each for each in (folder, *folder.parents) if self._root in each.parents]
        for step in reversed(steps):
            made = _make_directory(step)
            if made or step not in self._known:
                sync_directory(step.parent)
                self._known.add(step)

    def _walk(self, folder: str) -> Iterator[StoredObject]:
        folders = [folder]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(self._root / folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with entries:
                for entry in entries:
                    key = f"{folder}/{entry.name}" if folder else entry.name
                    if not is_key(key):
                        continue
                    if entry.is_dir():
                        folders.append(key)
                    elif found := _describe(key, entry):
                        yield found

    def _demand_presence(self) -> None:
        """Check that the directory is there: an unmounted disk must not look like a store without objects."""
        if not self._temporary.is_dir():
            raise StoreUnavailable(
                f"the object store {self._root} is gone",
                hint="is its file system mounted, and readable to us?",
            )

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except _NO_SUCH_FILE as error:
            self._demand_presence()
            raise ObjectMissing(f"no object {key} in {self._root}", key=key) from error
        except OSError as error:
            raise self._told(error, f"reading {key}") from error

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._told(error, doing) from error

    def _told(self, error: OSError, doing: str) -> StoreUnavailable | InvalidInput:
        """Translate an error of the operating system into our tree."""
        if error.errno in _FULL:
            return StoreUnavailable(f"the disk is full: {doing}", hint=f"free space for {self._root}")
        if error.errno in _NAME_IS_TAKEN:
            return InvalidInput(
                f"a name is both an object and a folder: {doing}", hint=f"look into {self._root}"
            )
        return StoreUnavailable(f"{doing}: {error.strerror}", hint=f"check the file system of {self._root}")


def _write_large(descriptor: int, views: Sequence[memoryview]) -> None:
    """Write whole blocks past the page cache. Its memory is for bytes that are read again, like the warehouse's pages,
    and filling it takes longer than copying the bytes once more, into a buffer that is there already.
    """
    try:
        _write_direct(descriptor, views)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Some file systems lack this, and some of them report it only at the first use.
        os.lseek(descriptor, 0, os.SEEK_SET)
        _write_all(descriptor, views)


def _write_direct(descriptor: int, views: Sequence[memoryview]) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    buffer, used = _aligned_buffer(), 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        for view in views:
            at = 0
            while at < len(view):
                piece = view[at : at + len(buffer) - used]
                buffer[used : used + len(piece)] = piece
                at, used = at + len(piece), used + len(piece)
                if used == len(buffer):
                    _write_all(descriptor, [buffer])
                    used = 0
        whole = used - used % _BLOCK
        _write_all(descriptor, [buffer[:whole]])
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    _write_all(descriptor, [buffer[whole:used]])


def _aligned_buffer() -> memoryview:
    """Return this thread's buffer, which is used again and again."""
    if not hasattr(_mine, "buffer"):
        _mine.buffer = memoryview(mmap.mmap(-1, _BUFFER_BYTES))
    buffer: memoryview = _mine.buffer
    return buffer


def _write_all(descriptor: int, views: Sequence[memoryview]) -> None:
    """Write everything: writev(2) takes a bounded number of buffers and may write less than it was given."""
    left = [view for view in views if len(view)]
    first = 0
    while first < len(left):
        written = os.writev(descriptor, left[first : first + _IOV_MAX])
        while written and written >= len(left[first]):
            written -= len(left[first])
            first += 1
        if written:
            left[first] = left[first][written:]


def _make_directory(directory: Path) -> bool:
    """Make the directory. Returns False if it was there."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _make_missing(directory: Path) -> None:
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    for each in reversed(missing):
        _make_directory(each)
        sync_directory(each.parent)


def _remove_leftovers(temporary: Path, before: datetime) -> None:
    """Remove files that killed writers left. Younger ones may belong to a writer at work."""
    with os.scandir(temporary) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # its writer, or another opener, was quicker
                if entry.stat().st_mtime < before.timestamp():
                    Path(entry).unlink()


def _describe(key: str, entry: os.DirEntry[str]) -> StoredObject | None:
    """Describe an entry; `None` if it has gone since it was listed."""
    try:
        return _described(key, entry.stat())
    except FileNotFoundError:
        return None


def _described(key: str, status: os.stat_result) -> StoredObject:
    # Each object is a new file, so its number and the time of its last change tell two of them apart.
    tag = f"{status.st_ino:x}-{status.st_ctime_ns:x}"
    return StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), tag)
