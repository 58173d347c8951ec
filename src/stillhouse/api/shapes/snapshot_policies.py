"""Snapshot policies: the bodies of their requests and answers, and how they are shown."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from stillhouse.api.shapes.values import (
    Answer,
    Int32,
    Json,
    NullableText,
    Request,
    ShortText,
    epoch_milliseconds,
    snapshot_time,
)
from stillhouse.domain.schedule import LONGEST_TEXT, parse
from stillhouse.domain.snapshot_policies import (
    LEAST_KEEP_DAY,
    MOST_KEEP_DAY,
    MOST_OF_CLUSTER,
    MOST_OF_SCHEMA,
    BackupSettings,
    Policy,
)


class StrategyToSet(Request):
    """A policy as it is sent. The model's other fields are not read: output, and levels below the cluster."""

    policy_id: ShortText | None = None
    policy_name: str | None = None
    backup_strategy: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None
    backup_type: Literal["full", "increment"] | None = None
    backup_level: ShortText | None = None
    time_zone_offset: Annotated[int, Field(ge=0, le=23)] | None = None


class SetPoliciesRequest(Request):
    keep_day: Annotated[int, Field(ge=LEAST_KEEP_DAY, le=MOST_KEEP_DAY)] | None = None
    backup_strategies: Annotated[list[StrategyToSet], Field(max_length=MOST_OF_SCHEMA)] | None = None
    device_name: ShortText | None = None
    auto_backup: bool | None = None


class Strategy(Answer):
    policy_id: str
    policy_name: str
    backup_strategy: str
    backup_type: str
    backup_level: str
    next_fire_time: NullableText
    update_time: str
    time_zone_offset: Int32
    backup_database: NullableText
    backup_schema_list: NullableText
    backup_table_list: NullableText


class Policies(Answer):
    keep_day: Int32
    auto_backup: bool
    device_name: str
    server_ips: list[str] | None
    server_port: NullableText
    backup_param: NullableText
    backup_strategy_cluster_type_limit_num: Int32
    backup_strategy_schema_type_limit_num: Int32
    backup_strategies: list[Strategy]


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
