"""What the API tells of the inside of a cluster is what its servers hold."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from stillhouse.catalog import clusters
from stillhouse.domain.cluster import Cluster
from stillhouse.postgres.sessions import session
from support.api.application import PROJECT, Service, serving_service
from support.api.asking import end_operation
from support.api.golden import example
from support.api.page import routed
from support.api.sdk_tour import SdkTour, assert_read, sdk_tour
from support.api.shapes import shape
from support.api.tour import NEEDS_SERVERS, a_table_restore, settings_path
from support.servers.warehouses import MakeWarehouse, log_in

_SCHEMA = """
    CREATE SCHEMA mart;
    CREATE SCHEMA "odd.name";
    CREATE SCHEMA stillhouse_tables_0a1b;
    CREATE TABLE stillhouse_tables_0a1b.on_its_way (id int);
    CREATE TABLE mart.orders (id int PRIMARY KEY, note text);
    CREATE TABLE public."Mixed" (id int);
    CREATE TABLE "odd.name".t (id int);
    CREATE TABLE mart.parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE mart.parted_1 PARTITION OF mart.parted FOR VALUES FROM (0) TO (10);
    CREATE VIEW mart.seen AS SELECT id FROM mart.orders;
    CREATE FUNCTION mart.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""


@pytest.fixture(scope="module")
def cluster(make_warehouse: MakeWarehouse) -> Cluster:
    made, _ = make_warehouse(2)
    with closing(log_in(made.coordinator, database="gaussdb")) as connection:
        connection.execute(_SCHEMA)
        connection.commit()
    with closing(session.connect(made.data_nodes[0], "gaussdb")) as connection:
        connection.execute("CREATE SCHEMA mart")
        connection.execute(
            "CREATE TABLE mart.orders AS SELECT g AS id, repeat('x', 100) AS note FROM generate_series(1, 5000) g"
        )
    return replace(made, project=PROJECT)


@pytest.fixture(scope="module")
def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        with service.control.database.transaction() as transaction:
            clusters.insert_cluster(transaction, cluster)
            clusters.save_nodes(transaction, cluster.id, cluster.nodes)
        yield service


@pytest.fixture(scope="module")
def sdk(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkTour]:
    with sdk_tour(service, tmp_path_factory.mktemp("home")) as made:
        yield made


def ask(service: Service, operation: str, path: str, body: Any = None, **query: str) -> Any:
    """The answer, which has the shape of the operation's kept example."""
    method = {name: method for name, method, _ in routed()}[operation]
    answer = service.client.request(method, path, body, query=query)
    assert answer.status == 200, answer.raw
    return answer.json


def refused(service: Service, method: str, path: str, body: Any = None, **query: str) -> tuple[int, str]:
    answer = service.client.request(method, path, body, query=query)
    return answer.status, answer.error_code


def validate(service: Service, cluster: Cluster, kind: str, *names: str, database: str = "gaussdb") -> Any:
    path = f"/v1/{{p}}/clusters/{cluster.id}/{database}/validate"
    return ask(service, "ValidateDbData", path, {"type": kind, "data": list(names)})


def test_schemas_are_validated_against_the_cluster(service: Service, cluster: Cluster) -> None:
    shown = validate(
        service, cluster, "schema", "mart", "ghost", "public", "pg_catalog", "stillhouse", "MART"
    )
    assert shown == {"total": 6, "success": 2, "failure": 4, "type": "schema", "data": ["mart", "public"]}
    assert validate(service, cluster, "schema")["total"] == 0


def test_tables_are_validated_against_the_cluster(service: Service, cluster: Cluster) -> None:
    asked = [
        "Mixed",
        "mart.orders",
        "mart.seen",
        "mart.parted_1",
        "mart.ghost",
        "mixed",
        "orders",
        "pg_class",
        "; DROP",
    ]
    assert validate(service, cluster, "table", *asked)["data"] == ["Mixed", "mart.orders", "mart.parted_1"]
    assert validate(service, cluster, "table", "mart.orders", database="postgres")["data"] == []


@pytest.mark.parametrize("database", ["ghost", "template0", "template1", "a%20b", "%22"])
def test_a_database_that_is_not_there_is_said_to_be_so(
    service: Service, cluster: Cluster, database: str
) -> None:
    path = f"/v1/{{p}}/clusters/{cluster.id}/{database}/validate"
    assert refused(service, "POST", path, {"type": "schema", "data": []}) == (400, "DWS.5172")
    path = f"/v2/{{p}}/clusters/{cluster.id}/databases/{database}/schemas"
    shown = service.client.request("GET", path)
    assert (shown.status, shown.json) == (200, {"schemas": [], "count": 0})


