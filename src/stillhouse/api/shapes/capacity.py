"""Shapes of the answers about this host, its one kind of node, and a project's holdings on it; see `answer`."""

from stillhouse.api.shapes.answer import Answer, Int32, ShownTag, Text


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
    unit: Text


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


class ProjectTag(Answer):
    key: str
    values: list[str]


class ProjectTags(Answer):
    tags: list[ProjectTag]


class ClusterTags(Answer):
    tags: list[ShownTag]
