"""Shapes of the answers about snapshots and clusters, for the OpenAPI document and its tests.

Answers are built by `render` and sent as they are; nothing here runs when a request is answered. The
fields are described in `glossary`.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
Text = str | None


class Answer(BaseModel):
    """Every key is always there; a missing value is null."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Answer):
    """An empty object, because clients decode the body of every answer."""


class Done(Answer):
    error_code: Text
    error_msg: Text


class Id(Answer):
    id: str


class ShownProgress(Answer):
    phase: str
    bytes_done: Int64
    bytes_total: Int64
    bytes_per_second: Int64
    seconds_left: Int64 | None
    percent: Int32
    expected_pause_seconds: float | None


class SnapshotCreated(Answer):
    snapshot: Id


class ClusterCreated(Answer):
    cluster: Id


class ClusterRestored(Answer):
    cluster: Id
    job_id: Text


class Accepted(Answer):
    error_code: Text
    error_msg: Text
    job_id: Text


class Datastore(Answer):
    type: str
    version: str


class FineGrainedDetail(Answer):
    database: Text
    schema_list: list[str] | None
    table_list: list[str] | None


class ListedSnapshot(Answer):
    id: str
    name: str
    description: str
    started: str
    finished: str
    updated: str
    size: float
    status: str
    type: str
    cluster_id: str
    cluster_name: str
    datastore: Datastore
    bak_expected_start_time: Text
    bak_keep_day: Int32 | None
    bak_period: Text
    db_user: str
    progress: str
    backup_key: str
    prior_backup_key: str
    base_backup_key: str
    base_backup_name: str
    backup_device: str
    total_backup_size: Int64 | None
    support_inplace_restore: bool
    fine_grained_backup: bool
    backup_level: str
    fine_grained_backup_detail: FineGrainedDetail | None
    guest_agent_version: Text
    cluster_status: Text
    cluster_task_status: Text


class ClusterSnapshot(ListedSnapshot):
    total_backup_size: Int32 | None


class DetailedSnapshot(ClusterSnapshot):
    support_fine_grained_cross_version_restore: bool
    support_fine_grained_asymmetric_restore: bool


class Snapshots(Answer):
    snapshots: list[ListedSnapshot]
    count: Int32


class ClusterSnapshots(Answer):
    project_id: str
    cluster_id: str
    snapshots: list[ClusterSnapshot]
    count: Int32


class SnapshotDetails(Answer):
    snapshot: DetailedSnapshot


class Endpoint(Answer):
    connect_info: str
    jdbc_url: str


class PublicEndpoint(Answer):
    public_connect_info: str
    jdbc_url: str


class ClusterNode(Answer):
    id: str
    name: str
    status: str


class ShownTag(Answer):
    key: str
    value: str


class ShownPublicIp(Answer):
    public_bind_type: str
    eip_id: Text = None


class FailedReason(Answer):
    error_code: str
    error_msg: str


class ListedCluster(Answer):
    id: str
    name: str
    status: str
    version: str
    created: str
    updated: str
    port: Int32
    endpoints: list[Endpoint]
    nodes: list[ClusterNode]
    tags: list[ShownTag]
    user_name: str
    number_of_node: Int32
    recent_event: Int32
    availability_zone: str
    enterprise_project_id: str
    node_type: str
    vpc_id: str
    subnet_id: str
    security_group_id: str
    public_ip: ShownPublicIp
    public_endpoints: list[PublicEndpoint]
    action_progress: dict[str, str]
    sub_status: str
    task_status: Text
    failed_reasons: FailedReason | None


class ParameterGroup(Answer):
    id: str
    name: str
    status: str


class MaintainWindow(Answer):
    day: str
    start_time: str
    end_time: str


class ResizeInfo(Answer):
    target_node_num: Int32
    origin_node_num: Int32
    resize_status: str
    start_time: str


class Elb(Answer):
    id: str
    name: str
    public_ip: Text
    private_ip: Text
    private_endpoint: Text
    vpc_id: Text


class DetailedCluster(ListedCluster):
    node_type_id: str
    private_ip: list[str]
    parameter_group: ParameterGroup | None
    maintain_window: MaintainWindow | None
    resize_info: ResizeInfo | None
    elb: Elb | None
    order_id: Text
    cluster_description_info: Text
    cluster_timezone: Text
    datastore_type: Text


class Clusters(Answer):
    clusters: list[ListedCluster]
    count: Int32


class ClusterDetails(Answer):
    cluster: DetailedCluster
