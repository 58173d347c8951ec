"""A request for a restore of tables is accepted whole with its flow, or leaves nothing but the audit's record."""

from pathlib import Path

import pytest

from stillhouse.catalog import operations
from stillhouse.catalog.access import audit_log
from stillhouse.control.clusters.requests import delete_cluster
from stillhouse.control.context import Control
from stillhouse.control.restores.table_requests import check_table_restore, start_table_restore
from stillhouse.control.snapshots.requests import delete_snapshot, get_snapshot, request_snapshot
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.table_restore import TableName, TableRestore, TablesWanted
from stillhouse.errors import ClusterBusy, InvalidInput, StateForbids, StillhouseError
from support.control.requests_bed import (
    PROJECT,
    available_cluster,
    end_operation,
    enqueued,
    finish_snapshot,
    requests_bed,
)

ORDERS = TableName("public", "orders")
WANTED = TablesWanted("gaussdb", (ORDERS,), (TableName("mart", "orders"),))


def outcomes(control: Control) -> list[str]:
    """Of requests for restores of tables, the newest first."""
    with control.database.reading() as reading:
        records = audit_log.list_records(reading, PROJECT, limit=100)
    return [record.outcome for record in records if record.action == "RestoreTable"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_it_holds_cluster_and_snapshot_until_it_ends_and_is_in_the_audit(kind: str, tmp_path: Path) -> None:
    with requests_bed(kind, tmp_path) as control:
        cluster = available_cluster(control)
        snapshot = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster)

        def refused(error: type[StillhouseError], wanted: TablesWanted = WANTED) -> str:
            before = enqueued(control)
            with pytest.raises(error):
                start_table_restore(control, PROJECT, snapshot, wanted)
            assert enqueued(control) == before
            return outcomes(control)[0]

        assert refused(StateForbids) == "state.forbids", "it is still being taken"
        finish_snapshot(control, snapshot)
        assert refused(InvalidInput, TablesWanted("gaussdb", (), ())) == "input.invalid"
        operation_id = start_table_restore(control, PROJECT, snapshot.upper(), WANTED)
        assert outcomes(control)[0] == "accepted"
        with control.database.reading() as reading:
            operation = operations.active(reading, cluster)
        assert operation is not None and operation.id == operation_id
        assert (operation.kind, operation.subject_id) == (Task.FINE_GRAINED_RESTORING, snapshot)
        assert operation.detail["snapshot_id"] == snapshot
        assert TableRestore.from_detail(operation.detail) == WANTED.named("")
        assert ("restore_tables", operation_id) in enqueued(control)
        assert get_snapshot(control, PROJECT, snapshot).use == "being restored"
        with pytest.raises(StateForbids):
            delete_snapshot(control, PROJECT, snapshot)
        with pytest.raises(ClusterBusy):
            delete_cluster(control, PROJECT, cluster, keep_last_manual=0)
        assert refused(ClusterBusy) == "cluster.busy"
        end_operation(control, cluster, ClusterStatus.AVAILABLE)
        assert get_snapshot(control, PROJECT, snapshot).use == ""
        with pytest.raises(InvalidInput, match="running service"):  # there is no repository here to look into
            check_table_restore(control, PROJECT, snapshot, WANTED)
