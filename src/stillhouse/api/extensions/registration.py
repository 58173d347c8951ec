"""Our own operations on clusters whose servers are somebody's: registered, checked up, reconnected and removed.

Their permission is no action of DWS, and no policy of DWS's gives it: a registration makes the service connect to
hosts that the caller names.
"""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.clusters import ClusterCreated
from stillhouse.api.shapes.ours import registration as shapes
from stillhouse.api.shapes.ours.registration import (
    CheckUpReport,
    ConnectionsRequest,
    LatestCheckUp,
    RegisterRequest,
    RemoveRequest,
)
from stillhouse.api.shapes.values import ClusterId, Done, Json
from stillhouse.control.clusters import check_ups, registration, removal
from stillhouse.domain.registered.registration import read

routes = Router()


@routes.operation("RegisterCluster", ClusterCreated, "The servers are a cluster now", 201)
def register_cluster(control: ControlOf, project_id: str, body: RegisterRequest) -> Json:
    wanted = read(shapes.document(body), may_name_files=False)
    return {"cluster": {"id": registration.register_cluster(control, project_id, wanted)}}


@routes.operation("CheckServers", CheckUpReport, "The findings; nothing was changed")
def check_servers(control: ControlOf, project_id: str, body: RegisterRequest) -> Json:
    wanted = read(shapes.document(body), may_name_files=False)
    return {"findings": shapes.findings(registration.check_up_servers(control, project_id, wanted))}


@routes.operation("ChangeConnections", Done, "The cluster is reached in the new way")
def change_connections(
    control: ControlOf, project_id: str, cluster_id: ClusterId, body: ConnectionsRequest
) -> Json:
    wanted = read({"name": "", **shapes.document(body)}, may_name_files=False)
    registration.change_connections(control, project_id, cluster_id, wanted)
    return {"error_code": "DWS.0000", "error_msg": None}


@routes.operation("CheckUpCluster", LatestCheckUp, "The findings, which are kept as the latest")
def check_up_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return shapes.check_up(check_ups.check_up_cluster(control, project_id, cluster_id))


@routes.operation(
    "ShowCheckUp", LatestCheckUp, "The latest check-up; null for a cluster whose servers are ours"
)
def show_check_up(control: ControlOf, project_id: str, cluster_id: ClusterId) -> Json:
    return shapes.check_up(check_ups.latest_check_up(control, project_id, cluster_id))


@routes.operation("RemoveCluster", Done, "The cluster is being removed; its servers go on", 202)
def remove_cluster(control: ControlOf, project_id: str, cluster_id: ClusterId, body: RemoveRequest) -> Json:
    removal.remove_cluster(
        control, project_id, cluster_id, body.keep_last_manual_snapshot, dead_nodes=body.dead_nodes
    )
    return {"error_code": "DWS.0000", "error_msg": None}
