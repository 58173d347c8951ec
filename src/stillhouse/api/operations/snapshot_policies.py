"""The operations of automated snapshots: policies, permanent copies, and the storage of snapshots."""

from fastapi import Request as Asking
from fastapi import Response

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import client_types
from stillhouse.api.shapes.capacity import Statistics
from stillhouse.api.shapes.snapshot_policies import Policies, SetPoliciesRequest, policies_of_cluster
from stillhouse.api.shapes.snapshots import CopySnapshotRequest, SnapshotCopied
from stillhouse.api.shapes.values import GB, ClusterId, Json, Nothing, SnapshotId
from stillhouse.control.schedule import snapshot_policies as policies
from stillhouse.control.schedule.snapshot_policies import Strategy
from stillhouse.control.snapshots import requests as snapshots
from stillhouse.domain.snapshot_policies import (
    BackupType,
)

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
    policies.set_policies(
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
    request: Asking,
    response: Response,
) -> Json:
    settings, found = policies.list_policies(control, project_id, cluster_id)
    answer = policies_of_cluster(settings, found, control.clock.now())
    return client_types.for_client("ListSnapshotPolicy", answer, request, response)


@routes.operation("DeleteSnapshotPolicy", Nothing, "There is no such policy any more")
def delete_policy(control: ControlOf, project_id: str, cluster_id: ClusterId, id: str) -> Json:
    """A missing policy counts as deleted: Terraform knows no other answer for it."""
    policies.delete_policy(control, project_id, cluster_id, id)
    return {}


@routes.operation("CopySnapshot", SnapshotCopied, "The copy is being made")
def copy_snapshot(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: CopySnapshotRequest
) -> Json:
    copy_id = snapshots.request_copy(
        control, project_id, snapshot_id, name=body.backup_name, description=body.description or ""
    )
    return {"snapshot_id": copy_id}


@routes.operation("ListSnapshotStatistics", Statistics, "The storage that the snapshots of the cluster take")
def show_statistics(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    storage = policies.storage_statistics(control, project_id, cluster_id)
    named = {"storage.free": storage.free, "storage.paid": storage.paid, "storage.used": storage.used}
    return {
        "statistics": [
            {"name": name, "value": round(count / GB, 6), "unit": "GB"} for name, count in named.items()
        ]
    }
