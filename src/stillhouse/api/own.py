"""Operations of our own, for which the DWS API has no call; under a prefix no DWS client uses."""

from stillhouse.api.models import SnapshotId
from stillhouse.api.render import Json
from stillhouse.api.routing import ControlOf, router
from stillhouse.control import snapshots

routes = router()


@routes.post(
    "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/cancel",
    operation_id="CancelSnapshot",
    status_code=202,
)
def cancel_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    snapshots.request_cancel(control, project_id, snapshot_id)
    return {}
