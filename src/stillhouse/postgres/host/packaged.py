"""Where Debian's packages put the programs of each major version, if nobody but root can have changed them."""

import os
import stat
from pathlib import Path

PLACE = Path("/usr/lib/postgresql")


def directory_of(major: int, place: Path = PLACE) -> Path | None:
    """Return the `bin` directory of a major version. `None` if there is none, or one that is not root's alone.

    The service may run as root, and was not told to trust this directory. So each program and each directory on the way
    must be root's. A link among them may lead to another of them (`postmaster` does), and nowhere else.
    """
    directory = place / str(major) / "bin"
    try:
        real = directory.resolve(strict=True)
        programs = {path.resolve(strict=True) for path in real.iterdir()}
        is_closed = all(_is_roots(path) for path in (*programs, real, *real.parents))
    except OSError:
        return None
    return real if is_closed and all(path.parent == real for path in programs) else None


def _is_roots(path: Path) -> bool:
    """Tell whether root alone can change it. In a directory with the sticky bit nobody can replace what is root's."""
    found = os.lstat(path)
    is_sticky = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
    is_closed = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or is_sticky
    return found.st_uid == 0 and is_closed
