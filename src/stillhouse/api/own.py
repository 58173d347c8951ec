"""Operations of our own, for which the DWS API has no call; under a prefix no DWS client uses."""

from stillhouse.api.answers import Nothing
from stillhouse.api.models import SnapshotId
from stillhouse.api.render import Json
from stillhouse.api.routing import ControlOf, answers, router
from stillhouse.control import snapshots

routes = router()


@routes.post(
    "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/cancel",
    operation_id="CancelSnapshot",
    **answers(Nothing, "The snapshot's capture will stop, and the snapshot become UNAVAILABLE", 202),
)
def cancel_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    snapshots.request_cancel(control, project_id, snapshot_id)
    return {}
