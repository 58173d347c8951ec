"""The operations of the DWS API on clusters' tags."""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.tags import (
    BatchTagsRequest,
    ClusterTags,
    ProjectTags,
    TagRequest,
    TagsActionRequest,
)
from stillhouse.api.shapes.values import ClusterId, Json, Nothing
from stillhouse.control.access import permissions
from stillhouse.control.clusters import requests, tags

routes = Router()


@routes.operation("ListTags", ProjectTags, "The tags in use in the project, by key")
def list_tags(control: ControlOf, project_id: str) -> Json:
    found = tags.project_tags(control, project_id)
    return {"tags": [{"key": key, "values": values} for key, values in found.items()]}


@routes.operation("ListClusterTags", ClusterTags, "The cluster's tags")
def list_cluster_tags(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    found = tags.tags_of(requests.get_cluster(control, project_id, cluster_id))
    return {"tags": [{"key": key, "value": value} for key, value in found.items()]}


@routes.operation("BatchCreateResourceTag", Nothing, "The cluster has these tags")
def add_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: BatchTagsRequest) -> Json:
    tags.add_tags(control, project_id, cluster_id, {tag.key: tag.value for tag in body.tags})
    return {}


@routes.operation("BatchDeleteResourceTag", Nothing, "The cluster has no tag of these keys")
def remove_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: BatchTagsRequest) -> Json:
    tags.remove_tags(control, project_id, cluster_id, [tag.key for tag in body.tags])
    return {}


@routes.operation("CreateClusterTag", Nothing, "The cluster has this tag")
def add_tag(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TagRequest) -> Json:
    tags.add_tags(control, project_id, cluster_id, {body.tag.key: body.tag.value})
    return {}


@routes.operation("DeleteClusterTag", Nothing, "The cluster has no tag of this key", 202)
def remove_tag(control: ControlOf, project_id: str, cluster_id: ClusterId, key: str) -> Json:
    tags.remove_tags(control, project_id, cluster_id, [key])
    return {}


@routes.operation("BatchCreateClusterTags", Nothing, "The tags are set, or their keys are removed")
def change_tags(control: ControlOf, project_id: str, cluster_id: ClusterId, body: TagsActionRequest) -> Json:
    """The gateway has asked for the permission to create tags; a deletion asks for its own as well."""
    if body.action == "create":
        return add_tags(control, project_id, cluster_id, body)
    permissions.demand(control, "BatchDeleteResourceTag", [cluster_id])
    return remove_tags(control, project_id, cluster_id, body)
