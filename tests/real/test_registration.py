"""Registrations through the real service: by a YAML file and by the API, checked up by the timer, changed, removed."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.api.client import SignedClient
from support.databases.writers import Bank, found_bank
from support.processes.service import COMMAND, PROJECT, Service, serving
from support.servers import warehouses
from support.servers.registered import PASSWORD, ROLE, let_in, registered
from support.servers.warehouses import rows
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long

SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = 'stillhouse' AND nspowner = 'backup'::regrole"


@pytest.fixture(scope="module")
def bank(site: Site) -> Iterator[Bank]:
    cluster = warehouses.build(site, 2)
    yield found_bank(cluster, warehouses.PASSWORD)
    embedded.destroy(site, cluster.id)


@pytest.fixture(scope="module")
def there(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return registered(bank.cluster, tmp_path_factory.mktemp("passwords"))


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    """Its timer checks registered clusters up again and again."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("STILLHOUSE_TIMER_SECONDS", "0.3")
        changed.setenv("STILLHOUSE_CHECK_UP_HOURS", "0.0003")
        with serving(data_root / "registrations") as running:
            yield running


@pytest.fixture(scope="module")
def registrar(service: Service) -> Iterator[SignedClient]:
    made = run("key", "create", "--data", str(service.data), "--project", PROJECT, "--policy",
               "DWS FullAccess", "--policy", "Stillhouse Registrar", "--json")  # fmt: skip
    with httpx.Client(timeout=60) as http:
        yield SignedClient(service.url, PROJECT, made["access_key"], made["secret_key"], http)


def run(*words: str, succeeds: bool = True, env: dict[str, str] | None = None) -> dict[str, Any]:
    answer = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    assert (answer.returncode == 0) is succeeds, answer.stdout + answer.stderr
    assert PASSWORD not in answer.stdout + answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout) if answer.stdout else {"told": answer.stderr}
    return found


def host(node: Node) -> str:
    return f"{node.host}:{node.port}"


def document(there: Cluster) -> dict[str, Any]:
    return {
        "engine": "fdw",
        "role": ROLE,
        "tls": "disable",
        "coordinator": {"hosts": [host(there.coordinator)]},
        "data_nodes": [{"hosts": [host(node)]} for node in there.data_nodes],
    }


def file_of(there: Cluster) -> str:
    assert there.coordinator.connection is not None
    return there.coordinator.connection.password_file


@pytest.fixture
def on_data(service: Service) -> list[str]:
    return ["--data", str(service.data), "--project", PROJECT]


def removed(service: Service, cluster_id: str) -> None:
    service.until(
        "the cluster to be gone",
        lambda: service.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").status == 404,
    )


def test_a_coordinator_is_registered_by_a_yaml_file_snapshot_restored_and_removed(
    service: Service, there: Cluster, bank: Bank, on_data: list[str], tmp_path: Path
) -> None:
    access = ["--host", host(there.coordinator), "--role", ROLE, "--tls", "disable", "--password-file"]
    access += [file_of(there), "--engine", "fdw"]
    told = run("cluster", "add", "orders", *on_data, *access, "--json", succeeds=False)["told"]
    assert all(f"--data-node {host(node)}" in told for node in there.data_nodes), "they are proposed"
    proposed = subprocess.run(
        [*COMMAND, "cluster", "propose", "orders", *access], capture_output=True, check=True
    )
    registration = tmp_path / "orders.yaml"
    registration.write_bytes(proposed.stdout)
    cluster = run("cluster", "add", "--file", str(registration), *on_data, "--json")["id"]
    shown = service.cluster(cluster)
    assert (shown["status"], shown["number_of_node"]) == ("AVAILABLE", 2)

    snapshot = service.request_snapshot(cluster, "first")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    clone = service.restore(snapshot, "orders-restored")
    assert service.settled(clone)["status"] == "AVAILABLE"
    address, port = service.cluster(clone)["endpoints"][0]["connect_info"].split(":")
    restored = embedded.planned_nodes(embedded.open_site(service.data), clone)[0]
    assert (address, int(port)) == (restored.host, restored.port)
    with closing(warehouses.log_in(restored, database="gaussdb")) as connection:
        assert connection.execute("SELECT sum(balance) FROM accounts").fetchall() == [(bank.total,)]
    service.delete_cluster(clone)

    before = [server.process_id(node) for node in bank.cluster.nodes]
    assert all(rows(node, SCHEMA) for node in bank.cluster.nodes)
    run("cluster", "remove", "orders", *on_data, "--yes", "--keep-snapshots", "1", "--json")
    removed(service, cluster)
    assert [rows(node, SCHEMA) for node in bank.cluster.nodes] == [[], [], []]
    assert [server.process_id(node) for node in bank.cluster.nodes] == before
    assert service.snapshot(snapshot)["status"] == "AVAILABLE", "it is kept"


