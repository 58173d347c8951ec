"""Safe access for root to an account's files: opens them by descriptors, follows no link, and refuses foreign files.

The account may rename and replace anything in its own directories, also between two calls of ours. So each name is
opened relative to its directory, never by a path. The opened file is checked, not the listed one. Only the path to a
tree's root is trusted, because the directories above it belong to the service. If the service is not root, the account
is its own, and the same rules hold.
"""

import ctypes
import errno
import os
import re
import secrets
import stat
import subprocess
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

from stillhouse.errors import FileRefused, InternalError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a named pipe is opened without waiting for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 32
_DEEPEST = 64  # levels; PostgreSQL's own files lie five deep
_MOST = 16 << 20  # bytes of a file that is read at once
_LONGEST = 500  # characters of a path that is shown
_ABANDONED_SECONDS = 3600
_PROC = 0x9FA0  # PROC_SUPER_MAGIC in include/uapi/linux/magic.h

_LINK = "a symbolic link"
_KINDS = {
    stat.S_IFLNK: _LINK,
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a file",
}


class Directory:
    """An open directory. It is closed when the last reference to it is gone."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self, close: Any = os.close) -> None:
        close(self.descriptor)


class Tree:
    """A directory and all files below it that its owner owns. Safe to use from several threads.

    Another process gets a copy.

    Paths are relative to the root. All methods raise FileNotFoundError if nothing is there, and FileRefused if the
    owner does not own the file, or the file is of the wrong kind.
    """

    def __init__(self, root: Path, *, owner: int | None = None, links: re.Pattern[str] | None = None) -> None:
        """`owner` is the uid that the root directory must have. `None` allows any. A link at a path that matches
        `links` is followed if it leads to a directory of the owner.
        """
        self._path, self._links = root, links
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Directory] = OrderedDict()
        self._root = self._enter(None, str(root), "")
        status = os.fstat(self._root.descriptor)
        self.owner, self._group = status.st_uid if owner is None else owner, status.st_gid
        self._check(self._root.descriptor, "", stat.S_IFDIR)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._path, self.owner, self._links)

    def directory(self, path: str) -> Directory:
        """Return the directory at `path`. The directories used last are kept open."""
        if not path:
            return self._root
        with self._lock:
            if path in self._open:
                self._open.move_to_end(path)
                return self._open[path]
        if path.count("/") >= _DEEPEST:
            raise self._refused(path, "nested too deeply")
        parent, name = self._place(path)
        opened = self._enter(parent, name, path)
        self._check(opened.descriptor, path, stat.S_IFDIR)
        if _is_in_proc(opened.descriptor):
            raise self._refused(path, "in the kernel's procfs")
        with self._lock:
            self._open[path] = opened
            if len(self._open) > _OPEN_DIRECTORIES:
                self._open.popitem(last=False)
        return opened

    def open(self, path: str) -> int:
        """Return a descriptor for reading the regular file at `path`."""
        directory, name = self._place(path)
        try:
            descriptor = os.open(name, _FILE, dir_fd=directory.descriptor)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise
            raise self._refused(path, _kind(name, directory)) from None
        try:
            self._check(descriptor, path, stat.S_IFREG)
        except FileRefused:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, path: str, most: int = _MOST) -> bytes:
        """Return the file's bytes. A file of more than `most` bytes is refused, so that it cannot fill our memory."""
        with os.fdopen(self.open(path), "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise self._refused(path, f"larger than {most} bytes")
        return content

    def replace(self, path: str, content: bytes) -> None:
        """Put a file of the owner, with mode 0600, in the place of the old one. It is durable on return."""
        directory, name = self._place(path)
        _remove_abandoned(directory, name)
        fresh = f"{name}.{secrets.token_hex(4)}.new"
        with os.fdopen(os.open(fresh, _NEW_FILE, 0o600, dir_fd=directory.descriptor), "wb") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), self.owner, self._group)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.rename(fresh, name, src_dir_fd=directory.descriptor, dst_dir_fd=directory.descriptor)
        except IsADirectoryError:
            os.unlink(fresh, dir_fd=directory.descriptor)
            raise self._refused(path, _KINDS[stat.S_IFDIR]) from None
        os.fsync(directory.descriptor)

    def remove(self, path: str) -> None:
        """Remove a file, or a link but not its target. Raises FileNotFoundError."""
        directory, name = self._place(path)
        os.unlink(name, dir_fd=directory.descriptor)

    def names(self, path: str) -> list[str]:
        """Return the names in the directory at `path`, in no order."""
        with os.scandir(self.directory(path).descriptor) as found:
            return [entry.name for entry in found]

    def may_be_link(self, path: str) -> bool:
        return bool(path and self._links and self._links.fullmatch(path))

    def _place(self, path: str) -> tuple[Directory, str]:
        parent, _, name = path.rpartition("/")
        return self.directory(parent), name

    def _enter(self, parent: Directory | None, name: str, path: str) -> Directory:
        flags = _DIRECTORY if self.may_be_link(path) else _DIRECTORY | os.O_NOFOLLOW
        try:
            return Directory(os.open(name, flags, dir_fd=parent.descriptor if parent else None))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            kind = _kind(name, parent)
            told = "a link that leads to no directory" if kind == _LINK and self.may_be_link(path) else kind
            raise self._refused(path, told) from None

    def _check(self, descriptor: int, path: str, kind: int) -> None:
        if reason := why_foreign(os.fstat(descriptor), self.owner, kind):
            raise self._refused(path, reason)

    def _refused(self, path: str, reason: str) -> FileRefused:
        return _refused(self._path / path, reason)


