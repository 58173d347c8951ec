"""Quotas: what one project may have of this host. A quota of 0 is no limit."""

from dataclasses import dataclass

from stillhouse.catalog import clusters
from stillhouse.catalog.schema.database import Transaction
from stillhouse.config import Settings
from stillhouse.errors import QuotaExceeded

GB = 2**30


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
