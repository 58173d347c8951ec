"""The operations on snapshots, policies and tables that the DWS API publishes."""

from stillhouse.domain.api_operations.needs import LIST_SNAPSHOTS, RESTORE_TABLE, SNAPSHOT_DETAIL
from stillhouse.domain.api_operations.operation import (
    CLUSTER,
    NAMES_BODY,
    PROJECT,
    SNAPSHOT,
    Need,
    Operation,
    need,
)

SNAPSHOTS = (
    Operation(
        "CreateSnapshot",
        "POST",
        f"/v1.0{PROJECT}/snapshots",
        Need(
            ("dws:cluster:createSnapshot", "dws:openAPISnapshot:create", "dws:snapshot:create"),
            cluster_in_body=True,
        ),
    ),
    Operation("ListSnapshots", "GET", f"/v1.0{PROJECT}/snapshots", LIST_SNAPSHOTS),
    Operation("ListSnapshotDetails", "GET", f"/v1.0{SNAPSHOT}", SNAPSHOT_DETAIL, is_light=True),
    Operation("ListClusterSnapshots", "GET", f"/v1.0{CLUSTER}/snapshots", LIST_SNAPSHOTS),
    Operation(
        "DeleteSnapshot",
        "DELETE",
        f"/v1.0{SNAPSHOT}",
        need("dws:cluster:deleteSnapshot", "dws:openAPISnapshot:delete", "dws:snapshot:delete"),
        note="it goes to the trash first",
    ),
    Operation(
        "CopySnapshot",
        "POST",
        f"/v1.0{SNAPSHOT}/linked-copy",
        need("dws:cluster:copySnapshot", "dws:snapshot:copy"),
    ),
    Operation(
        "RestoreCluster",
        "POST",
        f"/v1.0{SNAPSHOT}/actions",
        need("dws:cluster:restoreSnapshot", "dws:openAPISnapshot:restore"),
        note="network and zone come from the snapshot's cluster unless given; `server_settings` is our own",
    ),
    Operation(
        "ListSnapshotFlavorInfo",
        "GET",
        f"/v2{SNAPSHOT}/flavors",
        SNAPSHOT_DETAIL,
        note="the one flavour there is: this host, with as many nodes as the snapshot has",
    ),
    Operation("CheckSnapshot", "POST", f"/v1{PROJECT}/snapshots/check", Need()),
    Operation(
        "CheckTableRestore",
        "POST",
        f"/v1{SNAPSHOT}/table-restore-check",
        RESTORE_TABLE,
        note="names as `schema.table`; null where nothing is wrong, or nothing can be said",
        largest_body=NAMES_BODY,
    ),
    Operation(
        "RestoreTable",
        "POST",
        f"/v1{SNAPSHOT}/table-restore",
        RESTORE_TABLE,
        note="from any snapshot, up to 100 tables at a time",
        largest_body=NAMES_BODY,
    ),
    Operation(
        "ListSnapshotStatistics",
        "GET",
        f"/v1.0{CLUSTER}/snapshots/statistics",
        need("dws:cluster:listSnapshotStatistics"),
    ),
    Operation(
        "CreateSnapshotPolicy",
        "PUT",
        f"/v2{CLUSTER}/snapshot-policies",
        need("dws:cluster:createSnapshotPolicy", "dws:cluster:setAutomatedSnapshot"),
    ),
    Operation(
        "ListSnapshotPolicy", "GET", f"/v2{CLUSTER}/snapshot-policies", need("dws:cluster:listSnapshotPolicy")
    ),
    Operation(
        "DeleteSnapshotPolicy",
        "DELETE",
        f"/v1.0{CLUSTER}/snapshot-policies/{{id}}",
        need("dws:cluster:deleteSnapshotPolicy", "dws:backupPolicy:delete"),
    ),
    Operation(
        "ValidateDbData",
        "POST",
        f"/v1{CLUSTER}/{{database}}/validate",
        RESTORE_TABLE,
        note="a table reads `schema.table`; without a schema it is `public`'s",
        largest_body=NAMES_BODY,
    ),
)