@pytest.mark.parametrize("database", ["%00", "a" * 64, "%C3%A9" * 32])
def test_a_database_s_name_that_no_server_could_have_is_refused(
    service: Service, cluster: Cluster, database: str
) -> None:
    path = f"/v1/{{p}}/clusters/{cluster.id}/{database}/validate"
    assert refused(service, "POST", path, {"type": "table", "data": ["t"]}) == (400, "DWS.0001")


def test_objects_are_listed_by_kind_and_in_pages(service: Service, cluster: Cluster) -> None:
    path = f"/v1/{{p}}/clusters/{cluster.id}/db-manager/objects"

    def names(**query: str) -> list[str]:
        return [one["obj_name"] for one in ask(service, "ListDatabaseObjects", path, **query)["object_list"]]

    assert names(type="DATABASE") == ["gaussdb", "postgres"]
    assert names(type="SCHEMA", database="gaussdb") == ["mart", "odd.name", "public"]
    assert names(type="TABLE", database="gaussdb", schema="mart") == ["orders", "parted"]
    assert names(type="VIEW", database="gaussdb") == ["seen"]
    assert "one" in names(type="FUNCTION", database="gaussdb", schema="mart")
    assert names(type="TABLE", database="gaussdb", name="rder") == ["orders"]
    page = ask(service, "ListDatabaseObjects", path, type="SCHEMA", database="gaussdb", limit="1", offset="1")
    assert (page["count"], page["object_list"]) == ("3", [{"obj_name": "odd.name"}])
    assert refused(service, "GET", path, type="SCHEMA") == (400, "DWS.0001")
    assert refused(service, "GET", path, type="ROLE") == (400, "DWS.0001")


def test_the_size_of_a_schema_is_told_node_by_node(service: Service, cluster: Cluster) -> None:
    path = f"/v2/{{p}}/clusters/{cluster.id}/databases/gaussdb/schemas"
    shown = {one["schema_name"]: one for one in ask(service, "ListSchemas", path)["schemas"]}
    mart = shown["mart"]
    assert mart["total_value"] == mart["max_value"] > 500_000
    assert (mart["max_dn"], mart["min_dn"], mart["min_value"], mart["skew_percent"]) == (
        "dn1",
        "dn2",
        0,
        100.0,
    )
    assert (shown["public"]["total_value"], shown["public"]["skew_percent"]) == (0, 0.0)
    assert [*shown] == ["mart", "odd.name", "public"]
    assert ask(service, "ListSchemas", path, keywords="mar")["count"] == 1


def test_settings_are_what_the_user_sees_and_tell_nothing_of_the_host(
    service: Service, cluster: Cluster
) -> None:
    shown = ask(service, "ListClusterConfigurationsParameter", settings_path(service, cluster.id))
    settings = {one["name"]: one for one in shown["configurations"]}
    assert [value["type"] for value in settings["work_mem"]["values"]] == ["cn", "dn"]
    assert settings["max_connections"]["restart_required"]
    assert (settings["jit"]["type"], settings["work_mem"]["unit"]) == ("boolean", "kB")
    assert cluster.coordinator.directory not in str(shown)
    assert not {"data_directory", "hba_file", "unix_socket_directories"} & settings.keys()


# --- the check before a restore of tables -----------------------------------------------------------


@pytest.fixture(scope="module")
def snapshot_id(service: Service, cluster: Cluster) -> str:
    """A snapshot whose list has `public.orders` and the partitioned `mart.parted`, of two databases."""
    taken = service.take_snapshot(cluster.id, "listed-one", plain_bytes=1)
    table = {
        "t": "table",
        "database": "gaussdb",
        "schema": "public",
        "name": "orders",
        "kind": "r",
        "rows": 1,
    }
    service.store_snapshot(
        taken,
        cluster.id,
        {"t": "witness", "databases": ["gaussdb", "gone"], "why": "", "partitioned": True},
        {"t": "partitioned", "database": "gaussdb", "schema": "mart", "name": "parted"},
        table,
    )
    return taken


def checked(
    service: Service, snapshot_id: str, *pairs: tuple[str, str], database: str = "gaussdb"
) -> dict[str, Any]:
    """What is said of (source, target) pairs; a target without a name goes to its default."""

    def names(which: int) -> list[dict[str, str]]:
        split = [pair[which].split(".", 1) if pair[which] else ("", "") for pair in pairs]
        return [{"schema_name": schema, "table_name": table} for schema, table in split]

    body = a_table_restore(database, case_sensitive=True)
    body |= {"restore_table_list": names(0), "target_table_list": names(1)}
    path = f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore-check"
    told: dict[str, Any] = ask(service, "CheckTableRestore", path, body)["check_table_name_result"]
    return told


