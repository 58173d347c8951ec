"""The operations of the DWS API about capacity: node types, zones, quotas, statistics."""

from typing import Annotated, Literal

from fastapi import Request, Response

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import java_text, render_host
from stillhouse.api.shapes.capacity import NodeTypes, Quotas, ResourceStatistics, Statistics, Zones
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import unless_empty
from stillhouse.control.reports import capacity as host

routes = router()


@routes.get(
    "/v2/{project_id}/node-types",
    operation_id="ListNodeTypes",
    **answers(NodeTypes, "The one type of node there is: this host"),
)
def list_node_types(control: ControlOf, project_id: str, request: Request, response: Response) -> Json:
    answer: Json = {"node_types": [render_host.node_type(host.measure(control))], "count": 1}
    return java_text.for_client("ListNodeTypes", answer, request, response)


@routes.get(
    "/v1.0/{project_id}/availability-zones",
    operation_id="ListAvailabilityZones",
    **answers(Zones, "The one zone there is: this host"),
)
def list_zones(control: ControlOf, project_id: str) -> Json:
    return {"availability_zones": [render_host.zone()], "count": 1}


@routes.get(
    "/v1.0/{project_id}/quotas",
    operation_id="ListQuotas",
    **answers(Quotas, "The limits, and how much of them is used"),
)
def list_quotas(control: ControlOf, project_id: str, request: Request, response: Response) -> Json:
    measured, held = host.measure(control), host.holdings(control, project_id)
    answer: Json = {"quotas": {"resources": render_host.quotas(measured, held)}}
    return java_text.for_client("ListQuotas", answer, request, response)


@routes.get(
    "/v1.0/{project_id}/statistics",
    operation_id="ListStatistics",
    **answers(Statistics, "Clusters and nodes of the project, and the host's storage"),
)
def list_statistics(control: ControlOf, project_id: str) -> Json:
    measured, held = host.measure(control), host.holdings(control, project_id)
    return {"statistics": render_host.statistics(measured, held)}


@routes.get(
    "/v1/{project_id}/resource-statistics",
    operation_id="ShowResourceStatistics",
    **answers(ResourceStatistics, "Clusters and nodes of the project, and those at work"),
)
def show_resource_statistics(
    control: ControlOf,
    project_id: str,
    namespace: Annotated[Literal["dws"], unless_empty("dws")] = "dws",
) -> Json:
    return render_host.resource_statistics(host.holdings(control, project_id))
