"""The operations of the DWS API about capacity: node types, zones, quotas, statistics."""

from typing import Annotated, Literal

from fastapi import Request, Response

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import capacity, client_types
from stillhouse.api.shapes.capacity import NodeTypes, Quotas, ResourceStatistics, Statistics, Zones
from stillhouse.api.shapes.values import Json, unless_empty
from stillhouse.control.reports import capacity as host

routes = Router()


@routes.operation("ListNodeTypes", NodeTypes, "The one type of node there is: this host")
def list_node_types(control: ControlOf, project_id: str, request: Request, response: Response) -> Json:
    answer: Json = {"node_types": [capacity.node_type(host.measure(control))], "count": 1}
    return client_types.for_client("ListNodeTypes", answer, request, response)


@routes.operation("ListAvailabilityZones", Zones, "The one zone there is: this host")
def list_zones(control: ControlOf, project_id: str) -> Json:
    return {"availability_zones": [capacity.zone()], "count": 1}


@routes.operation("ListQuotas", Quotas, "The limits, and how much of them is used")
def list_quotas(control: ControlOf, project_id: str, request: Request, response: Response) -> Json:
    measured, held = host.measure(control), host.holdings(control, project_id)
    answer: Json = {"quotas": {"resources": capacity.quotas(measured, held)}}
    return client_types.for_client("ListQuotas", answer, request, response)


@routes.operation("ListStatistics", Statistics, "Clusters and nodes of the project, and the host's storage")
def list_statistics(control: ControlOf, project_id: str) -> Json:
    measured, held = host.measure(control), host.holdings(control, project_id)
    return {"statistics": capacity.statistics(measured, held)}


@routes.operation(
    "ShowResourceStatistics", ResourceStatistics, "Clusters and nodes of the project, and those at work"
)
def show_resource_statistics(
    control: ControlOf,
    project_id: str,
    namespace: Annotated[Literal["dws"], unless_empty("dws")] = "dws",
) -> Json:
    return capacity.resource_statistics(host.holdings(control, project_id))
