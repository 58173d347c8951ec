"""The cluster operations of the DWS API in both versions, and RestoreCluster, which makes a cluster of a snapshot."""

from typing import Annotated, Literal

from fastapi import Query

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.clusters import (
    CheckClusterRequest,
    ClusterCreated,
    ClusterDetails,
    Clusters,
    ClusterToCheck,
    ClusterToCreate,
    ClusterToCreateV2,
    CreateClusterRequest,
    CreateClusterV2Request,
    DeleteClusterRequest,
    RestartClusterRequest,
    cluster_detail,
    cluster_in_list,
)
from stillhouse.api.shapes.jobs import job_id
from stillhouse.api.shapes.snapshots import ClusterRestored, ClusterToRestore, RestoreClusterRequest
from stillhouse.api.shapes.values import (
    Accepted,
    ClusterId,
    DecimalText,
    Json,
    Nothing,
    SnapshotId,
    unless_empty,
)
from stillhouse.control.clusters import requests
from stillhouse.control.clusters.addresses import as_reached, default_port
from stillhouse.control.context import Control
from stillhouse.control.reports import jobs
from stillhouse.domain import names
from stillhouse.domain.cluster import Task

routes = Router()

_EVERY_ENTERPRISE_PROJECT = "all_granted_eps"


@routes.operation("CreateCluster", ClusterCreated, "Accepted; the cluster is being made")
def create_cluster(control: ControlOf, project_id: str, body: CreateClusterRequest) -> Json:
    wanted = body.cluster
    request = requests.ClusterRequest(
        name=wanted.name,
        number_of_node=wanted.number_of_node,
        user_name=wanted.user_name,
        user_pwd=wanted.user_pwd.get_secret_value(),
        port=_port(control, wanted.port),
        facts=_facts(wanted),
    )
    return {"cluster": {"id": requests.request_cluster(control, project_id, request)}}


@routes.operation("RestoreCluster", ClusterRestored, "Accepted; a new cluster is being made of the snapshot")
def restore_cluster(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: RestoreClusterRequest
) -> Json:
    wanted = body.restore
    request = requests.RestoreRequest(
        name=wanted.name,
        port=_port(control, wanted.port),
        facts=_facts(wanted),
        server_settings=wanted.server_settings,
    )
    cluster_id = requests.request_restore(control, project_id, snapshot_id, request)
    return {
        "cluster": {"id": cluster_id},
        "job_id": job_id(jobs.job_of(control, cluster_id, Task.RESTORING)),
    }


@routes.operation("ListClusters", Clusters, "The project's clusters, the newest first")
def list_clusters(
    control: ControlOf,
    project_id: str,
    enterprise_project_id: Annotated[
        str, Query(max_length=255), unless_empty(_EVERY_ENTERPRISE_PROJECT)
    ] = _EVERY_ENTERPRISE_PROJECT,
) -> Json:
    shown = [
        cluster_in_list(as_reached(control, cluster))
        for cluster in requests.list_clusters(control, project_id)
    ]
    if enterprise_project_id != _EVERY_ENTERPRISE_PROJECT:
        shown = [cluster for cluster in shown if cluster["enterprise_project_id"] == enterprise_project_id]
    return {"clusters": shown, "count": len(shown)}


@routes.operation("ListClusterDetails", ClusterDetails, "The cluster")
def show_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return {
        "cluster": cluster_detail(as_reached(control, requests.get_cluster(control, project_id, cluster_id)))
    }


@routes.operation("DeleteCluster", Nothing, "Accepted; the cluster is being deleted", 202)
def delete_cluster(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: DeleteClusterRequest
) -> Json:
    requests.delete_cluster(control, project_id, cluster_id, keep_last_manual=body.keep_last_manual_snapshot)
    return {}


@routes.operation("RestartCluster", Nothing, "Accepted; the cluster's servers start anew")
def restart_cluster(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: RestartClusterRequest | None = None
) -> Json:
    requests.restart_cluster(control, project_id, cluster_id)
    return {}


