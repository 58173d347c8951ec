"""Our own operations that show progress in bytes, its rate and the time left."""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import extensions
from stillhouse.api.shapes.ours.extensions import ShownProgress
from stillhouse.api.shapes.values import ClusterId, Json, SnapshotId
from stillhouse.control.reports import progress

routes = Router()


@routes.operation("ShowSnapshotProgress", ShownProgress, "How far the snapshot has come")
def show_snapshot_progress(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return extensions.progress(progress.of_snapshot(control, project_id, snapshot_id))


@routes.operation(
    "ShowClusterProgress", ShownProgress, "How far the operation has come that holds the cluster"
)
def show_cluster_progress(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return extensions.progress(progress.of_cluster(control, project_id, cluster_id))
