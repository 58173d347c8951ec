"""The newer cluster operations of the DWS API: its second version of some, start and stop, tags, the pre-check."""

from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render
from stillhouse.api.shapes.answer import Accepted, ClusterCreated, Clusters, Nothing
from stillhouse.api.shapes.capacity import ClusterTags, ProjectTags
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import ClusterId, DecimalText, unless_empty
from stillhouse.api.shapes.request_more import (
    BatchTagsRequest,
    CheckClusterRequest,
    ClusterToCheck,
    ClusterToCreateV2,
    CreateClusterV2Request,
    TagRequest,
    TagsActionRequest,
)
from stillhouse.control.access import permissions
from stillhouse.control.clusters import requests as clusters
from stillhouse.control.clusters import tags
from stillhouse.control.clusters.requests import ClusterRequest
from stillhouse.domain import names

routes = router()


@routes.post(
    "/v2/{project_id}/clusters",
    operation_id="CreateClusterV2",
    **answers(ClusterCreated, "Accepted; the cluster is being made"),
)
def create_cluster(control: ControlOf, project_id: str, body: CreateClusterV2Request) -> Json:
    wanted = body.cluster
    request = ClusterRequest(
        name=wanted.name,
        number_of_node=wanted.num_node,
        user_name=wanted.db_name,
        user_pwd=wanted.db_password.get_secret_value(),
        port=wanted.db_port,
        facts=_facts(wanted),
    )
    return {"cluster": {"id": clusters.request_cluster(control, project_id, request)}}


@routes.get(
    "/v2/{project_id}/clusters",
    operation_id="ShowClusters",
    **answers(Clusters, "The project's clusters, the newest first"),
)
def list_clusters(control: ControlOf, project_id: str) -> Json:
    shown = [render.cluster_in_list(cluster) for cluster in clusters.list_clusters(control, project_id)]
    return {"clusters": shown, "count": len(shown)}


@routes.post(
    "/v2/{project_id}/cluster-precheck",
    operation_id="CheckCluster",
    **answers(Nothing, "This cluster could be made now"),
)
def check_cluster(control: ControlOf, project_id: str, body: CheckClusterRequest) -> Json:
    wanted = body.cluster
    request = ClusterRequest(
        name=wanted.name or "",
        number_of_node=wanted.num_node,
        user_name=wanted.db_name or names.DEFAULT_USER,
        user_pwd=wanted.db_password.get_secret_value() if wanted.db_password else "",
        port=names.DEFAULT_PORT if wanted.db_port is None else wanted.db_port,
        facts=_facts(wanted),
    )
    of_snapshot = wanted.restore_point.back_ref if wanted.restore_point else None
    clusters.check_cluster(control, project_id, request, of_snapshot)
    return {}


@routes.delete(
    "/v2/{project_id}/clusters/{cluster_id}",
    operation_id="DeleteDwsCluster",
    **answers(Accepted, "Accepted; the cluster is being deleted", 202),
)
def delete_cluster(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    keep_last_manual_backup: Annotated[DecimalText, Query()] = 0,
    release_eip_type: Annotated[
        Literal["NO_RELEASE", "RELEASE_BINDING"], unless_empty("NO_RELEASE")
    ] = "NO_RELEASE",
) -> Json:
    """There is no elastic IP to be released, whether or not the request asks for it."""
    operation_id = clusters.delete_cluster(control, project_id, cluster_id, keep_last_manual_backup)
    return _accepted(operation_id)


@routes.post(
    "/v1/{project_id}/clusters/{cluster_id}/start",
    operation_id="StartCluster",
    **answers(Accepted, "Accepted; the cluster's servers are being started"),
)
def start_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return _accepted(clusters.start_cluster(control, project_id, cluster_id))


@routes.post(
    "/v1/{project_id}/clusters/{cluster_id}/stop",
    operation_id="StopCluster",
    **answers(Accepted, "Accepted; the cluster's servers are being stopped, and stay so"),
)
def stop_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return _accepted(clusters.stop_cluster(control, project_id, cluster_id))


@routes.get(
    "/v1.0/{project_id}/tags",
    operation_id="ListTags",
    **answers(ProjectTags, "The tags in use in the project, by key"),
)
def list_tags(control: ControlOf, project_id: str) -> Json:
    found = tags.project_tags(control, project_id)
    return {"tags": [{"key": key, "values": values} for key, values in found.items()]}


@routes.get(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags",
    operation_id="ListClusterTags",
    **answers(ClusterTags, "The cluster's tags"),
)
def list_cluster_tags(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    found = tags.tags_of(clusters.get_cluster(control, project_id, cluster_id))
    return {"tags": [{"key": key, "value": value} for key, value in found.items()]}


@routes.post(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags/batch-create",
    operation_id="BatchCreateResourceTag",
    **answers(Nothing, "The cluster has these tags"),
)
def add_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: BatchTagsRequest) -> Json:
    tags.add_tags(control, project_id, cluster_id, {tag.key: tag.value for tag in body.tags})
    return {}


@routes.post(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags/batch-delete",
    operation_id="BatchDeleteResourceTag",
    **answers(Nothing, "The cluster has no tag of these keys"),
)
def remove_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: BatchTagsRequest) -> Json:
    tags.remove_tags(control, project_id, cluster_id, [tag.key for tag in body.tags])
    return {}


@routes.post(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags",
    operation_id="CreateClusterTag",
    **answers(Nothing, "The cluster has this tag"),
)
def add_tag(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TagRequest) -> Json:
    tags.add_tags(control, project_id, cluster_id, {body.tag.key: body.tag.value})
    return {}


@routes.delete(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags/{key}",
    operation_id="DeleteClusterTag",
    **answers(Nothing, "The cluster has no tag of this key", 202),
)
def remove_tag(control: ControlOf, project_id: str, cluster_id: ClusterId, key: str) -> Json:
    tags.remove_tags(control, project_id, cluster_id, [key])
    return {}


@routes.post(
    "/v1.0/{project_id}/clusters/{cluster_id}/tags/action",
    operation_id="BatchCreateClusterTags",
    **answers(Nothing, "The tags are set, or their keys are removed"),
)
def change_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TagsActionRequest) -> Json:
    """The gateway has asked for the permission to create tags; a deletion asks for its own as well."""
    if body.action == "create":
        return add_tags(control, project_id, cluster_id, body)
    permissions.demand(control, "BatchDeleteResourceTag", [cluster_id])
    return remove_tags(control, project_id, cluster_id, body)


def _accepted(operation_id: str) -> Json:
    return {"error_code": None, "error_msg": None, "job_id": render.job_id(operation_id)}


def _facts(wanted: ClusterToCreateV2 | ClusterToCheck) -> dict[str, object]:
    """Return the facts that are only given back, under their names in version 1.0."""
    sent = wanted.model_dump(exclude_none=True)
    renamed = {"flavor": "node_type", "num_cn": "number_of_cn"}
    spent = {"name", "num_node", "db_name", "db_password", "db_port", "availability_zones", "tag_list"}
    zones = {"availability_zone": ",".join(wanted.availability_zones)} if wanted.availability_zones else {}
    return {renamed.get(key, key): value for key, value in sent.items() if key not in spent} | zones