def test_only_a_registrar_registers_by_the_api_and_no_password_is_told(
    service: Service, registrar: SignedClient, there: Cluster
) -> None:
    path = "/stillhouse/v1/{p}/registered-clusters"
    wanted = {"cluster": {**document(there), "name": "by-api", "password": PASSWORD}}
    assert service.call("POST", path, wanted).status == 403
    with_file = {"cluster": {**document(there), "name": "by-api", "password_file": "/etc/shadow"}}
    assert registrar.request("POST", path, with_file).status == 400
    checked = registrar.request("POST", f"{path}/check", wanted)
    assert [one for one in checked.json["findings"] if one["weight"] == "must"] == []
    wrong = registrar.request("POST", path, {"cluster": {**wanted["cluster"], "password": "Wrong-Pass-1"}})
    assert wrong.status == 403
    assert "password authentication failed" in wrong.json["error_msg"]

    made = registrar.request("POST", path, wanted)
    assert made.status == 201, made.raw
    cluster = made.json["cluster"]["id"]
    answers = [made.raw, checked.raw, wrong.raw, service.call("GET", f"/v1.0/{{p}}/clusters/{cluster}").raw]
    audit = subprocess.run(
        [*COMMAND, "audit", "list", "--data", str(service.data), "--json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    outcomes = [one["outcome"] for one in json.loads(audit)["records"] if one["action"] == "RegisterCluster"]
    assert "accepted" in outcomes and len(outcomes) >= 2
    for text in (*map(str, answers), audit, service.log.read_text()):
        assert PASSWORD not in text and "Wrong-Pass-1" not in text
    answer = registrar.request("POST", f"/stillhouse/v1/{{p}}/clusters/{cluster}/remove", {})
    assert answer.status == 202, answer.raw
    removed(service, cluster)


def test_the_timer_checks_up_and_cluster_show_tells(
    service: Service, there: Cluster, bank: Bank, on_data: list[str], tmp_path: Path
) -> None:
    registration = tmp_path / "watched.yaml"
    registration.write_text(
        yaml.safe_dump({**document(there), "name": "watched", "password_file": file_of(there)})
    )
    cluster = run("cluster", "add", "--file", str(registration), *on_data, "--json")["id"]
    client = service.client()
    key = {"CLOUD_SDK_AK": client.access_key, "CLOUD_SDK_SK": client.secret_key}
    key |= {"STILLHOUSE_ENDPOINT": service.url, "STILLHOUSE_PROJECT": PROJECT}

    def musts() -> list[str]:
        found = run("cluster", "show", "watched", "--json", env=key)["check_up"]["findings"]
        return [one["message"] for one in found if one["weight"] == "must"]

    assert musts() == []
    with superuser(bank.cluster.data_nodes[0]) as connection:
        tell(connection, f"ALTER ROLE {ROLE} NOREPLICATION")
        try:
            service.until("the timer to find it", lambda: any("REPLICATION" in one for one in musts()))
        finally:
            tell(connection, f"ALTER ROLE {ROLE} REPLICATION")
    service.until("the timer to find it mended", lambda: not musts())
    asked = run("cluster", "remove", "watched", *on_data, "--json", succeeds=False)["told"]
    assert "nobody is at the terminal" in asked
    run("cluster", "remove", "watched", *on_data, "--yes", "--json")
    removed(service, cluster)


def test_a_dead_node_is_told_by_name_and_forgotten_only_when_that_is_wanted(
    service: Service, there: Cluster, bank: Bank, on_data: list[str], site: Site, tmp_path: Path
) -> None:
    registration = tmp_path / "dying.yaml"
    registration.write_text(
        yaml.safe_dump({**document(there), "name": "dying", "password_file": file_of(there)})
    )
    cluster = run("cluster", "add", "--file", str(registration), *on_data, "--json")["id"]
    dead = bank.cluster.data_nodes[1]
    server.stop(site.binaries, dead)
    try:
        told = run("cluster", "remove", "dying", *on_data, "--yes", "--json", succeeds=False)["told"]
        assert "node dn2 does not answer" in told and "DROP SCHEMA IF EXISTS stillhouse CASCADE" in told
        assert service.cluster(cluster)["status"] == "AVAILABLE"
        run("cluster", "remove", "dying", *on_data, "--yes", "--dead-nodes", "--json")
        removed(service, cluster)
        audit = run("audit", "list", "--data", str(service.data), "--json")["records"]
        assert any(one["outcome"] == "left" and "dn2" in one["detail"] for one in audit)
    finally:
        server.start(site.binaries, dead)
        let_in(dead)
    with superuser(dead) as connection:
        tell(connection, "DROP SCHEMA IF EXISTS stillhouse CASCADE")


def test_connections_change_but_the_servers_must_be_the_same(
    service: Service, registrar: SignedClient, there: Cluster, bank: Bank, on_data: list[str]
) -> None:
    path = "/stillhouse/v1/{p}/registered-clusters"
    wanted = {"cluster": {**document(there), "name": "changing", "password": PASSWORD}}
    cluster = registrar.request("POST", path, wanted).json["cluster"]["id"]
    for node in bank.cluster.nodes:
        with superuser(node) as connection:
            tell(connection, f"ALTER ROLE {ROLE} PASSWORD 'Another-1'")
    try:
        report = registrar.request("POST", f"/stillhouse/v1/{{p}}/clusters/{cluster}/check-up").json
        first = report["findings"][0]
        assert (
            "password authentication failed" in first["message"] and "password was changed" in first["mend"]
        )
        change = f"/stillhouse/v1/{{p}}/clusters/{cluster}/connections"
        new = {**document(there), "password": "Another-1"}
        swapped = {**new, "data_nodes": [*reversed(new["data_nodes"])]}
        refused = registrar.request("PUT", change, {"cluster": swapped})
        assert refused.status == 403 and "another server answers" in refused.json["error_msg"]
        assert registrar.request("PUT", change, {"cluster": new}).status == 200
        snapshot = service.request_snapshot(cluster, "afterwards")
        assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    finally:
        for node in bank.cluster.nodes:
            with superuser(node) as connection:
                tell(connection, f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")
    run("cluster", "remove", "changing", *on_data, "--yes", "--dead-nodes", "--json")
    removed(service, cluster)