def why_foreign(status: os.stat_result, owner: int, kind: int) -> str:
    """Say why a file is refused that must be of `kind` (S_IFREG, S_IFDIR) and of the owner. Empty if it is both."""
    found = stat.S_IFMT(status.st_mode)
    if found != kind:
        return _KINDS.get(found, "of an unknown kind")
    return "" if status.st_uid == owner else f"another account's (uid {status.st_uid})"


def read_outside(path: Path, owner: int) -> bytes:
    """Return the bytes of a file of the owner, outside the tree, at a path that comes from the account itself.

    Links on the way are allowed. The file is checked before it is opened, since opening a device may do something.
    Raises as `Tree.read` does.
    """
    found = Directory(os.open(path, os.O_PATH | os.O_CLOEXEC))
    reason = why_foreign(os.fstat(found.descriptor), owner, stat.S_IFREG)
    if not reason and _is_in_proc(found.descriptor):
        reason = "in the kernel's procfs"
    if reason:
        raise _refused(path, reason)
    with Path(f"/proc/self/fd/{found.descriptor}").open("rb") as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise _refused(path, f"larger than {_MOST} bytes")
    return content


def remove_tree(path: Path) -> None:
    """Remove a directory of ours and all below it. A link is removed, but its target is not.

    rm(1) does the work: it uses descriptors as `shutil.rmtree` does, but does not fail at a thousand nested
    directories. Raises InternalError.
    """
    answer = subprocess.run(["/bin/rm", "-rf", "--", path], capture_output=True, check=False)
    if answer.returncode:
        raise InternalError(f"{path} cannot be removed: {answer.stderr.decode(errors='replace').strip()}")


def shown(path: str) -> str:
    """Return a path for messages and records: escaped and cut, since it may hold any bytes and have any length."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _refused(path: Path, reason: str) -> FileRefused:
    return FileRefused(f"{shown(str(path))} is {reason}", reason=reason)


def _again(root: Path, owner: int, links: re.Pattern[str] | None) -> Tree:
    return Tree(root, owner=owner, links=links)


def _kind(name: str, parent: Directory | None) -> str:
    """Return the kind of the file in words. Raises FileNotFoundError if it is gone."""
    status = os.stat(name, dir_fd=parent.descriptor if parent else None, follow_symlinks=False)
    return _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")


def _remove_abandoned(directory: Directory, name: str) -> None:
    """Remove old files left behind by a killed `replace`. Younger files stay, as they may be in use."""
    ours = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.new")
    with os.scandir(directory.descriptor) as entries:
        found = [entry for entry in entries if ours.fullmatch(entry.name)]
    for entry in found:
        with suppress(FileNotFoundError, IsADirectoryError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
                os.unlink(entry.name, dir_fd=directory.descriptor)


def _is_in_proc(descriptor: int) -> bool:
    """Whether the file lies in procfs. Files there have an account's uid, but show root more than the account may see.

    Python's statvfs leaves out the kind of a file system, which is the first word of struct statfs (statfs(2)).
    """
    answer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, answer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(answer).value == _PROC
