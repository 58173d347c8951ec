"""Quotas: what one project may have of this host, and what it has. A quota of 0 is no limit."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stillhouse.catalog import clusters
from stillhouse.catalog.schema.database import Transaction
from stillhouse.config import Settings
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.errors import QuotaExceeded

GB = 2**30
_BLOCK_BYTES = 512  # of st_blocks, stat(2)


@dataclass(frozen=True)
class Wanted:
    """What a request adds to its project: one cluster of so many nodes, with so many bytes of data to begin with."""

    nodes: int
    data_bytes: int = 0


def check(reading: Transaction, settings: Settings, project: str, wanted: Wanted, disk_bytes: int) -> None:
    """Raise QuotaExceeded if the project would have more than its quotas with this cluster.

    `disk_bytes` is the project's disk use; it counts only where there is a quota of it.
    """
    held = clusters.list_clusters(reading, project)
    nodes = sum(cluster.number_of_node for cluster in held)
    for what, has, adds, quota, setting in (
        ("clusters", len(held), 1, settings.quota_clusters, "STILLHOUSE_QUOTA_CLUSTERS"),
        ("nodes", nodes, wanted.nodes, settings.quota_nodes, "STILLHOUSE_QUOTA_NODES"),
    ):
        if quota and has + adds > quota:
            raise QuotaExceeded(
                f"The project has {has} {what} and asks for {adds} more; its quota is {quota}.",
                hint=f"delete clusters, or ask the operator, who sets {setting}",
            )
    quota_bytes = settings.quota_disk_gb * GB
    # An empty cluster needs some megabytes, which are not counted before it is there.
    if quota_bytes and (disk_bytes >= quota_bytes or disk_bytes + wanted.data_bytes > quota_bytes):
        raise QuotaExceeded(
            f"The project's clusters use {disk_bytes / GB:.1f} GB of disk and {wanted.data_bytes / GB:.1f} GB more are"
            f" asked for; its quota is {settings.quota_disk_gb} GB.",
            hint="delete clusters or data, or ask the operator, who sets STILLHOUSE_QUOTA_DISK_GB",
        )


def disk_use(context: CatalogContext, project: str) -> int:
    """Return the bytes on disk of the project's clusters; 0 where there is no quota of them, since this walks files.

    To be called outside of a transaction that writes, which on SQLite holds up all other writers.
    """
    if not context.settings.quota_disk_gb:
        return 0
    with context.database.reading() as reading:
        held = clusters.list_clusters(reading, project)
    return sum(_size(context.settings.data / "clusters" / cluster.id) for cluster in held)


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
