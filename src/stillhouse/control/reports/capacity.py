"""Capacity of the host of clusters, and a project's holdings on it: measured when asked, never promised.

A replica that follows tells of the host that leads, since clusters are made there.
"""

import os
import platform
import shutil
from dataclasses import dataclass

from stillhouse.catalog import clusters, snapshots
from stillhouse.control import quotas
from stillhouse.control.context import Control
from stillhouse.control.reports.disk_use import disk_use
from stillhouse.domain.cluster import Cluster, ClusterStatus
from stillhouse.domain.reports.capacity import Host


@dataclass(frozen=True)
class Holdings:
    """How many clusters and nodes a project has, and how many of them are at work."""

    clusters: int
    clusters_at_work: int
    nodes: int
    nodes_at_work: int


def measure(control: Control) -> Host:
    if (told := control.following.told) is not None:
        return told.host
    disk = shutil.disk_usage(control.settings.data)
    return Host(
        machine=platform.machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_bytes=disk.total,
        disk_used_bytes=disk.used,
    )


def holdings(control: Control, project: str) -> Holdings:
    with control.database.reading() as reading:
        found = clusters.list_clusters(reading, project)
    at_work = [one for one in found if one.status is ClusterStatus.AVAILABLE and not one.stopped]
    return Holdings(
        clusters=len(found),
        clusters_at_work=len(at_work),
        nodes=sum(one.number_of_node for one in found),
        nodes_at_work=sum(one.number_of_node for one in at_work),
    )


@dataclass(frozen=True)
class Quota:
    """A limit of one project, and how much of it is used; `most` is 0 if there is no limit."""

    used: int
    most: int


@dataclass(frozen=True)
class ProjectQuotas:
    """The limits of one project; `disk_bytes` are those of the host where the project has no limit of its own."""

    clusters: Quota
    nodes: Quota
    disk_bytes: Quota


def project_quotas(control: Control, project: str) -> ProjectQuotas:
    """Return the limits of the project by the settings, and what it uses of them."""
    settings, held, host = control.settings, holdings(control, project), measure(control)
    disk = Quota(host.disk_used_bytes, host.disk_bytes)
    if settings.quota_disk_gb:
        disk = Quota(disk_use(control, project), settings.quota_disk_gb * quotas.GB)
    return ProjectQuotas(
        clusters=Quota(held.clusters, settings.quota_clusters),
        nodes=Quota(held.nodes, settings.quota_nodes),
        disk_bytes=disk,
    )


def cluster_of_snapshot(control: Control, project: str, snapshot_id: str) -> Cluster | None:
    """Find the snapshot's cluster, even if it is deleted, since a restore makes a cluster of its shape. `None` if the
    snapshot is unknown.
    """
    with control.database.reading() as reading:
        snapshot = snapshots.find_snapshot(reading, project, snapshot_id.lower())
        return None if snapshot is None else clusters.read_cluster(reading, snapshot.cluster_id)
