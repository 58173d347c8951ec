"""The operations of automated snapshots: policies, permanent copies, and the storage of snapshots."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Request as Asking
from fastapi import Response
from pydantic import Field

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import java_text
from stillhouse.api.shapes.answer import Nothing
from stillhouse.api.shapes.capacity import Statistics
from stillhouse.api.shapes.extensions import Policies, SnapshotCopied
from stillhouse.api.shapes.render import Json, epoch_milliseconds, snapshot_time
from stillhouse.api.shapes.request import ClusterId, Request, SnapshotId, Text
from stillhouse.control.schedule import snapshot_policies as policies
from stillhouse.control.schedule.snapshot_policies import Strategy
from stillhouse.control.snapshots import requests as snapshots
from stillhouse.domain.schedule import LONGEST_TEXT, parse
from stillhouse.domain.snapshot_policies import (
    LEAST_KEEP_DAY,
    MOST_KEEP_DAY,
    MOST_OF_CLUSTER,
    MOST_OF_SCHEMA,
    BackupSettings,
    BackupType,
    Policy,
)

routes = router()

_GB = 1024**3


class StrategyToSet(Request):
    """A policy as it is sent. The model's other fields are not read: output, and levels below the cluster."""

    policy_id: Text | None = None
    policy_name: str | None = None
    backup_strategy: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None
    backup_type: Literal["full", "increment"] | None = None
    backup_level: Text | None = None
    time_zone_offset: Annotated[int, Field(ge=0, le=23)] | None = None


class SetPoliciesRequest(Request):
    keep_day: Annotated[int, Field(ge=LEAST_KEEP_DAY, le=MOST_KEEP_DAY)] | None = None
    backup_strategies: Annotated[list[StrategyToSet], Field(max_length=MOST_OF_SCHEMA)] | None = None
    device_name: Text | None = None
    auto_backup: bool | None = None


class CopySnapshotRequest(Request):
    backup_name: str
    description: str | None = None


@routes.put(
    "/v2/{project_id}/clusters/{cluster_id}/snapshot-policies",
    operation_id="CreateSnapshotPolicy",
    **answers(Nothing, "The policies are as sent; the others stay"),
)
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


@routes.get(
    "/v2/{project_id}/clusters/{cluster_id}/snapshot-policies",
    operation_id="ListSnapshotPolicy",
    **answers(Policies, "The policies of the cluster"),
)
def list_policies(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    request: Asking,
    response: Response,
) -> Json:
    settings, found = policies.list_policies(control, project_id, cluster_id)
    answer = policies_of_cluster(settings, found, control.clock.now())
    return java_text.for_client("ListSnapshotPolicy", answer, request, response)


@routes.delete(
    "/v1.0/{project_id}/clusters/{cluster_id}/snapshot-policies/{id}",
    operation_id="DeleteSnapshotPolicy",
    **answers(Nothing, "There is no such policy any more"),
)
def delete_policy(control: ControlOf, project_id: str, cluster_id: ClusterId, id: str) -> Json:
    """A missing policy counts as deleted: Terraform knows no other answer for it."""
    policies.delete_policy(control, project_id, cluster_id, id)
    return {}


@routes.post(
    "/v1.0/{project_id}/snapshots/{snapshot_id}/linked-copy",
    operation_id="CopySnapshot",
    **answers(SnapshotCopied, "The copy is being made"),
)
def copy_snapshot(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: CopySnapshotRequest
) -> Json:
    copy_id = snapshots.request_copy(
        control, project_id, snapshot_id, name=body.backup_name, description=body.description or ""
    )
    return {"snapshot_id": copy_id}


@routes.get(
    "/v1.0/{project_id}/clusters/{cluster_id}/snapshots/statistics",
    operation_id="ListSnapshotStatistics",
    **answers(Statistics, "The storage that the snapshots of the cluster take"),
)
def show_statistics(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    storage = policies.storage_statistics(control, project_id, cluster_id)
    named = {"storage.free": storage.free, "storage.paid": storage.paid, "storage.used": storage.used}
    return {
        "statistics": [
            {"name": name, "value": round(count / _GB, 6), "unit": "GB"} for name, count in named.items()
        ]
    }


def policies_of_cluster(settings: BackupSettings, found: list[Policy], now: datetime) -> Json:
    return {
        "keep_day": settings.keep_day,
        "auto_backup": settings.auto_backup,
        "device_name": "OBS",
        "server_ips": None,
        "server_port": None,
        "backup_param": None,
        "backup_strategy_cluster_type_limit_num": MOST_OF_CLUSTER,
        "backup_strategy_schema_type_limit_num": MOST_OF_SCHEMA,
        "backup_strategies": [_policy(policy, now if settings.auto_backup else None) for policy in found],
    }


def _policy(policy: Policy, now: datetime | None) -> Json:
    """Return a policy as JSON. Without a time no run is planned."""
    fires = None if now is None else parse(policy.schedule).next_after(now)
    return {
        "policy_id": policy.id,
        "policy_name": policy.name,
        "backup_strategy": policy.schedule,
        "backup_type": policy.backup_type.value,
        "backup_level": "cluster",
        "next_fire_time": None if fires is None else epoch_milliseconds(fires),
        "update_time": snapshot_time(policy.updated),
        "time_zone_offset": policy.time_zone_offset,
        "backup_database": None,
        "backup_schema_list": None,
        "backup_table_list": None,
    }
