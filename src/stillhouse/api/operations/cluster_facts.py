"""The operations by which Terraform changes a cluster that it has made, without a change to its servers."""

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render
from stillhouse.api.shapes.answer import Accepted, Done
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId
from stillhouse.api.shapes.request_more import (
    DescriptionRequest,
    LogicalClusterSwitchRequest,
    NameRequest,
    TimeZoneRequest,
)
from stillhouse.control.clusters import facts as cluster_facts

routes = router()

# DWS's code for a request that succeeded.
_DONE: Json = {"error_code": "DWS.0000", "error_msg": None}


@routes.put(
    "/v1/{project_id}/clusters/{cluster_id}/cluster-name",
    operation_id="ModifyClusterName",
    **answers(Accepted, "The cluster has the name; the job has ended"),
)
def rename(control: ControlOf, project_id: str, cluster_id: ClusterId, body: NameRequest) -> Json:
    return _ended(cluster_facts.rename(control, project_id, cluster_id, body.cluster_name))


@routes.post(
    "/v1/{project_id}/clusters/{cluster_id}/description",
    operation_id="SaveClusterDescriptionInfo",
    **answers(Done, "The cluster has the description"),
)
def describe(control: ControlOf, project_id: str, cluster_id: ClusterId, body: DescriptionRequest) -> Json:
    """An empty description removes it: Terraform does so."""
    cluster_facts.describe(control, project_id, cluster_id, body.description_info or "")
    return _DONE


@routes.post(
    "/v2/{project_id}/clusters/{cluster_id}/timezone",
    operation_id="ModifyClusterTimezone",
    **answers(Accepted, "The cluster is in the time zone; the job has ended"),
)
def set_time_zone(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TimeZoneRequest) -> Json:
    return _ended(cluster_facts.set_time_zone(control, project_id, cluster_id, body.cluster_timezone))


@routes.put(
    "/v2/{project_id}/clusters/{cluster_id}/logical-clusters/enable",
    operation_id="EnableLogicalCluster",
    **answers(Done, "The switch is as sent"),
)
def switch_logical_clusters(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: LogicalClusterSwitchRequest
) -> Json:
    cluster_facts.switch_logical_clusters(control, project_id, cluster_id, body.enable)
    return _DONE


def _ended(operation_id: str) -> Json:
    return {"error_code": None, "error_msg": None, "job_id": render.job_id(operation_id)}
