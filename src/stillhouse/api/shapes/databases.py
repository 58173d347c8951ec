"""A cluster's nodes, settings, schemas and names: the bodies of requests and answers, and how they are shown."""

from typing import Annotated, Literal

from pydantic import Field

from stillhouse.api.shapes.clusters import node_status, parameter_group_id
from stillhouse.api.shapes.values import Answer, Int32, Int64, Json, Request
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.reports.capacity import NODE_TYPE, ZONE
from stillhouse.domain.reports.contents import SchemaSize, Setting

_UNLIMITED = -1
# PostgreSQL's kinds of settings in DWS's words.
_KINDS = {"bool": "boolean", "integer": "integer", "real": "float", "string": "string", "enum": "list"}


class ValidateDbDataRequest(Request):
    type: Literal["schema", "table"]
    data: Annotated[list[str], Field(max_length=1000)]


class Validated(Answer):
    total: Int32
    success: Int32
    failure: Int32
    type: str
    data: list[str]


class SchemaInfo(Answer):
    schema_name: str
    database_name: str
    total_value: Int64
    perm_space: Int64
    skew_percent: float
    min_value: Int64
    max_value: Int64
    min_dn: str
    max_dn: str
    dn_num: Int32


class Schemas(Answer):
    schemas: list[SchemaInfo]
    count: Int32


class DatabaseObject(Answer):
    obj_name: str


class DatabaseObjects(Answer):
    type: str
    object_list: list[DatabaseObject]
    count: str


class NodeInfo(Answer):
    id: str
    name: str
    status: str
    sub_status: str
    spec: str
    inst_create_type: str
    alias_name: str
    az_code: str


class Nodes(Answer):
    node_list: list[NodeInfo]
    count: Int32
    failed_count: Int32


class Configuration(Answer):
    id: str
    name: str
    type: str
    status: str
    fail_reason: str


class Configurations(Answer):
    configurations: list[Configuration]


class ParameterValue(Answer):
    type: str
    value: str
    default_value: str


class Parameter(Answer):
    name: str
    values: list[ParameterValue]
    unit: str
    type: str
    readonly: bool
    value_range: str
    restart_required: bool
    description: str


class Parameters(Answer):
    configurations: list[Parameter]


def node(cluster: Cluster, one: Node) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "status": node_status(cluster, one),
        "sub_status": "NORMAL",
        "spec": NODE_TYPE,
        "inst_create_type": "INST",
        "alias_name": f"{cluster.name}-{one.name}",
        "az_code": ZONE,
    }


def schema(size: SchemaSize, database: str) -> Json:
    """A schema's sizes in bytes. The skew is how far the emptiest node is below the fullest, in percent."""
    nodes = size.on_nodes
    fullest, emptiest = max(nodes, key=lambda name: nodes[name]), min(nodes, key=lambda name: nodes[name])
    skew = 100 * (nodes[fullest] - nodes[emptiest]) / nodes[fullest] if nodes[fullest] else 0.0
    return {
        "schema_name": size.schema,
        "database_name": database,
        "total_value": sum(nodes.values()),
        "perm_space": _UNLIMITED,
        "skew_percent": round(skew, 2),
        "min_value": nodes[emptiest],
        "max_value": nodes[fullest],
        "min_dn": emptiest,
        "max_dn": fullest,
        "dn_num": len(nodes),
    }


def configuration(cluster: Cluster) -> Json:
    return {
        "id": parameter_group_id(cluster),
        "name": "default",
        # The type by which Terraform finds the group of a cluster's settings.
        "type": "hiddenParameterGroup",
        "status": "In-Sync",
        "fail_reason": "",
    }


def parameters(by_role: dict[str, list[Setting]]) -> list[Json]:
    """One entry for each setting, with its value at each role."""
    found: dict[str, list[tuple[str, Setting]]] = {}
    for role, settings in by_role.items():
        for setting in settings:
            found.setdefault(setting.name, []).append((role, setting))
    return [_parameter([*found[name]]) for name in sorted(found)]


def _parameter(at_roles: list[tuple[str, Setting]]) -> Json:
    setting = at_roles[0][1]
    low, high = setting.bounds
    return {
        "name": setting.name,
        "values": [
            {"type": role, "value": one.value, "default_value": one.default} for role, one in at_roles
        ],
        "unit": setting.unit,
        "type": _KINDS[setting.kind],
        "readonly": True,
        "value_range": setting.choices or (f"{low}-{high}" if low and high else ""),
        "restart_required": setting.context == "postmaster",
        "description": setting.description,
    }
