"""How much memory this host, or the container that we are in, has."""

import os
from pathlib import Path

# Of cgroups 2 and 1 (the kernel's Documentation/admin-guide), as a container sees its own.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """The least of what is there and what a control group allows."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *(limit for path in _LIMITS if (limit := _limit(path)))])


def _limit(path: str) -> int:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
