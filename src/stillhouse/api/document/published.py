"""The list of DWS's published operations: the ones answered, refused with a reason, or not built yet.

`docs/api.md` is made of this list and of the routes; a test compares the two.
"""

from dataclasses import dataclass
from typing import Literal

Standing = Literal["done", "partial", "deviating", "refused", "not yet"]

_P = "/{project_id}"
_CLUSTER = "/{project_id}/clusters/{cluster_id}"
_SNAPSHOT = "/{project_id}/snapshots/{snapshot_id}"


@dataclass(frozen=True)
class Published:
    """An operation. `standing` holds once there is a route; `note` names the deviation or the refusal's reason."""

    operation: str
    method: str
    path: str
    standing: Standing = "done"
    note: str = ""


SNAPSHOTS = (
    Published("CreateSnapshot", "POST", f"/v1.0{_P}/snapshots"),
    Published("ListSnapshots", "GET", f"/v1.0{_P}/snapshots"),
    Published("ListSnapshotDetails", "GET", f"/v1.0{_SNAPSHOT}"),
    Published("ListClusterSnapshots", "GET", f"/v1.0{_CLUSTER}/snapshots"),
    Published("DeleteSnapshot", "DELETE", f"/v1.0{_SNAPSHOT}", note="it goes to the trash first"),
    Published("CopySnapshot", "POST", f"/v1.0{_SNAPSHOT}/linked-copy"),
    Published(
        "RestoreCluster",
        "POST",
        f"/v1.0{_SNAPSHOT}/actions",
        note="network and zone come from the snapshot's cluster unless given; `server_settings` is our own",
    ),
    Published(
        "ListSnapshotFlavorInfo",
        "GET",
        f"/v2{_SNAPSHOT}/flavors",
        note="the one flavour there is: this host, with as many nodes as the snapshot has",
    ),
    Published("CheckSnapshot", "POST", f"/v1{_P}/snapshots/check"),
    Published(
        "CheckTableRestore",
        "POST",
        f"/v1{_SNAPSHOT}/table-restore-check",
        note="names as `schema.table`; null where nothing is wrong, or nothing can be said",
    ),
    Published(
        "RestoreTable",
        "POST",
        f"/v1{_SNAPSHOT}/table-restore",
        note="from any snapshot, up to 100 tables at a time",
    ),
    Published("ListSnapshotStatistics", "GET", f"/v1.0{_CLUSTER}/snapshots/statistics"),
    Published("CreateSnapshotPolicy", "PUT", f"/v2{_CLUSTER}/snapshot-policies"),
    Published("ListSnapshotPolicy", "GET", f"/v2{_CLUSTER}/snapshot-policies"),
    Published("DeleteSnapshotPolicy", "DELETE", f"/v1.0{_CLUSTER}/snapshot-policies/{{id}}"),
    Published(
        "ValidateDbData",
        "POST",
        f"/v1{_CLUSTER}/{{database}}/validate",
        note="a table reads `schema.table`; without a schema it is `public`'s",
    ),
)

_OTC = "of Open Telekom Cloud"
_STORED = "node type, network, zone and volume are stored and given back as sent"

