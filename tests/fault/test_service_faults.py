"""Around the service a node, a worker or the repository fails, or a person calls off: it tells the truth."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster import embedded
from support.processes.reader import ROOT
from support.processes.service import Service, fill, serving
from support.servers.warehouses import rows
from support.snapshots.cuts import superuser, tell
from support.terminal.typed import interrupted, typed

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("service faults")]

ROWS = 60_000
MOMENTS: dict[str, Callable[[Service, str], object]] = {
    "accepted": lambda service, snapshot: True,
    "copying": Service.is_copied,
}


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "faults") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("faulty", 2)
    fill(service, cluster_id, ROWS)
    return cluster_id


@pytest.fixture(scope="module")
def usable(service: Service, cluster: str) -> str:
    """A snapshot to restore from."""
    snapshot = service.request_snapshot(cluster, "usable")
    assert service.ended(snapshot) == "AVAILABLE"
    return snapshot


def test_a_restore_that_cannot_be_leaves_nothing(service: Service, usable: str) -> None:
    root = next((service.data / "repository").glob(f"c/*/roots/{usable}"))
    away = root.with_name(f"{usable}-away")
    root.rename(away)
    try:
        clone = service.restore(usable, "impossible")
        failed = service.settled(clone)
    finally:
        away.rename(root)
    assert failed["status"] == "CREATE_FAILED"
    assert failed["failed_reasons"]["error_code"] == "DWS.6003"
    assert usable in failed["failed_reasons"]["error_msg"]
    assert not (service.data / "clusters" / clone).exists()
    service.delete_cluster(clone)


def test_a_snapshots_bytes_are_measured_after_it_was_taken(service: Service, usable: str) -> None:
    def measured() -> dict[str, Any] | None:
        told: dict[str, Any] = service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{usable}").json[
            "snapshot"
        ]
        return told if told["own_bytes"] is not None else None

    told = service.until("its bytes", measured)
    assert 0 < told["own_bytes"] <= told["stored_bytes"]
    assert told["kept_because"] == "it is a manual one and stays until it is deleted"


def test_a_killed_worker_costs_one_attempt(service: Service, cluster: str) -> None:
    with service.log_in(cluster) as writer:
        # An open write keeps the cut away: however slow the machine is, no worker is done before it is killed.
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-9, 0, 'not yet')")
        snapshot = service.request_snapshot(cluster, "worker-killed")
        service.until("node work", lambda: service.is_copied(snapshot) and service.workers())
        os.kill(service.workers()[0], signal.SIGKILL)
        service.until("the second attempt", lambda: service.attempts(snapshot) == 2)
        writer.execute("ROLLBACK")
    assert service.ended(snapshot) == "AVAILABLE"
    assert service.attempts(snapshot) == 2
    service.await_clean(cluster)


@pytest.mark.parametrize("moment", MOMENTS)
def test_cancel_leaves_the_warehouse_clean(service: Service, cluster: str, moment: str) -> None:
    snapshot = service.request_snapshot(cluster, "cancelled")
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/cancel"
    service.until(moment, lambda: MOMENTS[moment](service, snapshot))
    assert service.call("POST", path).status == 202
    assert service.ended(snapshot) == "UNAVAILABLE"
    assert "cancelled" in service.reason(snapshot)
    service.await_clean(cluster)
    again = service.call("POST", path)
    assert (again.status, again.error_code) == (403, "DWS.7023")
    next_one = service.request_snapshot(cluster, "after-cancel")
    assert service.ended(next_one) == "AVAILABLE"
    for one in (snapshot, next_one):
        assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{one}").status == 202


def test_ctrl_c_ends_the_waiting_alone_and_the_commands_that_it_tells_look_and_cancel(
    service: Service, cluster: str
) -> None:
    create = ("snapshot", "create", "left", "--cluster", cluster, "--wait")
    with service.log_in(cluster) as writer:
        writer.execute("BEGIN")  # an open write keeps the cut away, and so the end
        writer.execute("INSERT INTO accounts VALUES (-10, 0, 'not yet')")
        code, told = interrupted(service, *create, shows="taking the snapshot")
        assert code == 130 and "taking the snapshot goes on in the service" in told
        look, cancel = re.findall("`stillhouse ([^`]*)`", told)
        page = (ROOT / "docs" / "first-day.md").read_text()
        assert told.splitlines()[-1].replace(look.split()[-1], "ID") in page.splitlines()
        assert "CREATING" in typed(service, *look.split())[1]
        assert typed(service, *cancel.split())[0] == 0
        assert service.ended(look.split()[-1]) == "UNAVAILABLE"
        writer.execute("ROLLBACK")
    shown = dict(line.split(maxsplit=1) for line in typed(service, *look.split())[1].splitlines())
    assert shown["state"] == "CANCELLED" and "cancelled" in shown["failure"]
    service.await_clean(cluster)


def test_10_what_cannot_succeed_is_not_tried_again(service: Service, cluster: str) -> None:
    node = service.nodes(cluster)[1]
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET max_slot_wal_keep_size = 0")
        tell(connection, "SELECT pg_reload_conf()")
    try:
        snapshot = service.request_snapshot(cluster, "in-vain")
        assert service.ended(snapshot) == "UNAVAILABLE"
    finally:
        with superuser(node) as connection:
            tell(connection, "ALTER SYSTEM RESET max_slot_wal_keep_size")
            tell(connection, "SELECT pg_reload_conf()")
    assert service.attempts(snapshot) == 1
    assert f"node {node.name}: its max_slot_wal_keep_size is 0" in service.reason(snapshot)
    assert "set max_slot_wal_keep_size = -1" in service.reason(snapshot)


def test_an_unreachable_node_is_named(service: Service, cluster: str) -> None:
    node = service.nodes(cluster)[2]
    server.stop(embedded.open_site(service.data).binaries, node)
    service.until("the node to be missed", lambda: _condition(service, cluster)["state"] == "DEGRADED")
    condition = _condition(service, cluster)
    assert [one["state"] for one in condition["node_states"]] == ["UP", "UP", "DOWN"]
    assert condition["node_states"][2]["reason"]
    assert service.cluster(cluster)["sub_status"] == "DEGRADED"
    shown, listed = (typed(service, "cluster", *words)[1] for words in (("show", cluster), ("list",)))
    assert re.search("^state +DEGRADED$", shown, re.MULTILINE) and " DEGRADED " in listed
    assert f"{node.name} DOWN: connection to server " in shown
    snapshot = service.request_snapshot(cluster, "node-away")
    assert service.ended(snapshot) == "UNAVAILABLE"
    assert not service.traces_on(service.nodes(cluster)[:2])
    assert node.name in service.reason(snapshot)
    failed = service.cluster(cluster)["failed_reasons"]
    assert failed["error_code"] == "DWS.9999"
    assert node.name in failed["error_msg"]
    audit = service.rows("SELECT detail FROM sh_audit WHERE outcome = 'failed' ORDER BY id DESC LIMIT 1")
    assert node.name in audit[0][0]
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    assert any(line["event"] == "snapshot failed" and node.name in line["reason"] for line in lines)

    service.restart_cluster(cluster)
    assert _condition(service, cluster)["state"] == "AVAILABLE"
    assert service.ended(service.request_snapshot(cluster, "node-back")) == "AVAILABLE"
    assert service.cluster(cluster)["failed_reasons"] is None
    told = service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}").json["snapshot"]
    assert told["state"] == "FAILED"
    assert node.name in told["failure"]["reason"] and told["failure"]["hint"]
    service.await_clean(cluster)


def _condition(service: Service, cluster: str) -> dict[str, Any]:
    found: dict[str, Any] = service.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster}").json["cluster"]
    return found


def test_a_node_that_dies_in_backup_mode_keeps_no_slot(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "node-died")
    node = service.nodes(cluster)[1]
    service.until("a slot", lambda: _slots(node))
    server.stop(embedded.open_site(service.data).binaries, node, "immediate")
    assert service.ended(snapshot) == "UNAVAILABLE"
    assert node.name in service.reason(snapshot)
    service.restart_cluster(cluster)
    service.await_clean(cluster)


def test_a_node_that_restarts_in_the_middle_costs_attempts(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "node-restarted")
    node = service.nodes(cluster)[1]
    service.until("a slot", lambda: _slots(node))
    binaries = embedded.open_site(service.data).binaries
    server.stop(binaries, node, "immediate")
    # The second attempt, too, comes too early; before the third, a server has time to recover.
    failed = "SELECT 1 FROM sh_captures WHERE snapshot_id = ? AND attempt = 2 AND state = 'failed'"
    service.until("the end of the second attempt", lambda: service.rows(failed, snapshot))
    server.start(binaries, node)
    assert service.ended(snapshot) == "AVAILABLE"
    assert service.attempts(snapshot) > 1
    service.await_clean(cluster)


def _slots(node: Node) -> list[tuple[object, ...]]:
    return rows(node, "SELECT slot_name FROM pg_replication_slots")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_repository_that_goes_away_fails_the_snapshot(service: Service, cluster: str, moment: str) -> None:
    repository, away = service.data / "repository", service.data / "away"
    snapshot = ""
    if moment == "copying":
        snapshot = service.request_snapshot(cluster, f"no-repository-{moment}")
        service.until(moment, lambda: MOMENTS[moment](service, snapshot))
    repository.rename(away)
    try:
        snapshot = snapshot or service.request_snapshot(cluster, f"no-repository-{moment}")
        assert service.ended(snapshot) == "UNAVAILABLE"
        service.await_clean(cluster)
    finally:
        if repository.exists():
            shutil.rmtree(repository)
        away.rename(repository)
    assert "repository" in service.reason(snapshot)
    assert service.ended(service.request_snapshot(cluster, f"repository-back-{moment}")) == "AVAILABLE"


def test_the_pause_of_a_cut_is_told_before_it(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "foretold")
    assert service.ended(snapshot) == "AVAILABLE"
    shown = service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/progress").json
    assert shown["expected_pause_seconds"] > 0
    gauge = f'stillhouse_cut_expected_pause_seconds{{cluster="{cluster}",'
    assert gauge in httpx.get(f"{service.url}/metrics", timeout=60).text
    said = [
        line for line in service.log.read_text().splitlines() if snapshot in line and "cut foreseen" in line
    ]
    told = json.loads(said[0])
    assert told["locks"] >= 3 * told["tables"] > 0


def test_a_cluster_that_can_have_no_cut_is_refused_before_anything_is_copied(
    service: Service, cluster: str
) -> None:
    with superuser(service.nodes(cluster)[0]) as admin:
        tell(admin, "ALTER DATABASE gaussdb SET deadlock_timeout = '1ms'")
        try:
            snapshot = service.request_snapshot(cluster, "too-slow")
            assert service.ended(snapshot) == "UNAVAILABLE"
        finally:
            tell(admin, "ALTER DATABASE gaussdb RESET deadlock_timeout")
    assert "may take 0.0005 s: half of deadlock_timeout" in service.reason(snapshot)
    assert service.attempts(snapshot) == 0
