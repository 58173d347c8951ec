"""Permissions that several operations need. The first name is that of the identity policies."""

from stillhouse.domain.api_operations.operation import need

LIST_SNAPSHOTS = need(
    "dws:cluster:listSnapshot",
    "dws:openAPISnapshot:list",
    "dws:clusterSnapshot:list",
    "dws:snapshot:list",
)
SNAPSHOT_DETAIL = need("dws:cluster:getSnapshotDetail", "dws:openAPISnapshot:detail")
RESTORE_TABLE = need("dws:cluster:restoreTable", "dws:tableRestore:operate")
CREATE_CLUSTER = need("dws:cluster:create", "dws:openAPICluster:create")
LIST_CLUSTERS = need("dws:cluster:list", "dws:openAPICluster:list")
CLUSTER_DETAIL = need("dws:cluster:getDetail", "dws:openAPICluster:getDetail")
DELETE_CLUSTER = need("dws:cluster:delete", "dws:openAPICluster:delete")
RESIZE = need("dws:cluster:scaleOutOrOpenAPIResize")
UPDATE = need("dws:cluster:update")
CREATE_TAG = need("dws:openAPITag:create")
DELETE_TAG = need("dws:openAPITag:delete")
OPERATE_RECOVERY = need("dws:disasterRecovery:operate")
# Ours, and of no service of the cloud: so no policy for DWS gives it.
REGISTER = need("stillhouse:cluster:register")
