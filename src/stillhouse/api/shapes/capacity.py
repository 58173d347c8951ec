"""The host and its one node type: the bodies of answers about them, and how they are shown as DWS shows its own."""

import uuid

from stillhouse.api.shapes.values import DATASTORE, GB, VERSION, Answer, Int32, Json, NullableText
from stillhouse.control.reports.capacity import Holdings
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.reports.capacity import NODE_TYPE, ZONE, Host

# Ids of node types are UUIDs in DWS; ours is the same on every host, as its name is.
_NODE_TYPE_ID = str(uuid.uuid5(uuid.NAMESPACE_OID, NODE_TYPE))
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm"}
_DISK = "LOCAL_DISK"
_UNLIMITED = -1


class Attribute(Answer):
    code: str
    value: str


class ProductVersion(Answer):
    min_cn: Int32
    max_cn: Int32
    version_type: str
    datastore_version: str


class VolumeUsed(Answer):
    volume_type: str
    volume_num: Int32
    capacity: Int32
    volume_size: Int32


class Flavor(Answer):
    id: str
    code: str
    default_capacity: str
    classify: str
    scenario: str
    version: str
    status: str
    attribute: list[Attribute]
    duplicate: Int32
    default_node: Int32
    min_node: Int32
    max_node: Int32
    product_version_list: list[ProductVersion]
    flavor_id: str
    flavor_code: str
    volume_num: Int32
    volume_used: VolumeUsed


class Flavors(Answer):
    flavors: list[Flavor]
    count: Int32


class NodeZone(Answer):
    code: str
    status: str


class Attachments(Answer):
    min_cn: Int32
    max_cn: Int32


class NodeDatastore(Answer):
    version: str
    attachments: Attachments
    role: str


class NodeVolume(Answer):
    type: str
    size: Int32


class ElasticVolume(Answer):
    type: str
    step: Int32
    min_size: Int32
    max_size: Int32


class NodeDetail(Answer):
    type: str
    value: str
    unit: NullableText


class NodeType(Answer):
    spec_name: str
    id: str
    datastore_type: str
    architecture: str
    ram: Int32
    vcpus: Int32
    available_zones: list[NodeZone]
    availability_zones: list[NodeZone]
    datastores: list[NodeDatastore]
    volume: NodeVolume
    elastic_volume_specs: list[ElasticVolume] | None
    detail: list[NodeDetail]


class NodeTypes(Answer):
    node_types: list[NodeType]
    count: Int32


class Zone(Answer):
    code: str
    name: str
    status: str
    public_border_group: str


class Zones(Answer):
    availability_zones: list[Zone]
    count: Int32


class Quota(Answer):
    type: str
    used: Int32
    quota: Int32
    unit: str


class QuotaList(Answer):
    resources: list[Quota]


class Quotas(Answer):
    quotas: QuotaList


class Statistic(Answer):
    name: str
    value: float
    unit: str


class Statistics(Answer):
    statistics: list[Statistic]


class ActiveAndTotal(Answer):
    active: Int32
    total: Int32


class ResourceStatistics(Answer):
    cluster_statistics: ActiveAndTotal
    node_statistics: ActiveAndTotal


def node_type(host: Host) -> Json:
    # The API's pages and SDKs read the first of these keys, Terraform the second.
    zones = [{"code": ZONE, "status": "normal"}]
    return {
        "spec_name": NODE_TYPE,
        "id": _NODE_TYPE_ID,
        "datastore_type": DATASTORE,
        "architecture": _ARCHITECTURES.get(host.machine, host.machine),
        "ram": _gb(host.memory_bytes),
        "vcpus": host.cores,
        "available_zones": zones,
        "availability_zones": zones,
        "datastores": [
            {"version": VERSION, "attachments": {"min_cn": 1, "max_cn": 1}, "role": "STABLE"},
        ],
        "volume": {"type": _DISK, "size": _gb(host.disk_bytes)},
        "elastic_volume_specs": None,
        "detail": [
            {"type": "vCPU", "value": str(host.cores), "unit": None},
            {"type": "mem", "value": str(_gb(host.memory_bytes)), "unit": "GB"},
            {"type": _DISK, "value": str(_gb(host.disk_bytes)), "unit": "GB"},
        ],
    }


def flavor(host: Host, source: Cluster) -> Json:
    """The flavour a snapshot of `source` can be restored to: this host, with as many nodes as the source has."""
    disk = _gb(host.disk_bytes)
    return {
        "id": _NODE_TYPE_ID,
        "code": NODE_TYPE,
        "default_capacity": str(disk),
        "classify": "customized",
        "scenario": DATASTORE,
        "version": "v2.0",
        "status": "normal",
        "attribute": [
            {"code": "cpu", "value": str(host.cores)},
            {"code": "mem", "value": str(_gb(host.memory_bytes))},
        ],
        "duplicate": 1,
        "default_node": source.number_of_node,
        "min_node": source.number_of_node,
        "max_node": source.number_of_node,
        "product_version_list": [
            {"min_cn": 1, "max_cn": 1, "version_type": "1", "datastore_version": VERSION},
        ],
        "flavor_id": _NODE_TYPE_ID,
        "flavor_code": NODE_TYPE,
        "volume_num": 1,
        "volume_used": {"volume_type": _DISK, "volume_num": 1, "capacity": disk, "volume_size": disk},
    }


def zone() -> Json:
    return {"code": ZONE, "name": "This host", "status": "available", "public_border_group": "center"}


def quotas(host: Host, held: Holdings) -> list[Json]:
    """The limits. Only the host's disk limits clusters; no cores or memory are set aside for a node."""
    return [
        {"type": "instances", "used": held.clusters, "quota": _UNLIMITED, "unit": ""},
        {
            "type": "disk_capacity",
            "used": _gb(host.disk_used_bytes),
            "quota": _gb(host.disk_bytes),
            "unit": "GB",
        },
    ]


def statistics(host: Host, held: Holdings) -> list[Json]:
    return [
        {"name": "cluster.total", "value": float(held.clusters), "unit": ""},
        {"name": "cluster.normal", "value": float(held.clusters_at_work), "unit": ""},
        {"name": "instance.total", "value": float(held.nodes), "unit": ""},
        {"name": "instance.normal", "value": float(held.nodes_at_work), "unit": ""},
        {"name": "storage.total", "value": round(host.disk_bytes / GB, 3), "unit": "GB"},
    ]


def resource_statistics(held: Holdings) -> Json:
    return {
        "cluster_statistics": {"active": held.clusters_at_work, "total": held.clusters},
        "node_statistics": {"active": held.nodes_at_work, "total": held.nodes},
    }


def _gb(size: int) -> int:
    """Return whole GB, as DWS counts them, and at least 1."""
    return max(round(size / GB), 1)
