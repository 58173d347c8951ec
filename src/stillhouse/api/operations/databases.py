"""The operations of the DWS API that look inside a cluster: its nodes, settings, schemas and tables."""

from typing import Annotated

from fastapi import Query, Request, Response

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import client_types
from stillhouse.api.shapes import databases as shapes
from stillhouse.api.shapes.clusters import parameter_group_id
from stillhouse.api.shapes.databases import (
    Configurations,
    DatabaseObjects,
    Nodes,
    Parameters,
    Schemas,
    Validated,
    ValidateDbDataRequest,
)
from stillhouse.api.shapes.values import ClusterId, Json, Limit, Offset
from stillhouse.control.clusters import databases, requests
from stillhouse.domain.cluster import ClusterStatus, NodeState
from stillhouse.domain.reports.contents import Kind
from stillhouse.errors import OperationUnknown

routes = Router()

_VALIDATE = {"schema": databases.validate_schemas, "table": databases.validate_tables}
Name = Annotated[str, Query(max_length=255)]


@routes.operation("ValidateDbData", Validated, "Which of the names exist")
def validate(
    control: ControlOf, project_id: str, cluster_id: ClusterId, database: str, body: ValidateDbDataRequest
) -> Json:
    present = _VALIDATE[body.type](control, project_id, cluster_id, database, body.data)
    return {
        "total": len(body.data),
        "success": len(present),
        "failure": len(body.data) - len(present),
        "type": body.type,
        "data": present,
    }


@routes.operation("ListClusterNodes", Nodes, "One page of the cluster's servers, and their number in all")
def list_nodes(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = 100,
) -> Json:
    cluster = requests.get_cluster(control, project_id, cluster_id)
    nodes = [shapes.node(cluster, node) for node in cluster.nodes]
    down = sum(cluster.node_state(node) is NodeState.DOWN for node in cluster.nodes)
    failed = len(nodes) if cluster.status in (ClusterStatus.FAILED, ClusterStatus.CREATE_FAILED) else down
    return {"node_list": nodes[offset : offset + limit], "count": len(nodes), "failed_count": failed}


@routes.operation("ListClusterConfigurations", Configurations, "The cluster's one group of settings")
def list_configurations(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    cluster = requests.get_cluster(control, project_id, cluster_id)
    return {"configurations": [shapes.configuration(cluster)]}


@routes.operation(
    "ListClusterConfigurationsParameter",
    Parameters,
    "The settings of the cluster's servers, as its user may see them",
)
def list_parameters(
    control: ControlOf, project_id: str, cluster_id: ClusterId, configuration_id: str
) -> Json:
    cluster = requests.get_cluster(control, project_id, cluster_id)
    if configuration_id.lower() != parameter_group_id(cluster):
        raise OperationUnknown("the cluster has no such group of settings")
    return {"configurations": shapes.parameters(databases.settings_by_role(control, project_id, cluster_id))}


@routes.operation(
    "ListSchemas", Schemas, "One page of the database's schemas with their sizes, and their number in all"
)
def list_schemas(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    database_name: str,
    request: Request,
    response: Response,
    keywords: Name = "",
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = 10,
) -> Json:
    sizes = databases.schema_sizes(control, project_id, cluster_id, database_name)
    shown = [shapes.schema(size, database_name) for size in sizes if keywords in size.schema]
    answer: Json = {"schemas": shown[offset : offset + limit], "count": len(shown)}
    return client_types.for_client("ListSchemas", answer, request, response)


@routes.operation(
    "ListDatabaseObjects",
    DatabaseObjects,
    "One page of the names of one kind, and their number in all, as text",
)
def list_objects(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    type: Kind,
    name: Name = "",
    database: Name | None = None,
    schema: Name | None = None,
    offset: Annotated[Offset, Query()] = 0,
    limit: Annotated[Limit, Query()] = 1000,
) -> Json:
    found = databases.list_objects(control, project_id, cluster_id, type, database=database, schema=schema)
    named = [one for one in found if name in one]
    shown = [{"obj_name": one} for one in named[offset : offset + limit]]
    return {"type": type.value, "object_list": shown, "count": str(len(named))}
