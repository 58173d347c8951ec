"""Our own operations that prove snapshots and show the proofs."""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.ours import extensions
from stillhouse.api.shapes.ours.extensions import (
    LatestProof,
    ProofScheduleRequest,
    ProofStarted,
    ShownProofSchedule,
)
from stillhouse.api.shapes.values import ClusterId, Json, SnapshotId
from stillhouse.control.proofs import requests
from stillhouse.domain.proof import ProofSchedule

routes = Router()


@routes.operation("ProveSnapshot", ProofStarted, "The proof is being carried out", 202)
def prove_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return {"proof": extensions.proof(requests.request_proof(control, project_id, snapshot_id))}


@routes.operation("ShowProof", LatestProof, "The latest proof; null for a snapshot that was never proved")
def show_proof(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    """The latest proof; `null` for a snapshot that was never proved."""
    latest = requests.latest_proof(control, project_id, snapshot_id)
    return {"proof": None if latest is None else extensions.proof(latest)}


@routes.operation("SetProofSchedule", ShownProofSchedule, "The schedule, as it is now")
def set_proof_schedule(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: ProofScheduleRequest
) -> Json:
    wanted = ProofSchedule(body.every_days, body.newest_only)
    requests.set_schedule(control, project_id, cluster_id, wanted)
    return extensions.proof_schedule(wanted)


@routes.operation("ShowProofSchedule", ShownProofSchedule, "The schedule")
def show_proof_schedule(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return extensions.proof_schedule(requests.get_schedule(control, project_id, cluster_id))
