"""Forecasts how long a cut will hold writers up, for the log, the metrics and the snapshot's progress."""

from stillhouse import log, metrics
from stillhouse.catalog import captures
from stillhouse.control.context import Control
from stillhouse.domain.cluster import Cluster
from stillhouse.warehouse.cut.cut import foresee
from stillhouse.warehouse.gate.lock_plan import Expected


def foretell(control: Control, snapshot_id: str, cluster: Cluster) -> None:
    """Rehearse the cut before anything is copied. Raises StateForbids or CutFailed if no cut is expected to succeed."""
    if (expected := foresee(cluster, control.clock)) is not None:
        log.get("snapshot").info(
            "cut foreseen",
            snapshot=snapshot_id,
            tables=expected.tables,
            locks=expected.locks,
            pause_seconds=round(expected.pause_seconds, 3),
        )
        expect(control, snapshot_id, cluster, expected)


def expect(control: Control, snapshot_id: str, cluster: Cluster, expected: Expected) -> None:
    metrics.expect_pause(cluster.id, expected.pause_seconds)
    with control.database.transaction() as transaction:
        captures.expect_pause(transaction, snapshot_id, expected.pause_seconds)
