"""Our own operations that prove snapshots and show the proofs."""

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render
from stillhouse.api.shapes.extensions import LatestProof, ProofStarted, ShownProofSchedule
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId, ProofScheduleRequest, SnapshotId
from stillhouse.control.proofs import requests as proofs
from stillhouse.domain.proof import ProofSchedule

routes = router()

_OF_SNAPSHOT = "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}"
_OF_CLUSTER = "/stillhouse/v1/{project_id}/clusters/{cluster_id}/proofs"


@routes.post(
    f"{_OF_SNAPSHOT}/prove",
    operation_id="ProveSnapshot",
    **answers(ProofStarted, "The proof is being carried out", 202),
)
def prove_snapshot(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    return {"proof": render.proof(proofs.request_proof(control, project_id, snapshot_id))}


@routes.get(
    f"{_OF_SNAPSHOT}/proof",
    operation_id="ShowProof",
    **answers(LatestProof, "The latest proof; null for a snapshot that was never proved"),
)
def show_proof(control: ControlOf, project_id: str, snapshot_id: SnapshotId) -> Json:
    """The latest proof; `null` for a snapshot that was never proved."""
    latest = proofs.latest_proof(control, project_id, snapshot_id)
    return {"proof": None if latest is None else render.proof(latest)}


@routes.put(
    _OF_CLUSTER, operation_id="SetProofSchedule", **answers(ShownProofSchedule, "The schedule, as it is now")
)
def set_proof_schedule(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: ProofScheduleRequest
) -> Json:
    wanted = ProofSchedule(body.every_days, body.newest_only)
    proofs.set_schedule(control, project_id, cluster_id, wanted)
    return render.proof_schedule(wanted)


@routes.get(_OF_CLUSTER, operation_id="ShowProofSchedule", **answers(ShownProofSchedule, "The schedule"))
def show_proof_schedule(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return render.proof_schedule(proofs.get_schedule(control, project_id, cluster_id))
