"""Operations of the DWS API that make no sense on one host. Each answers with the reason."""

from stillhouse.domain.api_operations.needs import RESIZE, UPDATE
from stillhouse.domain.api_operations.operation import CLUSTER, Operation, need

_NO_EIP = "there are no elastic IPs on one's own host"
_NO_ELB = "there are no load balancers on one's own host"
_NO_LTS = "there is no log service on one's own host; each server writes its log to a file"
_FIXED = "a cluster keeps the nodes it was made with"

REFUSED = (
    Operation(
        "ResetPassword",
        "POST",
        f"/v1.0{CLUSTER}/reset-password",
        need("dws:cluster:resetPassword", "dws:openAPICluster:resetPassword"),
        "refused",
        "change it in the database, by ALTER ROLE",
    ),
    Operation("ResizeCluster", "POST", f"/v1.0{CLUSTER}/resize", RESIZE, "refused", _FIXED),
    Operation("ShrinkCluster", "POST", f"/v1.0{CLUSTER}/cluster-shrink", RESIZE, "refused", _FIXED),
    Operation(
        "ExpandInstanceStorage",
        "POST",
        f"/v1.0{CLUSTER}/expand-instance-storage",
        RESIZE,
        "refused",
        "nodes share the host's disk",
    ),
    Operation(
        "ChangeSecurityGroup",
        "PUT",
        f"/v1{CLUSTER}/security-group",
        UPDATE,
        "refused",
        "the host's firewall is not the service's",
    ),
    Operation(
        "UpdateMaintenanceWindow",
        "PUT",
        f"/v1.0{CLUSTER}/maintenance-window",
        UPDATE,
        "refused",
        "only its owner maintains the host",
    ),
    Operation(
        "UpdateConfiguration",
        "PUT",
        f"/v2{CLUSTER}/configurations/{{configuration_id}}",
        UPDATE,
        "refused",
        "change settings in the database, by ALTER DATABASE or ALTER ROLE",
    ),
    Operation("EnableLtsLogs", "POST", f"/v1{CLUSTER}/lts-logs/enable", UPDATE, "refused", _NO_LTS),
    Operation("DisableLtsLogs", "POST", f"/v1{CLUSTER}/lts-logs/disable", UPDATE, "refused", _NO_LTS),
    Operation("AssociateElb", "POST", f"/v2{CLUSTER}/elbs/{{elb_id}}", UPDATE, "refused", _NO_ELB),
    Operation("DisassociateElb", "DELETE", f"/v2{CLUSTER}/elbs/{{elb_id}}", UPDATE, "refused", _NO_ELB),
    Operation("AssociateEip", "POST", f"/v2{CLUSTER}/eips/{{eip_id}}", UPDATE, "refused", _NO_EIP),
    Operation("DisassociateEip", "DELETE", f"/v2{CLUSTER}/eips/{{eip_id}}", UPDATE, "refused", _NO_EIP),
)