CLUSTERS = (
    Published("CreateCluster", "POST", f"/v1.0{_P}/clusters", "deviating", _STORED),
    Published("CreateClusterV2", "POST", f"/v2{_P}/clusters", "deviating", _STORED),
    Published("CheckCluster", "POST", f"/v2{_P}/cluster-precheck"),
    Published("ListClusters", "GET", f"/v1.0{_P}/clusters"),
    Published("ShowClusters", "GET", f"/v2{_P}/clusters"),
    Published(
        "ListClusterDetails",
        "GET",
        f"/v1.0{_CLUSTER}",
        "deviating",
        "`recent_event` is always 0; there is no maintenance window",
    ),
    Published("DeleteCluster", "DELETE", f"/v1.0{_CLUSTER}"),
    Published("DeleteDwsCluster", "DELETE", f"/v2{_CLUSTER}"),
    Published("RestartCluster", "POST", f"/v1.0{_CLUSTER}/restart"),
    Published("StartCluster", "POST", f"/v1{_CLUSTER}/start"),
    Published(
        "StopCluster",
        "POST",
        f"/v1{_CLUSTER}/stop",
        note="a stopped cluster stays AVAILABLE, as DWS has no other word, with its nodes in state 300",
    ),
    Published(
        "ListNodeTypes", "GET", f"/v2{_P}/node-types", note="the one type there is: this host, as it is"
    ),
    Published("ListAvailabilityZones", "GET", f"/v1.0{_P}/availability-zones", note="one: this host"),
    Published(
        "ListQuotas",
        "GET",
        f"/v1.0{_P}/quotas",
        "deviating",
        "clusters (-1, no limit) and the host's disk; nothing else is limited",
    ),
    Published("ListStatistics", "GET", f"/v1.0{_P}/statistics"),
    Published("ShowResourceStatistics", "GET", f"/v1{_P}/resource-statistics"),
    Published("ListTags", "GET", f"/v1.0{_P}/tags"),
    Published("ListClusterTags", "GET", f"/v1.0{_CLUSTER}/tags"),
    Published("BatchCreateResourceTag", "POST", f"/v1.0{_CLUSTER}/tags/batch-create"),
    Published("BatchDeleteResourceTag", "POST", f"/v1.0{_CLUSTER}/tags/batch-delete"),
    Published("CreateClusterTag", "POST", f"/v1.0{_CLUSTER}/tags", note=_OTC),
    Published("DeleteClusterTag", "DELETE", f"/v1.0{_CLUSTER}/tags/{{key}}", note=_OTC),
    Published(
        "BatchCreateClusterTags",
        "POST",
        f"/v1.0{_CLUSTER}/tags/action",
        note=f"{_OTC}; `action` is create or delete, and delete needs both permissions",
    ),
    Published(
        "ModifyClusterName",
        "PUT",
        f"/v1{_CLUSTER}/cluster-name",
        note="snapshots keep the name that their cluster had",
    ),
    Published("SaveClusterDescriptionInfo", "POST", f"/v1{_CLUSTER}/description"),
    Published(
        "ModifyClusterTimezone",
        "POST",
        f"/v2{_CLUSTER}/timezone",
        "partial",
        "UTC, which clusters are in; another is refused: change it in the database, by ALTER DATABASE or ALTER ROLE",
    ),
    Published(
        "EnableLogicalCluster",
        "PUT",
        f"/v2{_CLUSTER}/logical-clusters/enable",
        "deviating",
        "the switch is stored; there are no logical clusters",
    ),
    Published("ListClusterConfigurations", "GET", f"/v1.0{_CLUSTER}/configurations", note="one group"),
    Published(
        "ListClusterConfigurationsParameter",
        "GET",
        f"/v1.0{_CLUSTER}/configurations/{{configuration_id}}",
        note="PostgreSQL's settings as the cluster's user sees them, all read-only",
    ),
    Published("ListClusterNodes", "GET", f"/v2{_CLUSTER}/nodes", note="servers: coordinator and data nodes"),
    Published(
        "ListSchemas", "GET", f"/v2{_CLUSTER}/databases/{{database_name}}/schemas", note="sizes in bytes"
    ),
    Published(
        "ListDatabaseObjects",
        "GET",
        f"/v1{_CLUSTER}/db-manager/objects",
        "partial",
        "databases, schemas, tables, views and functions",
    ),
    Published("ListEvents", "GET", f"/v2{_P}/events", note="from the audit log"),
    Published("ListJobDetails", "GET", f"/v1.0{_P}/job/{{job_id}}"),
    Published(
        "ListClusterActions",
        "GET",
        f"/v1{_CLUSTER}/actions/{{action_name}}",
        note="snapshots node by node, restores as one step",
    ),
)

TOKENS = (
    Published("KeystoneCreateUserTokenByPassword", "POST", "/v3/auth/tokens"),
    Published("KeystoneListVersions", "GET", "/"),
    Published("KeystoneShowVersion", "GET", "/v3", note="`/v3/` too"),
    Published(
        "KeystoneShowCatalog",
        "GET",
        "/v3/auth/catalog",
        note="`dws` and `dwsv1`; clients.md says at which address",
    ),
    Published("KeystoneListProjects", "GET", "/v3/projects"),
    Published("KeystoneListAuthDomains", "GET", "/v3/auth/domains"),
    Published("CreateTemporaryAccessKeyByToken", "POST", "/v3.0/OS-CREDENTIAL/securitytokens"),
)

_NO_EIP = "there are no elastic IPs on one's own host"
_NO_ELB = "there are no load balancers on one's own host"
_NO_LTS = "there is no log service on one's own host; each server writes its log to a file"
_FIXED = "a cluster keeps the nodes it was made with"

REFUSED = (
    Published(
        "ResetPassword",
        "POST",
        f"/v1.0{_CLUSTER}/reset-password",
        "refused",
        "change it in the database, by ALTER ROLE",
    ),
    Published("ResizeCluster", "POST", f"/v1.0{_CLUSTER}/resize", "refused", _FIXED),
    Published("ShrinkCluster", "POST", f"/v1.0{_CLUSTER}/cluster-shrink", "refused", _FIXED),
    Published(
        "ExpandInstanceStorage",
        "POST",
        f"/v1.0{_CLUSTER}/expand-instance-storage",
        "refused",
        "nodes share the host's disk",
    ),
    Published(
        "ChangeSecurityGroup",
        "PUT",
        f"/v1{_CLUSTER}/security-group",
        "refused",
        "the host's firewall is not the service's",
    ),
    Published(
        "UpdateMaintenanceWindow",
        "PUT",
        f"/v1.0{_CLUSTER}/maintenance-window",
        "refused",
        "only its owner maintains the host",
    ),
    Published(
        "UpdateConfiguration",
        "PUT",
        f"/v2{_CLUSTER}/configurations/{{configuration_id}}",
        "refused",
        "change settings in the database, by ALTER DATABASE or ALTER ROLE",
    ),
    Published("EnableLtsLogs", "POST", f"/v1{_CLUSTER}/lts-logs/enable", "refused", _NO_LTS),
    Published("DisableLtsLogs", "POST", f"/v1{_CLUSTER}/lts-logs/disable", "refused", _NO_LTS),
    Published("AssociateElb", "POST", f"/v2{_CLUSTER}/elbs/{{elb_id}}", "refused", _NO_ELB),
    Published("DisassociateElb", "DELETE", f"/v2{_CLUSTER}/elbs/{{elb_id}}", "refused", _NO_ELB),
    Published("AssociateEip", "POST", f"/v2{_CLUSTER}/eips/{{eip_id}}", "refused", _NO_EIP),
    Published("DisassociateEip", "DELETE", f"/v2{_CLUSTER}/eips/{{eip_id}}", "refused", _NO_EIP),
)

