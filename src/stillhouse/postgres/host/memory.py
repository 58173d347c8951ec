"""The memory of this host, or of the container that we run in."""

import os
from pathlib import Path

# The memory limits of cgroups 2 and 1 (the kernel's Documentation/admin-guide), as a container sees its own limits.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Return the installed memory in bytes, or the limit of the control group if that is lower."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *(limit for path in _LIMITS if (limit := _limit(path)))])


def _limit(path: str) -> int:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
