"""The operations of the DWS API on the policies of automated snapshots."""

from fastapi import Request, Response

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import client_types
from stillhouse.api.shapes.snapshot_policies import Policies, SetPoliciesRequest, policies_of_cluster
from stillhouse.api.shapes.values import ClusterId, Json, Nothing
from stillhouse.control.schedule import snapshot_policies
from stillhouse.control.schedule.snapshot_policies import Strategy
from stillhouse.domain.snapshot_policies import BackupType

routes = Router()


@routes.operation("CreateSnapshotPolicy", Nothing, "The policies are as sent; the others stay")
def set_policies(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: SetPoliciesRequest
) -> Json:
    """Adds or changes the policies that are sent; the others stay."""
    strategies = [
        Strategy(
            policy_id=sent.policy_id,
            name=sent.policy_name,
            schedule=sent.backup_strategy,
            backup_type=BackupType(sent.backup_type) if sent.backup_type else None,
            level=sent.backup_level,
            time_zone_offset=sent.time_zone_offset,
        )
        for sent in body.backup_strategies or []
    ]
    snapshot_policies.set_policies(
        control,
        project_id,
        cluster_id,
        strategies,
        keep_day=body.keep_day,
        auto_backup=body.auto_backup,
        device=body.device_name,
    )
    return {}


@routes.operation("ListSnapshotPolicy", Policies, "The policies of the cluster")
def list_policies(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    request: Request,
    response: Response,
) -> Json:
    settings, found = snapshot_policies.list_policies(control, project_id, cluster_id)
    answer = policies_of_cluster(settings, found, control.clock.now())
    return client_types.for_client("ListSnapshotPolicy", answer, request, response)


@routes.operation("DeleteSnapshotPolicy", Nothing, "There is no such policy any more")
def delete_policy(control: ControlOf, project_id: str, cluster_id: ClusterId, id: str) -> Json:
    """A missing policy counts as deleted: Terraform knows no other answer for it."""
    snapshot_policies.delete_policy(control, project_id, cluster_id, id)
    return {}
