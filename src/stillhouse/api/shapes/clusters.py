"""Clusters: the bodies of their requests and answers, and how a cluster is shown."""

import uuid
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from stillhouse.api.shapes.tags import ShownTag, Tag, Tags
from stillhouse.api.shapes.values import (
    DATASTORE,
    INT32_MAX,
    VERSION,
    Answer,
    ClusterId,
    DecimalText,
    Id,
    Int32,
    Json,
    NullableText,
    Request,
    ShortText,
    cluster_time,
)
from stillhouse.control.clusters.facts import TIME_ZONE
from stillhouse.control.clusters.tags import MOST_TAGS
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, NodeState, Task
from stillhouse.domain.reports.capacity import ZONE

# DWS's own numbers for the state of a node.
_NODE_STATUS = {
    ClusterStatus.CREATING: "100",
    ClusterStatus.AVAILABLE: "200",
    ClusterStatus.FAILED: "300",
    ClusterStatus.CREATE_FAILED: "303",
    ClusterStatus.DELETING: "304",
    ClusterStatus.DELETE_FAILED: "305",
    ClusterStatus.DELETED: "400",
}
# DWS's words for the last failure, by our code; it has no word for a failed snapshot.
_FAILURE = {
    "provision.failed": "DWS.6000",
    "restart.failed": "DWS.6002",
    "start.failed": "DWS.6002",
    "stop.failed": "DWS.6002",
    "restore.failed": "DWS.6003",
    "delete.failed": "DWS.6014",
}
_OTHER_FAILURE = "DWS.9999"
# The tasks DWS has a word for in `action_progress` and in `task_status`; the rest show in `status` only.
_SHOWN_AS_PROGRESS = frozenset(
    {Task.CREATING, Task.RESTORING, Task.FINE_GRAINED_RESTORING, Task.SNAPSHOTTING, Task.REBOOTING}
)
SHOWN_AS_TASK = _SHOWN_AS_PROGRESS - {Task.CREATING} | {Task.STARTING, Task.STOPPING}


class PublicIp(Request):
    public_bind_type: Literal["auto_assign", "not_use", "bind_existing"] | None = None
    eip_id: ShortText | None = None


def _tags(value: object) -> object:
    """Read tags: the SDKs send one as an object, Terraform sends a list."""
    return [value] if isinstance(value, dict) else value


class ClusterToCreate(Request):
    name: str
    node_type: ShortText
    number_of_node: int
    vpc_id: ShortText
    subnet_id: ShortText
    security_group_id: ShortText | None = None
    availability_zone: ShortText | None = None
    port: int | None = None
    user_name: str
    user_pwd: SecretStr
    public_ip: PublicIp | None = None
    number_of_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS), BeforeValidator(_tags)] | None = None
    enterprise_project_id: ShortText | None = None


class CreateClusterRequest(Request):
    cluster: ClusterToCreate


class DeleteClusterRequest(Request):
    keep_last_manual_snapshot: Annotated[int, Field(ge=0, le=INT32_MAX)]


class RestartClusterRequest(Request):
    """Carries nothing; Terraform does not even send it."""

    restart: dict[str, object] | None = None


def _without_empty(zones: object) -> object:
    """Read zones. Terraform splits a text at commas, and so sends `[""]` for no zone."""
    return [zone for zone in zones if zone != ""] if isinstance(zones, list) else zones


ZoneNames = Annotated[list[ShortText], Field(max_length=3), BeforeValidator(_without_empty)]


class Volume(Request):
    volume: ShortText | None = None
    capacity: DecimalText | None = None
    iops: DecimalText | None = None


class ClusterToCreateV2(Request):
    name: str
    flavor: ShortText
    num_node: int
    num_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    db_name: str
    db_password: SecretStr
    db_port: DecimalText = names.DEFAULT_PORT
    availability_zones: ZoneNames | None = None
    vpc_id: ShortText
    subnet_id: ShortText
    security_group_id: ShortText | None = None
    datastore_version: ShortText | None = None
    volume: Volume | None = None
    tags: Tags | None = None
    public_ip: PublicIp | None = None
    dss_pool_id: ShortText | None = None
    master_key_id: ShortText | None = None
    master_key_name: ShortText | None = None
    crypt_algorithm: ShortText | None = None
    enterprise_project_id: ShortText | None = None
    ipv6_enable: bool | None = None


class CreateClusterV2Request(Request):
    cluster: ClusterToCreateV2


class RestorePoint(Request):
    back_ref: ShortText | None = None
    restore_time: int | None = None
    cluster_id: ClusterId | None = None


class ClusterToCheck(Request):
    flavor: ShortText
    availability_zones: ZoneNames
    num_node: int
    datastore_version: ShortText
    vpc_id: ShortText
    subnet_id: ShortText
    security_group_id: ShortText | None = None
    public_ip: PublicIp | None = None
    volume: Volume | None = None
    tag_list: Tags | None = None
    db_port: DecimalText | None = None
    db_password: SecretStr | None = None
    db_name: str | None = None
    num_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    name: str | None = None
    dss_pool_id: ShortText | None = None
    enterprise_project_id: ShortText | None = None
    cross_spec_restore: ShortText | None = None
    old_cluster_hostname: ShortText | None = None
    restore_point: RestorePoint | None = None


class CheckClusterRequest(Request):
    cluster: ClusterToCheck


class NameRequest(Request):
    cluster_name: str


