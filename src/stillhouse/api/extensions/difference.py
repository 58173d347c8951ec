"""Our own operation that compares two snapshots of a cluster."""

from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import difference as shapes
from stillhouse.api.shapes.ours.difference import SnapshotDifference
from stillhouse.api.shapes.values import Json, SnapshotId
from stillhouse.control.snapshots.difference import difference

routes = Router()


@routes.operation("ShowSnapshotDifference", SnapshotDifference, "What differs from the other snapshot")
def show_snapshot_difference(
    control: ControlOf,
    project_id: str,
    snapshot_id: SnapshotId,
    before: Annotated[SnapshotId, Query(description="The snapshot to compare it with, of the same cluster")],
) -> Json:
    """Compare rows by the tables' fingerprints, and pages by their places in the repository. Nothing is restored."""
    return shapes.difference(difference(control, project_id, before, snapshot_id))
