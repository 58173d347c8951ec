"""Our own operations that show progress in bytes, its rate and the time left."""

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes.answer import ShownProgress
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId, SnapshotId
from stillhouse.control.reports import progress
from stillhouse.control.reports.progress import Shown

routes = router()


@routes.get(
    "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/progress",
    operation_id="ShowSnapshotProgress",
    **answers(ShownProgress, "How far the snapshot has come"),
)
def show_snapshot_progress(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return _shown(progress.of_snapshot(control, project_id, snapshot_id))


@routes.get(
    "/stillhouse/v1/{project_id}/clusters/{cluster_id}/progress",
    operation_id="ShowClusterProgress",
    **answers(ShownProgress, "How far the operation has come that holds the cluster"),
)
def show_cluster_progress(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return _shown(progress.of_cluster(control, project_id, cluster_id))


def _shown(shown: Shown) -> Json:
    found = shown.progress
    return {
        "phase": found.phase,
        "bytes_done": found.bytes_done,
        "bytes_total": found.bytes_total,
        "bytes_per_second": found.bytes_per_second,
        "seconds_left": found.seconds_left,
        "percent": shown.percent,
        "expected_pause_seconds": shown.expected_pause_seconds,
    }