@routes.operation("CreateClusterV2", ClusterCreated, "Accepted; the cluster is being made")
def create_cluster_v2(control: ControlOf, project_id: str, body: CreateClusterV2Request) -> Json:
    wanted = body.cluster
    request = requests.ClusterRequest(
        name=wanted.name,
        number_of_node=wanted.num_node,
        user_name=wanted.db_name,
        user_pwd=wanted.db_password.get_secret_value(),
        port=wanted.db_port,
        facts=_facts_v2(wanted),
    )
    return {"cluster": {"id": requests.request_cluster(control, project_id, request)}}


@routes.operation("ShowClusters", Clusters, "The project's clusters, the newest first")
def list_all_clusters(control: ControlOf, project_id: str) -> Json:
    shown = [
        cluster_in_list(as_reached(control, cluster))
        for cluster in requests.list_clusters(control, project_id)
    ]
    return {"clusters": shown, "count": len(shown)}


@routes.operation("CheckCluster", Nothing, "This cluster could be made now")
def check_cluster(control: ControlOf, project_id: str, body: CheckClusterRequest) -> Json:
    wanted = body.cluster
    request = requests.ClusterRequest(
        name=wanted.name or "",
        number_of_node=wanted.num_node,
        user_name=wanted.db_name or names.DEFAULT_USER,
        user_pwd=wanted.db_password.get_secret_value() if wanted.db_password else "",
        port=_port(control, wanted.db_port),
        facts=_facts_v2(wanted),
    )
    of_snapshot = wanted.restore_point.back_ref if wanted.restore_point else None
    requests.check_cluster(control, project_id, request, of_snapshot)
    return {}


@routes.operation("DeleteDwsCluster", Accepted, "Accepted; the cluster is being deleted", 202)
def delete_dws_cluster(
    control: ControlOf,
    project_id: str,
    cluster_id: ClusterId,
    keep_last_manual_backup: Annotated[DecimalText, Query()] = 0,
    release_eip_type: Annotated[
        Literal["NO_RELEASE", "RELEASE_BINDING"], unless_empty("NO_RELEASE")
    ] = "NO_RELEASE",
) -> Json:
    """There is no elastic IP to be released, whether or not the request asks for it."""
    operation_id = requests.delete_cluster(control, project_id, cluster_id, keep_last_manual_backup)
    return _accepted(operation_id)


@routes.operation("StartCluster", Accepted, "Accepted; the cluster's servers are being started")
def start_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return _accepted(requests.start_cluster(control, project_id, cluster_id))


@routes.operation("StopCluster", Accepted, "Accepted; the cluster's servers are being stopped, and stay so")
def stop_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return _accepted(requests.stop_cluster(control, project_id, cluster_id))


def _accepted(operation_id: str) -> Json:
    return {"error_code": None, "error_msg": None, "job_id": job_id(operation_id)}


def _port(control: Control, wanted: int | None) -> int:
    return default_port(control) if wanted is None else wanted


def _facts(wanted: ClusterToCreate | ClusterToRestore) -> dict[str, object]:
    """Return the facts that the service only stores and gives back, as they were sent, without absent ones."""
    return wanted.model_dump(
        exclude={"name", "number_of_node", "port", "user_name", "user_pwd", "server_settings"},
        exclude_none=True,
    )


def _facts_v2(wanted: ClusterToCreateV2 | ClusterToCheck) -> dict[str, object]:
    """Return the facts that are only given back, under their names in version 1.0."""
    sent = wanted.model_dump(exclude_none=True)
    renamed = {"flavor": "node_type", "num_cn": "number_of_cn"}
    spent = {"name", "num_node", "db_name", "db_password", "db_port", "availability_zones", "tag_list"}
    zones = {"availability_zone": ",".join(wanted.availability_zones)} if wanted.availability_zones else {}
    return {renamed.get(key, key): value for key, value in sent.items() if key not in spent} | zones
