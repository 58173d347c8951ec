"""The operations by which Terraform changes a cluster that it has made, without a change to its servers."""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.clusters import (
    DescriptionRequest,
    LogicalClusterSwitchRequest,
    NameRequest,
    TimeZoneRequest,
)
from stillhouse.api.shapes.jobs import job_id
from stillhouse.api.shapes.values import Accepted, ClusterId, Done, Json
from stillhouse.control.clusters import facts

routes = Router()

# DWS's code for a request that succeeded.
_DONE: Json = {"error_code": "DWS.0000", "error_msg": None}


@routes.operation("ModifyClusterName", Accepted, "The cluster has the name; the job has ended")
def rename(control: ControlOf, project_id: str, cluster_id: ClusterId, body: NameRequest) -> Json:
    return _ended(facts.rename(control, project_id, cluster_id, body.cluster_name))


@routes.operation("SaveClusterDescriptionInfo", Done, "The cluster has the description")
def describe(control: ControlOf, project_id: str, cluster_id: ClusterId, body: DescriptionRequest) -> Json:
    """An empty description removes it: Terraform does so."""
    facts.describe(control, project_id, cluster_id, body.description_info or "")
    return _DONE


@routes.operation("ModifyClusterTimezone", Accepted, "The cluster is in the time zone; the job has ended")
def set_time_zone(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TimeZoneRequest) -> Json:
    return _ended(facts.set_time_zone(control, project_id, cluster_id, body.cluster_timezone))


@routes.operation("EnableLogicalCluster", Done, "The switch is as sent")
def switch_logical_clusters(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: LogicalClusterSwitchRequest
) -> Json:
    facts.switch_logical_clusters(control, project_id, cluster_id, body.enable)
    return _DONE


def _ended(operation_id: str) -> Json:
    return {"error_code": None, "error_msg": None, "job_id": job_id(operation_id)}
