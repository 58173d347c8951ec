"""The operations on clusters, and on what is around them, that the DWS API publishes."""

from stillhouse.domain.api_operations.needs import (
    CLUSTER_DETAIL,
    CREATE_CLUSTER,
    CREATE_TAG,
    DELETE_CLUSTER,
    DELETE_TAG,
    LIST_CLUSTERS,
    UPDATE,
)
from stillhouse.domain.api_operations.operation import CLUSTER, PROJECT, Operation, need

_OTC = "of Open Telekom Cloud"
_STORED = "node type, network, zone and volume are stored and given back as sent"

CLUSTERS = (
    Operation("CreateCluster", "POST", f"/v1.0{PROJECT}/clusters", CREATE_CLUSTER, "deviating", _STORED),
    Operation("CreateClusterV2", "POST", f"/v2{PROJECT}/clusters", CREATE_CLUSTER, "deviating", _STORED),
    Operation("CheckCluster", "POST", f"/v2{PROJECT}/cluster-precheck", CREATE_CLUSTER),
    Operation("ListClusters", "GET", f"/v1.0{PROJECT}/clusters", LIST_CLUSTERS),
    Operation("ShowClusters", "GET", f"/v2{PROJECT}/clusters", LIST_CLUSTERS),
    Operation(
        "ListClusterDetails",
        "GET",
        f"/v1.0{CLUSTER}",
        CLUSTER_DETAIL,
        "deviating",
        "`recent_event` is always 0; there is no maintenance window",
    ),
    Operation("DeleteCluster", "DELETE", f"/v1.0{CLUSTER}", DELETE_CLUSTER),
    Operation("DeleteDwsCluster", "DELETE", f"/v2{CLUSTER}", DELETE_CLUSTER),
    Operation(
        "RestartCluster",
        "POST",
        f"/v1.0{CLUSTER}/restart",
        need("dws:cluster:restart", "dws:openAPICluster:restart"),
    ),
    Operation("StartCluster", "POST", f"/v1{CLUSTER}/start", need("dws:cluster:startCluster")),
    Operation(
        "StopCluster",
        "POST",
        f"/v1{CLUSTER}/stop",
        need("dws:cluster:stopCluster"),
        note="a stopped cluster stays AVAILABLE, as DWS has no other word, with its nodes in state 300",
    ),
    Operation(
        "ListNodeTypes",
        "GET",
        f"/v2{PROJECT}/node-types",
        need("dws:openAPIFlavors:get"),
        note="the one type there is: this host, as it is",
    ),
    Operation(
        "ListAvailabilityZones",
        "GET",
        f"/v1.0{PROJECT}/availability-zones",
        LIST_CLUSTERS,
        note="one: this host",
    ),
    Operation(
        "ListQuotas",
        "GET",
        f"/v1.0{PROJECT}/quotas",
        LIST_CLUSTERS,
        "deviating",
        "clusters and nodes of the project (-1: no limit), and its disk, or the host's where it has no limit; "
        "nothing else is limited",
    ),
    Operation("ListStatistics", "GET", f"/v1.0{PROJECT}/statistics", LIST_CLUSTERS),
    Operation("ShowResourceStatistics", "GET", f"/v1{PROJECT}/resource-statistics", LIST_CLUSTERS),
    Operation("ListTags", "GET", f"/v1.0{PROJECT}/tags", need("dws:openAPITag:list")),
    Operation("ListClusterTags", "GET", f"/v1.0{CLUSTER}/tags", need("dws:openAPITag:get")),
    Operation("BatchCreateResourceTag", "POST", f"/v1.0{CLUSTER}/tags/batch-create", CREATE_TAG),
    Operation("BatchDeleteResourceTag", "POST", f"/v1.0{CLUSTER}/tags/batch-delete", DELETE_TAG),
    Operation("CreateClusterTag", "POST", f"/v1.0{CLUSTER}/tags", CREATE_TAG, note=_OTC),
    Operation("DeleteClusterTag", "DELETE", f"/v1.0{CLUSTER}/tags/{{key}}", DELETE_TAG, note=_OTC),
    # A deletion asks for the permission to delete as well: the route does, since the body says what is meant.
    Operation(
        "BatchCreateClusterTags",
        "POST",
        f"/v1.0{CLUSTER}/tags/action",
        CREATE_TAG,
        note=f"{_OTC}; `action` is create or delete, and delete needs both permissions",
    ),
    Operation(
        "ModifyClusterName",
        "PUT",
        f"/v1{CLUSTER}/cluster-name",
        UPDATE,
        note="snapshots keep the name that their cluster had",
    ),
    Operation("SaveClusterDescriptionInfo", "POST", f"/v1{CLUSTER}/description", UPDATE),
    Operation(
        "ModifyClusterTimezone",
        "POST",
        f"/v2{CLUSTER}/timezone",
        UPDATE,
        "partial",
        "UTC, which clusters are in; another is refused: change it in the database, by ALTER DATABASE or ALTER ROLE",
    ),
    Operation(
        "EnableLogicalCluster",
        "PUT",
        f"/v2{CLUSTER}/logical-clusters/enable",
        UPDATE,
        "deviating",
        "the switch is stored; there are no logical clusters",
    ),
    Operation(
        "ListClusterConfigurations", "GET", f"/v1.0{CLUSTER}/configurations", CLUSTER_DETAIL, note="one group"
    ),
    Operation(
        "ListClusterConfigurationsParameter",
        "GET",
        f"/v1.0{CLUSTER}/configurations/{{configuration_id}}",
        CLUSTER_DETAIL,
        note="PostgreSQL's settings as the cluster's user sees them, all read-only",
    ),
    Operation(
        "ListClusterNodes",
        "GET",
        f"/v2{CLUSTER}/nodes",
        CLUSTER_DETAIL,
        note="servers: coordinator and data nodes",
    ),
    Operation(
        "ListSchemas",
        "GET",
        f"/v2{CLUSTER}/databases/{{database_name}}/schemas",
        CLUSTER_DETAIL,
        note="sizes in bytes",
    ),
    Operation(
        "ListDatabaseObjects",
        "GET",
        f"/v1{CLUSTER}/db-manager/objects",
        CLUSTER_DETAIL,
        "partial",
        "databases, schemas, tables, views and functions",
    ),
    Operation("ListEvents", "GET", f"/v2{PROJECT}/events", LIST_CLUSTERS, note="from the audit log"),
    Operation("ListJobDetails", "GET", f"/v1.0{PROJECT}/job/{{job_id}}", CLUSTER_DETAIL),
    Operation(
        "ListClusterActions",
        "GET",
        f"/v1{CLUSTER}/actions/{{action_name}}",
        CLUSTER_DETAIL,
        note="snapshots node by node, restores as one step",
    ),
)