def test_names_against_which_nothing_speaks_are_answered_by_nulls(service: Service, snapshot_id: str) -> None:
    told = checked(service, snapshot_id, ("public.orders", ""), ("mart.parted", "mart.again"))
    assert told == {"database": None, "restore_table_list": None, "target_table_list": None}


def test_what_the_snapshot_lacks_and_what_the_cluster_has_is_named(
    service: Service, snapshot_id: str
) -> None:
    told = checked(
        service,
        snapshot_id,
        ("public.orders", "mart.orders"),  # a table
        ("mart.parted", "mart.seen"),  # a view: no table can have its name
        ("public.Orders", "mart.orders_pkey"),  # an index
        ("mart.ghost", "public.Mixed"),
        ("mart.orders", "public.mixed"),
    )
    assert told["database"] is None
    assert told["restore_table_list"] == ["public.Orders", "mart.ghost", "mart.orders"]
    assert told["target_table_list"] == ["mart.orders", "mart.seen", "mart.orders_pkey", "public.Mixed"]


@pytest.mark.parametrize("database", ["gone", "ghost"])
def test_a_database_that_snapshot_or_cluster_has_not_is_named_and_nothing_else(
    service: Service, snapshot_id: str, database: str
) -> None:
    told = checked(service, snapshot_id, ("public.ghost", "mart.orders"), database=database)
    assert told == {"database": database, "restore_table_list": None, "target_table_list": None}


def test_a_check_is_answered_while_the_cluster_is_busy(
    service: Service, cluster: Cluster, snapshot_id: str
) -> None:
    path = f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore"
    assert service.client.request("POST", path, a_table_restore()).status == 200
    assert checked(service, snapshot_id, ("public.orders", ""))["restore_table_list"] is None
    end_operation(service, cluster.id)


Request = tuple[str, Any, dict[str, str]]


def a_request(service: Service, cluster: Cluster, snapshot_id: str, operation: str) -> Request:
    """Path, body and query."""
    requests: dict[str, Request] = {
        "CheckTableRestore": (
            f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore-check",
            a_table_restore(),
            {},
        ),
        "ValidateDbData": (
            f"/v1/{{p}}/clusters/{cluster.id}/gaussdb/validate",
            {"type": "schema", "data": ["public", "ghost"]},
            {},
        ),
        "ListSchemas": (f"/v2/{{p}}/clusters/{cluster.id}/databases/gaussdb/schemas", None, {}),
        "ListDatabaseObjects": (
            f"/v1/{{p}}/clusters/{cluster.id}/db-manager/objects",
            None,
            {"type": "SCHEMA", "database": "gaussdb"},
        ),
        "ListClusterConfigurationsParameter": (settings_path(service, cluster.id), None, {}),
    }
    return requests[operation]


@pytest.mark.parametrize("operation", sorted(NEEDS_SERVERS))
def test_an_answer_equals_its_example_in_shape_and_types(
    service: Service, cluster: Cluster, snapshot_id: str, operation: str
) -> None:
    path, body, query = a_request(service, cluster, snapshot_id, operation)
    assert shape(ask(service, operation, path, body, **query)) == shape(example(operation)["body"])


@pytest.mark.parametrize("operation", sorted(NEEDS_SERVERS))
def test_the_sdk_reads_it_whole(sdk: SdkTour, cluster: Cluster, snapshot_id: str, operation: str) -> None:
    path, body, query = a_request(sdk.service, cluster, snapshot_id, operation)
    method = {name: method for name, method, _ in routed()}[operation]
    answer = sdk.ask(operation, method, path, body, **query)
    assert answer is not None, sdk.read[operation]
    assert_read(sdk.read[operation], answer, operation)


def test_servers_that_do_not_answer_are_said_to_be_unavailable(service: Service, cluster: Cluster) -> None:
    lost = replace(
        cluster,
        id="6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4",
        name="lost",
        nodes=tuple(replace(node, id=f"lost-{node.name}", socket="/nowhere") for node in cluster.nodes),
    )
    with service.control.database.transaction() as transaction:
        clusters.insert_cluster(transaction, lost)
        clusters.save_nodes(transaction, lost.id, lost.nodes)
    path = f"/v1/{{p}}/clusters/{lost.id}/gaussdb/validate"
    assert refused(service, "POST", path, {"type": "schema", "data": []}) == (503, "DWS.0005")
