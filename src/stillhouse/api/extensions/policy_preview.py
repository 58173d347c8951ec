"""Our own operation that tells what a cluster's policies will do next."""

from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import policy_preview
from stillhouse.api.shapes.ours.policy_preview import PolicyPreview
from stillhouse.api.shapes.values import ClusterId, Json, Limit
from stillhouse.control.schedule import preview

routes = Router()


@routes.operation(
    "ShowPolicyPreview", PolicyPreview, "The next runs, and when each automated snapshot goes, and why"
)
def show_policy_preview(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    runs: Annotated[Limit, Query(description="How many runs")] = 10,
) -> Json:
    settings, found = preview.preview_policies(control, project_id, cluster_id, runs)
    return policy_preview.policy_preview(settings, found)
