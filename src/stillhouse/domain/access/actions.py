"""The table of the permission that each operation needs. An operation that is not in it cannot be published.

The first name is from the identity policies. The others are its older aliases (DWS API reference, "Permissions and
Supported Actions"). An operation without a published name uses the name of the nearest operation. The names of
`dws:openAPITag`, of our own operations and of those that are not built yet are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """The permission that an operation needs, by its names. Without names every authenticated caller has it, and if it
    is `open_to_all`, any caller.

    `cluster_in_body` says that the cluster is known only after the body is read. Then the route checks again.
    """

    names: tuple[str, ...] = ()
    open_to_all: bool = False
    cluster_in_body: bool = False


def _need(*names: str) -> Need:
    return Need(names)


_LIST_SNAPSHOTS = _need(
    "dws:cluster:listSnapshot",
    "dws:openAPISnapshot:list",
    "dws:clusterSnapshot:list",
    "dws:snapshot:list",
)
_SNAPSHOT_DETAIL = _need("dws:cluster:getSnapshotDetail", "dws:openAPISnapshot:detail")
_RESTORE_TABLE = _need("dws:cluster:restoreTable", "dws:tableRestore:operate")
_CREATE_CLUSTER = _need("dws:cluster:create", "dws:openAPICluster:create")
_LIST_CLUSTERS = _need("dws:cluster:list", "dws:openAPICluster:list")
_CLUSTER_DETAIL = _need("dws:cluster:getDetail", "dws:openAPICluster:getDetail")
_DELETE_CLUSTER = _need("dws:cluster:delete", "dws:openAPICluster:delete")
_RESIZE = _need("dws:cluster:scaleOutOrOpenAPIResize")
_UPDATE = _need("dws:cluster:update")
_CREATE_TAG = _need("dws:openAPITag:create")
_DELETE_TAG = _need("dws:openAPITag:delete")
_OPERATE_RECOVERY = _need("dws:disasterRecovery:operate")

# Operations that are not published (yet) are included, because policies may name their actions.
NEEDS: Mapping[str, Need] = {
    # Snapshots.
    "CreateSnapshot": Need(
        ("dws:cluster:createSnapshot", "dws:openAPISnapshot:create", "dws:snapshot:create"),
        cluster_in_body=True,
    ),
    "ListSnapshots": _LIST_SNAPSHOTS,
    "ListClusterSnapshots": _LIST_SNAPSHOTS,
    "ListSnapshotDetails": _SNAPSHOT_DETAIL,
    "ListSnapshotFlavorInfo": _SNAPSHOT_DETAIL,
    "DeleteSnapshot": _need(
        "dws:cluster:deleteSnapshot", "dws:openAPISnapshot:delete", "dws:snapshot:delete"
    ),
    "CopySnapshot": _need("dws:cluster:copySnapshot", "dws:snapshot:copy"),
    "RestoreCluster": _need("dws:cluster:restoreSnapshot", "dws:openAPISnapshot:restore"),
    "CheckSnapshot": Need(),
    "CheckTableRestore": _RESTORE_TABLE,
    "RestoreTable": _RESTORE_TABLE,
    "ValidateDbData": Need(),
    "ListSnapshotStatistics": _need("dws:cluster:listSnapshotStatistics"),
    "CreateSnapshotPolicy": _need("dws:cluster:createSnapshotPolicy", "dws:cluster:setAutomatedSnapshot"),
    "ListSnapshotPolicy": _need("dws:cluster:listSnapshotPolicy"),
    "DeleteSnapshotPolicy": _need("dws:cluster:deleteSnapshotPolicy", "dws:backupPolicy:delete"),
    # Clusters.
    "CreateCluster": _CREATE_CLUSTER,
    "CreateClusterV2": _CREATE_CLUSTER,
    "CheckCluster": _CREATE_CLUSTER,
    "ListClusters": _LIST_CLUSTERS,
    "ShowClusters": _LIST_CLUSTERS,
    "ListClusterDetails": _CLUSTER_DETAIL,
    "DeleteCluster": _DELETE_CLUSTER,
    "DeleteDwsCluster": _DELETE_CLUSTER,
    "RestartCluster": _need("dws:cluster:restart", "dws:openAPICluster:restart"),
    "StartCluster": _need("dws:cluster:startCluster"),
    "StopCluster": _need("dws:cluster:stopCluster"),
    "ResetPassword": _need("dws:cluster:resetPassword", "dws:openAPICluster:resetPassword"),
    "ResizeCluster": _RESIZE,
    "ShrinkCluster": _RESIZE,
    "ExpandInstanceStorage": _RESIZE,
    "ModifyClusterName": _UPDATE,
    "SaveClusterDescriptionInfo": _UPDATE,
    "EnableLogicalCluster": _UPDATE,
    "EnableLtsLogs": _UPDATE,
    "DisableLtsLogs": _UPDATE,
    "ChangeSecurityGroup": _UPDATE,
    "ModifyClusterTimezone": _UPDATE,
    "UpdateMaintenanceWindow": _UPDATE,
    "UpdateConfiguration": _UPDATE,
    "AssociateEip": _UPDATE,
    "DisassociateEip": _UPDATE,
    "AssociateElb": _UPDATE,
    "DisassociateElb": _UPDATE,
    "ListClusterNodes": _CLUSTER_DETAIL,
    "ListClusterConfigurations": _CLUSTER_DETAIL,
    "ListClusterConfigurationsParameter": _CLUSTER_DETAIL,
    "ListClusterActions": _CLUSTER_DETAIL,
    "ListSchemas": _CLUSTER_DETAIL,
    "ListDatabaseObjects": _CLUSTER_DETAIL,
    # The whole project.
    "ListJobDetails": _CLUSTER_DETAIL,
    "ListNodeTypes": _need("dws:openAPIFlavors:get"),
    "ListAvailabilityZones": _LIST_CLUSTERS,
    "ListQuotas": _LIST_CLUSTERS,
    "ListStatistics": _LIST_CLUSTERS,
    "ShowResourceStatistics": _LIST_CLUSTERS,
    "ListEvents": _LIST_CLUSTERS,
    "ListTags": _need("dws:openAPITag:list"),
    "ListClusterTags": _need("dws:openAPITag:get"),
    "BatchCreateResourceTag": _CREATE_TAG,
    "BatchDeleteResourceTag": _DELETE_TAG,
    "CreateClusterTag": _CREATE_TAG,
    "DeleteClusterTag": _DELETE_TAG,
    # A deletion asks for the permission to delete as well: the route does, since the body says what is meant.
    "BatchCreateClusterTags": _CREATE_TAG,
    # Not built yet.
    "CreateDisasterRecovery": _need("dws:disasterRecovery:create"),
    "ListDisasterRecover": _need("dws:disasterRecovery:list"),
    "ListAvailableDisasterClusters": _need("dws:disasterRecovery:list"),
    "CheckDisasterName": _need("dws:disasterRecovery:list"),
    "ShowDisasterDetail": _need("dws:disasterRecovery:get"),
    "ShowDisasterProgress": _need("dws:disasterRecovery:get"),
    "UpdateDisasterInfo": _need("dws:disasterRecovery:update"),
    "DeleteDisasterRecovery": _need("dws:disasterRecovery:delete"),
    "StartDisasterRecovery": _OPERATE_RECOVERY,
    "PauseDisasterRecovery": _OPERATE_RECOVERY,
    "SwitchoverDisasterRecovery": _OPERATE_RECOVERY,
    "SwitchFailoverDisaster": _OPERATE_RECOVERY,
    "RestoreDisaster": _OPERATE_RECOVERY,
    "ListEventSpecs": _need("dws:eventSub:list"),
    "ListEventSubs": _need("dws:eventSub:list"),
    "CreateEventSub": _need("dws:eventSub:create"),
    "UpdateEventSub": _need("dws:eventSub:update"),
    "DeleteEventSub": _need("dws:eventSub:delete"),
    "ListAlarmConfigs": _need("dws:alarmSub:list"),
    "ListAlarmDetail": _need("dws:alarmSub:list"),
    "ListAlarmStatistic": _need("dws:alarmSub:list"),
    "ListAlarmSubs": _need("dws:alarmSub:list"),
    "CreateAlarmSub": _need("dws:alarmSub:create"),
    "UpdateAlarmSub": _need("dws:alarmSub:update"),
    "DeleteAlarmSub": _need("dws:alarmSub:delete"),
    # Our own.
    "CancelSnapshot": _need("dws:cluster:cancelSnapshot"),
    "ListTrash": _LIST_SNAPSHOTS,
    "UndeleteSnapshot": _need("dws:cluster:undeleteSnapshot"),
    "ShowSnapshotProgress": _SNAPSHOT_DETAIL,
    "ShowSnapshotDamage": _SNAPSHOT_DETAIL,
    "ListDamage": _LIST_SNAPSHOTS,
    "ShowClusterProgress": _CLUSTER_DETAIL,
    "CollectCluster": _need("dws:cluster:collect"),
    "ProveSnapshot": _need("dws:cluster:proveSnapshot"),
    "ShowProof": _SNAPSHOT_DETAIL,
    "SetProofSchedule": _need("dws:cluster:setProofSchedule"),
    "ShowProofSchedule": _CLUSTER_DETAIL,
    # IAM: a caller asks for its identity, or logs in.
    "KeystoneListProjects": Need(),
    "KeystoneListAuthDomains": Need(),
    "CreateTemporaryAccessKeyByToken": Need(),
    "KeystoneCreateUserTokenByPassword": Need(open_to_all=True),
    "KeystoneShowCatalog": Need(),
    # The versions of identity are asked before there is a token, and say nothing about anyone.
    "KeystoneListVersions": Need(open_to_all=True),
    "KeystoneShowVersion": Need(open_to_all=True),
}

ACTIONS = frozenset(name for need in NEEDS.values() for name in need.names)
