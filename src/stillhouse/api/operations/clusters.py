"""The cluster operations of the DWS API, and RestoreCluster, which makes a cluster of a snapshot."""

from typing import Annotated

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render
from stillhouse.api.shapes.answer import ClusterCreated, ClusterDetails, ClusterRestored, Clusters, Nothing
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import (
    ClusterId,
    ClusterToCreate,
    ClusterToRestore,
    CreateClusterRequest,
    DeleteClusterRequest,
    RestartClusterRequest,
    RestoreClusterRequest,
    SnapshotId,
    unless_empty,
)
from stillhouse.control.clusters import requests as clusters
from stillhouse.control.reports import jobs as work
from stillhouse.domain import names
from stillhouse.domain.cluster import Task

routes = router()

_EVERY_ENTERPRISE_PROJECT = "all_granted_eps"


@routes.post(
    "/v1.0/{project_id}/clusters",
    operation_id="CreateCluster",
    **answers(ClusterCreated, "Accepted; the cluster is being made"),
)
def create_cluster(control: ControlOf, project_id: str, body: CreateClusterRequest) -> Json:
    wanted = body.cluster
    request = clusters.ClusterRequest(
        name=wanted.name,
        number_of_node=wanted.number_of_node,
        user_name=wanted.user_name,
        user_pwd=wanted.user_pwd.get_secret_value(),
        port=_port(wanted),
        facts=_facts(wanted),
    )
    return {"cluster": {"id": clusters.request_cluster(control, project_id, request)}}


@routes.post(
    "/v1.0/{project_id}/snapshots/{snapshot_id}/actions",
    operation_id="RestoreCluster",
    **answers(ClusterRestored, "Accepted; a new cluster is being made of the snapshot"),
)
def restore_cluster(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: RestoreClusterRequest
) -> Json:
    wanted = body.restore
    request = clusters.RestoreRequest(
        name=wanted.name, port=_port(wanted), facts=_facts(wanted), server_settings=wanted.server_settings
    )
    cluster_id = clusters.request_restore(control, project_id, snapshot_id, request)
    return {
        "cluster": {"id": cluster_id},
        "job_id": render.job_id(work.job_of(control, cluster_id, Task.RESTORING)),
    }


@routes.get(
    "/v1.0/{project_id}/clusters",
    operation_id="ListClusters",
    **answers(Clusters, "The project's clusters, the newest first"),
)
def list_clusters(
    control: ControlOf,
    project_id: str,
    enterprise_project_id: Annotated[
        str, Query(max_length=255), unless_empty(_EVERY_ENTERPRISE_PROJECT)
    ] = _EVERY_ENTERPRISE_PROJECT,
) -> Json:
    shown = [render.cluster_in_list(cluster) for cluster in clusters.list_clusters(control, project_id)]
    if enterprise_project_id != _EVERY_ENTERPRISE_PROJECT:
        shown = [cluster for cluster in shown if cluster["enterprise_project_id"] == enterprise_project_id]
    return {"clusters": shown, "count": len(shown)}


@routes.get(
    "/v1.0/{project_id}/clusters/{cluster_id}",
    operation_id="ListClusterDetails",
    **answers(ClusterDetails, "The cluster"),
)
def show_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return {"cluster": render.cluster_detail(clusters.get_cluster(control, project_id, cluster_id))}


@routes.delete(
    "/v1.0/{project_id}/clusters/{cluster_id}",
    operation_id="DeleteCluster",
    **answers(Nothing, "Accepted; the cluster is being deleted", 202),
)
def delete_cluster(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: DeleteClusterRequest
) -> Json:
    clusters.delete_cluster(control, project_id, cluster_id, keep_last_manual=body.keep_last_manual_snapshot)
    return {}


@routes.post(
    "/v1.0/{project_id}/clusters/{cluster_id}/restart",
    operation_id="RestartCluster",
    **answers(Nothing, "Accepted; the cluster's servers start anew"),
)
def restart_cluster(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: RestartClusterRequest | None = None
) -> Json:
    clusters.restart_cluster(control, project_id, cluster_id)
    return {}


def _port(wanted: ClusterToCreate | ClusterToRestore) -> int:
    return names.DEFAULT_PORT if wanted.port is None else wanted.port


def _facts(wanted: ClusterToCreate | ClusterToRestore) -> dict[str, object]:
    """Return the facts that the service only stores and gives back, as they were sent, without absent ones."""
    return wanted.model_dump(
        exclude={"name", "number_of_node", "port", "user_name", "user_pwd", "server_settings"},
        exclude_none=True,
    )
