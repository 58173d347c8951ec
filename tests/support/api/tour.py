"""A tour of the API: one good call of every operation that needs no server of a cluster, over one catalog."""

import re
from typing import Any

from sqlalchemy import text

from stillhouse.api.shapes.clusters import parameter_group_id
from stillhouse.catalog import captures, clusters
from stillhouse.catalog.checks import findings
from stillhouse.control.access import users
from stillhouse.domain.api_operations.not_yet import NOT_YET
from stillhouse.domain.api_operations.refused import REFUSED
from stillhouse.domain.reports.damage import FileTouched, KnownDamage, NodeTouched, SnapshotTouched
from stillhouse.repository.objects import losses
from support.api.application import PASSWORD, PROJECT, Service, a_cluster
from support.api.client import Answer
from support.repositories.crafted_lines import Line

# Asked of a real cluster elsewhere: `tests/real/test_databases.py`.
NEEDS_SERVERS = frozenset(
    {
        "ValidateDbData",
        "ListSchemas",
        "ListDatabaseObjects",
        "ListClusterConfigurationsParameter",
        "CheckTableRestore",
    }
)

# Of clusters whose servers are somebody's: `tests/real/test_registration.py`.
OF_REGISTERED = frozenset(
    {
        "RegisterCluster",
        "CheckServers",
        "ChangeConnections",
        "CheckUpCluster",
        "ShowCheckUp",
        "RemoveCluster",
    }
)
ELSEWHERE = NEEDS_SERVERS | OF_REGISTERED


