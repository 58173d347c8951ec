"""The disk that a project's clusters use, measured when asked."""

import os
from contextlib import suppress
from pathlib import Path

from stillhouse.catalog import clusters
from stillhouse.control.context import Control

_BLOCK_BYTES = 512  # of st_blocks, stat(2)


def disk_use(control: Control, project: str) -> int:
    """Return the bytes on disk of the project's clusters; 0 where there is no quota of them, since this walks files.

    To be called outside of a transaction that writes, which on SQLite holds up all other writers.
    """
    if not control.settings.quota_disk_gb:
        return 0
    if (told := control.following.told) is not None:
        return told.disk_use.get(project, 0)
    with control.database.reading() as reading:
        held = clusters.list_clusters(reading, project)
    return sum(_size(control.settings.data / "clusters" / cluster.id) for cluster in held)


def _size(directory: Path) -> int:
    """Add up the blocks of all files. Links are not followed, and files that vanish meanwhile do not count."""
    blocks = 0
    with suppress(
        FileNotFoundError
    ):  # a cluster that is only requested has no directory, and one may go meanwhile
        # By descriptors: the account that owns the files may put a link in the place of a directory.
        for _, _, files, descriptor in os.fwalk(directory, follow_symlinks=False):
            for name in files:
                with suppress(FileNotFoundError):
                    blocks += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks
    return blocks * _BLOCK_BYTES