class DescriptionRequest(Request):
    description_info: Annotated[str, Field(max_length=1024)] | None = None


class TimeZoneRequest(Request):
    cluster_timezone: Annotated[str, Field(max_length=64)]


class LogicalClusterSwitchRequest(Request):
    enable: bool


class ClusterCreated(Answer):
    cluster: Id


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


class ShownPublicIp(Answer):
    public_bind_type: str
    eip_id: NullableText = None


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
    task_status: NullableText
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
    public_ip: NullableText
    private_ip: NullableText
    private_endpoint: NullableText
    vpc_id: NullableText


class DetailedCluster(ListedCluster):
    node_type_id: str
    private_ip: list[str]
    parameter_group: ParameterGroup | None
    maintain_window: MaintainWindow | None
    resize_info: ResizeInfo | None
    elb: Elb | None
    order_id: NullableText
    cluster_description_info: NullableText
    cluster_timezone: NullableText
    datastore_type: NullableText


class Clusters(Answer):
    clusters: list[ListedCluster]
    count: Int32


class ClusterDetails(Answer):
    cluster: DetailedCluster


def cluster_in_list(cluster: Cluster) -> Json:
    facts = cluster.facts
    return {
        "id": cluster.id,
        "name": cluster.name,
        "status": cluster.status.value,
        "version": VERSION,
        "created": cluster_time(cluster.created),
        "updated": cluster_time(cluster.updated),
        "port": cluster.port,
        "endpoints": [_endpoint(cluster.coordinator)] if cluster.nodes else [],
        "nodes": _nodes(cluster),
        "tags": facts.get("tags") or [],
        "user_name": cluster.user_name,
        "number_of_node": cluster.number_of_node,
        "recent_event": 0,
        "availability_zone": facts.get("availability_zone") or ZONE,
        "enterprise_project_id": facts.get("enterprise_project_id") or "0",
        "node_type": facts.get("node_type") or "",
        "vpc_id": facts.get("vpc_id") or "",
        "subnet_id": facts.get("subnet_id") or "",
        "security_group_id": facts.get("security_group_id") or "",
        # Requests for more than this are refused.
        "public_ip": {"public_bind_type": "not_use", "eip_id": ""},
        "public_endpoints": [],
        "action_progress": _action_progress(cluster),
        # As DWS has it: one that is at work, though not all of its nodes are.
        "sub_status": "DEGRADED" if cluster.state in ("DEGRADED", "DOWN") else "NORMAL",
        # Null and not "": otcextensions waits for null, and Terraform takes both for idle.
        "task_status": cluster.task.value if cluster.task in SHOWN_AS_TASK else None,
        "failed_reasons": _failed_reasons(cluster),
    }


def cluster_detail(cluster: Cluster) -> Json:
    return cluster_in_list(cluster) | {
        "node_type_id": cluster.facts.get("node_type") or "",
        "private_ip": [node.host for node in cluster.nodes],
        "parameter_group": {"id": parameter_group_id(cluster), "name": "default", "status": "In-Sync"},
        "maintain_window": None,
        "resize_info": None,
        "elb": None,
        "order_id": None,
        "cluster_description_info": cluster.facts.get("description") or None,
        "cluster_timezone": TIME_ZONE,
        "datastore_type": DATASTORE,
    }


def parameter_group_id(cluster: Cluster) -> str:
    """The id of the cluster's one group of settings, derived from the cluster's id."""
    return str(uuid.uuid5(uuid.UUID(cluster.id), "configuration"))


def _endpoint(coordinator: Node) -> Json:
    address = f"{coordinator.host}:{coordinator.port}"
    # The placeholder is literal in DWS's answers: only the caller knows the database.
    return {"connect_info": address, "jdbc_url": f"jdbc:postgresql://{address}/<YOUR_DATABASE_name>"}


def _nodes(cluster: Cluster) -> list[Json]:
    """The machines that DWS counts as `number_of_node`: the data nodes, or the cluster's only server.

    A node that does not exist yet is listed under an id that stays the same between two calls.
    """
    existing: list[Json] = [
        {"id": node.id, "name": node.name, "status": node_status(cluster, node)}
        for node in cluster.data_nodes or cluster.nodes
    ]
    planned: list[Json] = [
        {
            "id": str(uuid.uuid5(uuid.UUID(cluster.id), str(index))),
            "name": f"{cluster.name}-{index + 1}",
            "status": node_status(cluster),
        }
        for index in range(len(existing), cluster.number_of_node)
    ]
    return existing + planned


def node_status(cluster: Cluster, node: Node | None = None) -> str:
    """DWS's number for the state of a node, or of one that does not exist yet."""
    is_away = cluster.stopped or (node is not None and cluster.node_state(node) is NodeState.DOWN)
    return _NODE_STATUS[
        ClusterStatus.FAILED if is_away and cluster.status is ClusterStatus.AVAILABLE else cluster.status
    ]


def _action_progress(cluster: Cluster) -> Json:
    if cluster.task not in _SHOWN_AS_PROGRESS:
        return {}
    return {str(cluster.task): f"{cluster.progress}%"}


def _failed_reasons(cluster: Cluster) -> Json | None:
    if not cluster.failed_reason:
        return None
    return {"error_code": failure_code(cluster.failed_code), "error_msg": cluster.failed_reason}


def failure_code(ours: str) -> str:
    return _FAILURE.get(ours, _OTHER_FAILURE)