_NO_RECOVERY = "disaster recovery between two clusters is not built yet; restore a snapshot instead"
_NO_SUBSCRIPTIONS = "subscriptions to events are not built yet; ListEvents tells of them"
_NO_ALARMS = "alarms are not built yet; `/metrics` is there for a collector"
_RECOVERY = f"{_P}/disaster-recovery/{{disaster_recovery_id}}"

NOT_YET = (
    Published("CreateDisasterRecovery", "POST", f"/v2{_P}/disaster-recoveries", "not yet", _NO_RECOVERY),
    Published("ListDisasterRecover", "GET", f"/v2{_P}/disaster-recoveries", "not yet", _NO_RECOVERY),
    Published(
        "ListAvailableDisasterClusters", "GET", f"/v2{_P}/disaster-recovery-clusters", "not yet", _NO_RECOVERY
    ),
    Published("CheckDisasterName", "GET", f"/v2{_P}/disaster-recovery/check-name", "not yet", _NO_RECOVERY),
    Published("ShowDisasterDetail", "GET", f"/v2{_RECOVERY}", "not yet", _NO_RECOVERY),
    Published("UpdateDisasterInfo", "PUT", f"/v2{_RECOVERY}", "not yet", _NO_RECOVERY),
    Published("DeleteDisasterRecovery", "DELETE", f"/v2{_RECOVERY}", "not yet", _NO_RECOVERY),
    Published("StartDisasterRecovery", "POST", f"/v2{_RECOVERY}/start", "not yet", _NO_RECOVERY),
    Published("PauseDisasterRecovery", "POST", f"/v2{_RECOVERY}/pause", "not yet", _NO_RECOVERY),
    Published("SwitchoverDisasterRecovery", "POST", f"/v2{_RECOVERY}/switchover", "not yet", _NO_RECOVERY),
    Published("SwitchFailoverDisaster", "POST", f"/v2{_RECOVERY}/failover", "not yet", _NO_RECOVERY),
    Published("RestoreDisaster", "POST", f"/v2{_RECOVERY}/recovery", "not yet", _NO_RECOVERY),
    Published("ShowDisasterProgress", "GET", f"/v1{_RECOVERY}/show-progress", "not yet", _NO_RECOVERY),
    Published("ListEventSpecs", "GET", f"/v2{_P}/event-specs", "not yet", _NO_SUBSCRIPTIONS),
    Published("ListEventSubs", "GET", f"/v2{_P}/event-subs", "not yet", _NO_SUBSCRIPTIONS),
    Published("CreateEventSub", "POST", f"/v2{_P}/event-subs", "not yet", _NO_SUBSCRIPTIONS),
    Published("UpdateEventSub", "PUT", f"/v2{_P}/event-subs/{{event_sub_id}}", "not yet", _NO_SUBSCRIPTIONS),
    Published(
        "DeleteEventSub", "DELETE", f"/v2{_P}/event-subs/{{event_sub_id}}", "not yet", _NO_SUBSCRIPTIONS
    ),
    Published("ListAlarmConfigs", "GET", f"/v2{_P}/alarm-configs", "not yet", _NO_ALARMS),
    Published("ListAlarmDetail", "GET", f"/v2{_P}/alarms", "not yet", _NO_ALARMS),
    Published("ListAlarmStatistic", "GET", f"/v2{_P}/alarm-statistic", "not yet", _NO_ALARMS),
    Published("ListAlarmSubs", "GET", f"/v2{_P}/alarm-subs", "not yet", _NO_ALARMS),
    Published("CreateAlarmSub", "POST", f"/v2{_P}/alarm-subs", "not yet", _NO_ALARMS),
    Published("UpdateAlarmSub", "PUT", f"/v2{_P}/alarm-subs/{{alarm_sub_id}}", "not yet", _NO_ALARMS),
    Published("DeleteAlarmSub", "DELETE", f"/v2{_P}/alarm-subs/{{alarm_sub_id}}", "not yet", _NO_ALARMS),
)
"""Known by their names so that a client is told so; each answers as those of `REFUSED` do."""
