"""Quotas: a project gets no cluster beyond them, by whatever request, and ListQuotas tells the same numbers."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.control import quotas
from stillhouse.control.clusters.requests import (
    ClusterRequest,
    RestoreRequest,
    check_cluster,
    list_clusters,
    request_cluster,
    request_restore,
)
from stillhouse.control.context import Control
from stillhouse.control.reports.capacity import Quota, project_quotas
from stillhouse.errors import QuotaExceeded
from support.control.requests_bed import (
    PROJECT,
    available_cluster,
    finish_snapshot,
    request_snapshots,
    requests_bed,
)

OTHER = "f9e8d7c6b5a493827160f5e4d3c2b1a0"


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with requests_bed("sqlite", tmp_path) as control:
        yield control


def limited(control: Control, **settings: int) -> Control:
    return replace(control, settings=control.settings.model_copy(update=settings))


def wanted(name: str, nodes: int) -> ClusterRequest:
    return ClusterRequest(name=name, number_of_node=nodes, user_pwd="Str0ng-Pass-2026")


def test_a_project_gets_as_many_clusters_as_its_quota_and_no_more(control: Control) -> None:
    bounded = limited(control, quota_clusters=2)
    for name in ("one", "two"):
        request_cluster(bounded, PROJECT, wanted(f"{name}-dw", 1))
    with pytest.raises(QuotaExceeded, match="STILLHOUSE_QUOTA_CLUSTERS") as refused:
        request_cluster(bounded, PROJECT, wanted("three-dw", 1))
    assert refused.value.status == 403
    with pytest.raises(QuotaExceeded):
        check_cluster(bounded, PROJECT, wanted("three-dw", 1), None)
    assert len(list_clusters(bounded, PROJECT)) == 2
    request_cluster(bounded, OTHER, wanted("other-dw", 1))
    assert project_quotas(bounded, PROJECT).clusters == Quota(used=2, most=2)


def test_nodes_are_counted_over_all_clusters(control: Control) -> None:
    bounded = limited(control, quota_nodes=5)
    request_cluster(bounded, PROJECT, wanted("one-dw", 3))
    with pytest.raises(QuotaExceeded, match="STILLHOUSE_QUOTA_NODES"):
        request_cluster(bounded, PROJECT, wanted("two-dw", 3))
    assert project_quotas(bounded, PROJECT).nodes == Quota(used=3, most=5)


def test_a_restore_counts_as_a_new_cluster_does_and_with_the_snapshot_s_size(control: Control) -> None:
    (snapshot,) = request_snapshots(control, available_cluster(control), "nightly")
    finish_snapshot(control, snapshot, plain_bytes=2 * quotas.GB)
    for settings in ({"quota_clusters": 1}, {"quota_nodes": 1}, {"quota_disk_gb": 1}):
        with pytest.raises(QuotaExceeded):
            request_restore(limited(control, **settings), PROJECT, snapshot, RestoreRequest("clone-dw"))
    request_restore(limited(control, quota_disk_gb=3), PROJECT, snapshot, RestoreRequest("clone-dw"))


def test_disk_is_that_of_the_project_s_own_clusters(control: Control) -> None:
    cluster = available_cluster(control)
    directory = control.settings.data / "clusters" / cluster / "cn-1"
    directory.mkdir(parents=True)
    with (directory / "table").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8 * 2**20)
    (directory / "elsewhere").symlink_to("/")
    bounded = limited(control, quota_disk_gb=1)
    used = project_quotas(bounded, PROJECT).disk_bytes.used
    assert 8 * 2**20 <= used < 9 * 2**20
    assert project_quotas(bounded, OTHER).disk_bytes == Quota(used=0, most=quotas.GB)
    with control.database.reading() as reading, pytest.raises(QuotaExceeded, match="QUOTA_DISK_GB"):
        quotas.check(reading, bounded.settings, PROJECT, quotas.Wanted(1), disk_bytes=quotas.GB)


def test_zero_is_no_quota(control: Control) -> None:
    free = limited(control, quota_clusters=0, quota_nodes=0)
    for number in range(3):
        request_cluster(free, PROJECT, wanted(f"dw-{number}", 2))
    assert project_quotas(free, PROJECT).clusters == Quota(used=3, most=0)
