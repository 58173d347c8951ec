"""Our own operations, under a prefix that no client of DWS uses."""

from stillhouse.domain.api_operations.needs import (
    CLUSTER_DETAIL,
    LIST_CLUSTERS,
    LIST_SNAPSHOTS,
    REGISTER,
    SNAPSHOT_DETAIL,
)
from stillhouse.domain.api_operations.operation import NAMES_BODY, Operation, need

EXTENSIONS = (
    Operation(
        "ProveSnapshot",
        "POST",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/prove",
        need("dws:cluster:proveSnapshot"),
    ),
    Operation(
        "ShowProof", "GET", "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/proof", SNAPSHOT_DETAIL
    ),
    Operation(
        "SetProofSchedule",
        "PUT",
        "/stillhouse/v1/{project_id}/clusters/{cluster_id}/proofs",
        need("dws:cluster:setProofSchedule"),
    ),
    Operation(
        "ShowProofSchedule", "GET", "/stillhouse/v1/{project_id}/clusters/{cluster_id}/proofs", CLUSTER_DETAIL
    ),
    Operation(
        "ShowSnapshotProgress",
        "GET",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/progress",
        SNAPSHOT_DETAIL,
    ),
    Operation(
        "ShowClusterProgress",
        "GET",
        "/stillhouse/v1/{project_id}/clusters/{cluster_id}/progress",
        CLUSTER_DETAIL,
    ),
    Operation(
        "ShowSnapshotDamage",
        "GET",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/damage",
        SNAPSHOT_DETAIL,
    ),
    Operation(
        "ShowSnapshotDifference",
        "GET",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/difference",
        need("dws:cluster:getSnapshotDifference"),
    ),
    Operation("ShowSnapshot", "GET", "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}", SNAPSHOT_DETAIL),
    Operation("ListSnapshotStates", "GET", "/stillhouse/v1/{project_id}/snapshots", LIST_SNAPSHOTS),
    Operation("ShowCluster", "GET", "/stillhouse/v1/{project_id}/clusters/{cluster_id}", CLUSTER_DETAIL),
    Operation("ListClusterStates", "GET", "/stillhouse/v1/{project_id}/clusters", LIST_CLUSTERS),
    Operation("ShowOperation", "GET", "/stillhouse/v1/{project_id}/operations/{operation_id}", LIST_CLUSTERS),
    Operation("ListOperations", "GET", "/stillhouse/v1/{project_id}/operations", LIST_CLUSTERS),
    Operation(
        "ShowPolicyPreview",
        "GET",
        "/stillhouse/v1/{project_id}/clusters/{cluster_id}/policy-preview",
        need("dws:cluster:listSnapshotPolicy"),
    ),
    Operation("ListDamage", "GET", "/stillhouse/v1/{project_id}/damage", LIST_SNAPSHOTS),
    Operation(
        "CancelSnapshot",
        "POST",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/cancel",
        need("dws:cluster:cancelSnapshot"),
    ),
    Operation("ListTrash", "GET", "/stillhouse/v1/{project_id}/trash", LIST_SNAPSHOTS),
    Operation(
        "UndeleteSnapshot",
        "POST",
        "/stillhouse/v1/{project_id}/snapshots/{snapshot_id}/undelete",
        need("dws:cluster:undeleteSnapshot"),
    ),
    Operation(
        "CollectCluster",
        "POST",
        "/stillhouse/v1/{project_id}/clusters/{cluster_id}/collect",
        need("dws:cluster:collect"),
    ),
    Operation("ListAuditRecords", "GET", "/stillhouse/v1/{project_id}/audit", need("dws:audit:list")),
    Operation(
        "RegisterCluster",
        "POST",
        "/stillhouse/v1/{project_id}/registered-clusters",
        REGISTER,
        largest_body=NAMES_BODY,
    ),
    Operation(
        "CheckServers",
        "POST",
        "/stillhouse/v1/{project_id}/registered-clusters/check",
        REGISTER,
        largest_body=NAMES_BODY,
    ),
    Operation(
        "ChangeConnections",
        "PUT",
        "/stillhouse/v1/{project_id}/clusters/{cluster_id}/connections",
        REGISTER,
        largest_body=NAMES_BODY,
    ),
    Operation(
        "CheckUpCluster", "POST", "/stillhouse/v1/{project_id}/clusters/{cluster_id}/check-up", REGISTER
    ),
    Operation(
        "ShowCheckUp", "GET", "/stillhouse/v1/{project_id}/clusters/{cluster_id}/check-up", CLUSTER_DETAIL
    ),
    Operation("RemoveCluster", "POST", "/stillhouse/v1/{project_id}/clusters/{cluster_id}/remove", REGISTER),
)