class Tour:
    """`answers` by operation, in the order they were had."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.answers: dict[str, Answer] = {}

    def ask(self, operation: str, method: str, path: str, body: Any = None, **query: str) -> Any:
        answer = self.service.client.request(method, path, body, query=query)
        self.answers[operation] = answer
        return answer.json


def take(tour: Tour) -> dict[str, Answer]:
    """Everything is asked through `tour`, so that another client than ours can be sent round."""
    service = tour.service
    source = service.add_cluster()
    with service.control.database.transaction() as transaction:
        facts: dict[str, object] = {
            "node_type": "stillhouse.host",
            "vpc_id": "vpc-1",
            "subnet_id": "subnet-1",
        }
        clusters.set_facts(transaction, source, facts, service.control.clock.now())
    _snapshots(tour, source)
    _clusters(tour, source)
    _host(tour)
    _policies(tour, source)
    _identity(tour)
    for one in (*REFUSED, *NOT_YET):
        path = one.path.replace("{project_id}", "{p}").replace("{cluster_id}", source)
        path = path.replace("{configuration_id}", source).replace("{elb_id}", "e").replace("{eip_id}", "e")
        path = re.sub(r"{(disaster_recovery|event_sub|alarm_sub)_id}", "e", path)
        tour.ask(one.id, one.method, path, {})
    tour.ask("DeleteCluster", "DELETE", f"/v1.0/{{p}}/clusters/{source}", {"keep_last_manual_snapshot": 0})
    return tour.answers


def _snapshots(tour: Tour, source: str) -> None:
    service = tour.service
    wanted = {"name": "before-upgrade", "cluster_id": source, "description": "state before the upgrade"}
    snapshot = tour.ask("CreateSnapshot", "POST", "/v1.0/{p}/snapshots", {"snapshot": wanted})["snapshot"][
        "id"
    ]
    now = service.control.clock.now()
    with service.control.database.transaction() as transaction:
        (node,) = clusters.read_cluster(transaction, source).nodes
        attempt = captures.begin_attempt(transaction, snapshot, [node.id], now)
        captures.set_bytes(transaction, snapshot, node.id, attempt, now, done=25, total=100, per_second=10)
    tour.ask("ShowSnapshotProgress", "GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/progress")
    tour.ask("ShowClusterProgress", "GET", f"/stillhouse/v1/{{p}}/clusters/{source}/progress")
    tour.ask("ListClusterActions", "GET", f"/v1/{{p}}/clusters/{source}/actions/SNAPSHOTTING")
    tour.ask("CancelSnapshot", "POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/cancel")
    service.finish_snapshot(snapshot)
    tour.ask("CheckSnapshot", "POST", "/v1/{p}/snapshots/check", {"snapshot_name": "another"})
    of_snapshot = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}"
    tour.ask("ShowSnapshot", "GET", of_snapshot)
    tour.ask("ListSnapshotStates", "GET", "/stillhouse/v1/{p}/snapshots")
    tour.ask("ShowCluster", "GET", f"/stillhouse/v1/{{p}}/clusters/{source}")
    tour.ask("ListClusterStates", "GET", "/stillhouse/v1/{p}/clusters")
    operation = tour.ask("ListOperations", "GET", "/stillhouse/v1/{p}/operations")["operations"][0]["id"]
    tour.ask("ShowOperation", "GET", f"/stillhouse/v1/{{p}}/operations/{operation}")
    tour.ask("ListSnapshots", "GET", "/v1.0/{p}/snapshots")
    tour.ask("ShowProof", "GET", of_snapshot + "/proof")
    _damage(tour, snapshot, source)
    tour.ask("ListSnapshotDetails", "GET", f"/v1.0/{{p}}/snapshots/{snapshot}")
    tour.ask(
        "ListClusterSnapshots", "GET", f"/v1.0/{{p}}/clusters/{source}/snapshots", limit="10", offset="0"
    )
    tour.ask("ListSnapshotFlavorInfo", "GET", f"/v2/{{p}}/snapshots/{snapshot}/flavors")
    restore = {"name": "sales-dw-copy", "port": 8000, "public_ip": {"public_bind_type": "not_use"}}
    path = f"/v1.0/{{p}}/snapshots/{snapshot}/actions"
    restored = tour.ask("RestoreCluster", "POST", path, {"restore": restore})
    tour.ask("ListJobDetails", "GET", f"/v1.0/{{p}}/job/{restored['job_id']}")
    service.finish_restore(restored["cluster"]["id"])
    path = f"/v1/{{p}}/snapshots/{snapshot}/table-restore"
    tour.ask("RestoreTable", "POST", path, a_table_restore())
    service.finish_restore(source)
    _difference(tour, snapshot, source)
    tour.ask("DeleteSnapshot", "DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}")
    tour.ask("ListTrash", "GET", "/stillhouse/v1/{p}/trash")
    tour.ask("ListAuditRecords", "GET", "/stillhouse/v1/{p}/audit", limit="2")
    tour.ask("UndeleteSnapshot", "POST", of_snapshot + "/undelete")
    tour.ask("CollectCluster", "POST", f"/stillhouse/v1/{{p}}/clusters/{source}/collect")


def _difference(tour: Tour, snapshot: str, source: str) -> None:
    """Compare the snapshot with an older one, in which a table had more rows."""
    older = tour.service.take_snapshot(source, "older-one", plain_bytes=1)
    witness: Line = {"t": "witness", "databases": ["gaussdb"], "why": ""}
    for one, rows in ((older, 3), (snapshot, 2)):
        table: Line = {"t": "table", "database": "gaussdb", "schema": "public", "name": "orders", "kind": "r"}
        tour.service.store_snapshot(one, source, witness, table | {"rows": rows, "digest": f"{rows} {rows}"})
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/difference"
    tour.ask("ShowSnapshotDifference", "GET", path, before=older)


def _damage(tour: Tour, snapshot: str, source: str) -> None:
    """KnownDamage for a while, and then mended."""
    control = tour.service.control
    damaged: dict[str, Any] = {"key": f"c/{source}/packs/{'0' * 32}", "kind": "missing", "detail": "is gone"}
    damaged |= {"costs": True, "found": "2026-11-20T08:14:51+00:00"}
    files = (FileTouched("base/5/16384", ((0, 7),)), FileTouched("pg_xact/0000", bytes=((0, 99),)))
    lost = SnapshotTouched(snapshot, "before-upgrade", (NodeTouched("cn", files), NodeTouched("dn1", None)))
    for said, costs in (
        (KnownDamage(["0" * 32], True, [damaged]), {snapshot: list(losses.lines(lost))}),
        (KnownDamage([], True, []), {}),
    ):
        with control.database.transaction() as transaction:
            findings.put(transaction, source, control.clock.now(), said, costs)
        if costs:
            path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/damage"
            tour.ask("ShowSnapshotDamage", "GET", path)
            tour.ask("ListDamage", "GET", "/stillhouse/v1/{p}/damage")


def _clusters(tour: Tour, source: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{source}"
    tags = {"tags": [{"key": "team", "value": "bi"}]}
    tour.ask("BatchCreateResourceTag", "POST", path + "/tags/batch-create", tags)
    tour.ask("ListTags", "GET", "/v1.0/{p}/tags")
    tour.ask("ListClusterTags", "GET", path + "/tags")
    tour.ask("ListClusters", "GET", "/v1.0/{p}/clusters")
    tour.ask("ShowClusters", "GET", "/v2/{p}/clusters")
    tour.ask("ListClusterDetails", "GET", path)
    tour.ask("ListClusterNodes", "GET", f"/v2/{{p}}/clusters/{source}/nodes", limit="100", offset="0")
    tour.ask("ListClusterConfigurations", "GET", path + "/configurations")
    tour.ask("BatchDeleteResourceTag", "POST", path + "/tags/batch-delete", tags)
    tour.ask("CreateClusterTag", "POST", path + "/tags", {"tag": tags["tags"][0]})
    tour.ask("BatchCreateClusterTags", "POST", path + "/tags/action", {"action": "create", **tags})
    tour.ask("DeleteClusterTag", "DELETE", path + "/tags/team")
    path = f"{{p}}/clusters/{source}"
    tour.ask("SaveClusterDescriptionInfo", "POST", f"/v1/{path}/description", {"description_info": "sales"})
    tour.ask("ModifyClusterName", "PUT", f"/v1/{path}/cluster-name", {"cluster_name": "sales-dw"})
    tour.ask("ModifyClusterTimezone", "POST", f"/v2/{path}/timezone", {"cluster_timezone": "UTC"})
    tour.ask("EnableLogicalCluster", "PUT", f"/v2/{path}/logical-clusters/enable", {"enable": True})
    tour.ask("CreateCluster", "POST", "/v1.0/{p}/clusters", {"cluster": a_cluster()})
    wanted = {
        "flavor": "stillhouse.host",
        "num_node": 2,
        "availability_zones": ["local"],
        "datastore_version": "1.0.0",
        "vpc_id": "vpc-1",
        "subnet_id": "subnet-1",
        "name": "second-dw",
    }
    tour.ask("CheckCluster", "POST", "/v2/{p}/cluster-precheck", {"cluster": wanted})
    user = {"db_name": "dbadmin", "db_password": PASSWORD, "db_port": 8000}
    tour.ask("CreateClusterV2", "POST", "/v2/{p}/clusters", {"cluster": wanted | user})
    for operation, method, tail in [
        ("StopCluster", "POST", "/stop"),
        ("StartCluster", "POST", "/start"),
        ("RestartCluster", "POST", "/restart"),
    ]:
        version = "v1.0" if operation == "RestartCluster" else "v1"
        tour.ask(operation, method, f"/{version}/{{p}}/clusters/{source}{tail}")
        with tour.service.control.database.transaction() as transaction:
            stopped = operation == "StopCluster"
            clusters.set_stopped(transaction, source, stopped, tour.service.control.clock.now())
        tour.service.finish_restore(source)
    other = tour.service.add_cluster()
    tour.ask("DeleteDwsCluster", "DELETE", f"/v2/{{p}}/clusters/{other}", keep_last_manual_backup="0")


def _policies(tour: Tour, source: str) -> None:
    path = f"/v2/{{p}}/clusters/{source}/snapshot-policies"
    strategy = {"policy_name": "by-tour", "backup_strategy": "0 8 6 4 * ?", "backup_type": "full"}
    wanted = {"backup_strategies": [strategy | {"backup_level": "cluster", "cluster_id": source}]}
    tour.ask("CreateSnapshotPolicy", "PUT", path, wanted)
    found = tour.ask("ListSnapshotPolicy", "GET", path)["backup_strategies"][0]["policy_id"]
    tour.ask("ShowPolicyPreview", "GET", f"/stillhouse/v1/{{p}}/clusters/{source}/policy-preview")
    tour.ask("DeleteSnapshotPolicy", "DELETE", f"/v1.0/{{p}}/clusters/{source}/snapshot-policies/{found}")
    tour.ask("ListSnapshotStatistics", "GET", f"/v1.0/{{p}}/clusters/{source}/snapshots/statistics")
    proofs = f"/stillhouse/v1/{{p}}/clusters/{source}/proofs"
    tour.ask("SetProofSchedule", "PUT", proofs, {"every_days": 7})
    tour.ask("ShowProofSchedule", "GET", proofs)

    automated = tour.service.take_snapshot(source, "automated", plain_bytes=1)
    with tour.service.control.database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_snapshots SET type = 'AUTO' WHERE id = :id"), {"id": automated})
    copy = {"backup_name": "month-end", "description": "kept"}
    tour.ask("CopySnapshot", "POST", f"/v1.0/{{p}}/snapshots/{automated}/linked-copy", copy)
    # Last: nothing deletes what is being proved.
    tour.ask("ProveSnapshot", "POST", f"/stillhouse/v1/{{p}}/snapshots/{automated}/prove")
    with tour.service.control.database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_proofs SET ended = started, state = 'failed'"))
        transaction.execute(text("UPDATE sh_snapshots SET status = 'AVAILABLE'"))


def _identity(tour: Tour) -> None:
    control = tour.service.control
    users.create_user(control, PROJECT, "op1", PASSWORD)
    user = {"name": "op1", "password": PASSWORD, "domain": {"name": PROJECT}}
    scope = {"project": {"id": PROJECT}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
    tour.ask("KeystoneCreateUserTokenByPassword", "POST", "/v3/auth/tokens", {"auth": auth})
    tour.ask("KeystoneListVersions", "GET", "/")
    tour.ask("KeystoneShowVersion", "GET", "/v3")
    tour.ask("KeystoneShowCatalog", "GET", "/v3/auth/catalog")
    tour.ask("KeystoneListProjects", "GET", "/v3/projects", name="local-1")
    tour.ask("KeystoneListAuthDomains", "GET", "/v3/auth/domains")
    by_token = {"identity": {"methods": ["token"], "token": {"duration_seconds": 900}}}
    path = "/v3.0/OS-CREDENTIAL/securitytokens"
    tour.ask("CreateTemporaryAccessKeyByToken", "POST", path, {"auth": by_token})


def _host(tour: Tour) -> None:
    tour.ask("ListNodeTypes", "GET", "/v2/{p}/node-types")
    tour.ask("ListAvailabilityZones", "GET", "/v1.0/{p}/availability-zones")
    tour.ask("ListQuotas", "GET", "/v1.0/{p}/quotas")
    tour.ask("ListStatistics", "GET", "/v1.0/{p}/statistics")
    tour.ask("ShowResourceStatistics", "GET", "/v1/{p}/resource-statistics", namespace="dws")
    tour.ask("ListEvents", "GET", "/v2/{p}/events", limit="1", offset="0")


def a_table_restore(database: str = "gaussdb", *, case_sensitive: bool = False) -> dict[str, Any]:
    """One table, to its default name."""
    return {
        "case_sensitive": case_sensitive,
        "database": database,
        "restore_table_list": [{"schema_name": "public", "table_name": "orders"}],
        "target_table_list": [{"schema_name": "", "table_name": ""}],
    }


def settings_path(service: Service, cluster_id: str) -> str:
    """Where the settings of a cluster are asked for."""
    with service.control.database.reading() as reading:
        group = parameter_group_id(clusters.read_cluster(reading, cluster_id))
    return f"/v1.0/{{p}}/clusters/{cluster_id}/configurations/{group}"
