"""Our own operations that list known losses. DWS's answers have only a status for them."""

from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import damage
from stillhouse.api.shapes.ours.damage import Damages, SnapshotDamage
from stillhouse.api.shapes.values import Json, SnapshotId
from stillhouse.control.upkeep import findings

routes = Router()


@routes.operation("ShowSnapshotDamage", SnapshotDamage, "The known losses of the snapshot")
def show_snapshot_damage(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    """Its `damage` is null for a snapshot without known losses."""
    snapshot, touched = findings.damage_of(control, project_id, snapshot_id)
    return {"damage": None if touched is None else damage.damage(snapshot, touched)}


@routes.operation(
    "ListDamage", Damages, "The known losses of the project's snapshots, and the repository's damaged objects"
)
def list_damage(
    control: ControlOf,
    project_id: str,
    ids: Annotated[str, Query(description="Only the losses of these: ids, separated by commas")] = "",
) -> Json:
    touched, known = findings.list_damage(control, project_id, ids.split(",") if ids else None)
    return {
        "snapshots": [damage.damage(snapshot, lost) for snapshot, lost in touched],
        "objects": damage.objects(known),
        "is_worked_out": all(one.is_worked_out for one in known.values()),
        "count": len(touched),
    }
