"""Each operation on a cluster that fails says why: in its own row, in the cluster's, and in the audit log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog import clusters, operations
from stillhouse.catalog.access import audit_log
from stillhouse.control.clusters.flows import finish_operation
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure
from support.control.requests_bed import PROJECT, available_cluster, requests_bed

WHY = Failure("node.unreachable", "dn1 does not answer", "start dn1")
REQUESTS = {
    Task.CREATING: "CreateCluster",
    Task.RESTORING: "RestoreCluster",
    Task.REBOOTING: "RestartCluster",
    Task.STARTING: "StartCluster",
    Task.STOPPING: "StopCluster",
    Task.DELETING: "DeleteCluster",
}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with requests_bed("sqlite", tmp_path) as bed:
        yield bed


@pytest.mark.parametrize("task", REQUESTS)
def test_a_failed_operation_says_why_in_the_audit_and_in_its_row(control: Control, task: Task) -> None:
    cluster = available_cluster(control)
    place = FlowContext(control, cast(Any, None), cast(Any, None), "0" * 8)
    with control.database.transaction() as transaction:
        operation = operations.begin(transaction, cluster, task, cluster, control.clock.now())
    for _ in range(2):  # a step that runs again
        finish_operation(place, operation, ClusterStatus.FAILED, "some.kind", WHY)
    with control.database.reading() as reading:
        assert operations.read(reading, operation).failure == WHY
        assert clusters.read_cluster(reading, cluster).failed_reason == WHY.line
        newest, before = audit_log.list_records(reading, PROJECT, limit=2)
    assert (newest.action, newest.outcome, newest.detail) == (REQUESTS[task], "failed", WHY.line)
    assert newest.resource == f"cluster/{cluster}" and before.outcome == "accepted"


def test_an_operation_that_succeeds_leaves_no_failure(control: Control) -> None:
    cluster = available_cluster(control)
    place = FlowContext(control, cast(Any, None), cast(Any, None), "0" * 8)
    with control.database.transaction() as transaction:
        operation = operations.begin(transaction, cluster, Task.REBOOTING, cluster, control.clock.now())
    finish_operation(place, operation, ClusterStatus.AVAILABLE)
    with control.database.reading() as reading:
        assert operations.read(reading, operation).failure is None
        (newest,) = audit_log.list_records(reading, PROJECT, limit=1)
    assert newest.outcome == "accepted"
