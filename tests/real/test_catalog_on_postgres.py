"""A whole service with its catalog on PostgreSQL: it moves there with work under way, works there, and moves back."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.processes.service import COMMAND, Service, fill, serving
from support.servers.catalog_server import fresh_postgres_database

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("catalog on postgres"), pytest.mark.timeout(900)]

ROWS = 20_000


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_TIMER_SECONDS", "0.5")
        patch.setenv("STILLHOUSE_STOP_CLUSTERS", "false")
        patch.setenv("STILLHOUSE_CATALOG_CONNECTIONS", "12")  # the server has 100 for all tests
        with serving(data_root / "catalog-on-postgres") as running:
            yield running


@pytest.fixture(scope="module")
def server() -> str:
    return fresh_postgres_database()


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("moved", 2)
    fill(service, cluster_id, ROWS)
    return cluster_id


def move(service: Service, to: str) -> None:
    done = subprocess.run(
        [*COMMAND, "catalog", "move", "--data", str(service.data), "--to", to],
        env=service.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    service.catalog = "" if to == "sqlite" else to


def prove(service: Service, snapshot: str) -> None:
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}"
    assert service.call("POST", f"{path}/prove").status == 202

    def ended() -> dict[str, Any] | None:
        told: dict[str, Any] = service.call("GET", f"{path}/proof").json["proof"]
        return told if told["state"] != "RUNNING" else None

    assert service.until("the proof", ended)["state"] == "PROVED"


def restored(service: Service, snapshot: str, name: str) -> None:
    clone = service.restore(snapshot, name)
    assert service.settled(clone)["status"] == "AVAILABLE"
    with service.log_in(clone) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (ROWS,)
    service.delete_cluster(clone)


def test_it_moves_with_a_snapshot_under_way_works_there_and_moves_back(
    service: Service, cluster: str, server: str
) -> None:
    with service.log_in(cluster) as writer:
        # An open write keeps the cut away, so the snapshot is under way when the service ends.
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-9, 0, 'not yet')")
        under_way = service.request_snapshot(cluster, "under-way")
        service.until("node work", lambda: service.is_copied(under_way))
        assert "stop it first" in refused_move(service, server)
        service.stop()
        move(service, server)
        assert "the catalog of this installation is postgresql:" in refused_start(service)
        writer.execute("ROLLBACK")
    service.start()
    assert service.ended(under_way) == "AVAILABLE", service.reason(under_way)
    second = service.request_snapshot(cluster, "second")
    assert service.ended(second) == "AVAILABLE", service.reason(second)
    restored(service, under_way, "from-before")
    prove(service, second)
    assert service.stop() == 0
    move(service, "sqlite")
    service.start()
    third = service.request_snapshot(cluster, "third")
    assert service.ended(third) == "AVAILABLE", service.reason(third)
    restored(service, second, "from-there")
    service.stop()
    move(service, server)
    service.start()


def test_a_second_service_is_refused_and_takes_over_after_kill_9(service: Service, cluster: str) -> None:
    assert f"pid {service.pid}" in refused_start(service, service.catalog, another=True)
    snapshot = service.request_snapshot(cluster, "killed")
    service.until("node work", lambda: service.is_copied(snapshot))
    service.kill()
    service.start()
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)


def test_a_catalog_s_server_that_ends_all_sessions_costs_no_snapshot(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "outage")
    service.until("node work", lambda: service.is_copied(snapshot))
    service.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    service.until("the hold to be back", lambda: "is back" in service.log.read_text())
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    assert service.is_alive


def test_a_standby_on_another_host_takes_the_place_of_one_that_is_lost(
    service: Service, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the catalog, the repository and a copy of the KEK, and has no file of the clusters' servers."""
    snapshot = service.request_snapshot(cluster, "before-the-loss")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    key = service.client()
    monkeypatch.setenv("STILLHOUSE_REPOSITORY", str(service.data / "repository"))
    there = Service(service.data.with_name("new-host"))
    there.data.mkdir(mode=0o755)
    there.catalog = service.catalog
    assert "begin with a copy of the KEK" in refused(
        service, "key", "list", "--data", str(there.data), catalog=there.catalog
    )
    (there.data / "kek").write_bytes((service.data / "kek").read_bytes())
    try:
        there.launch(
            [*COMMAND, "serve", "--standby", "--data", str(there.data), "--listen", f"127.0.0.1:{there.port}"]
        )
        there.until("the standby to wait", lambda: f"pid {service.pid}" in there.log.read_text())
        service.kill()
        there.until("the standby to serve", there.is_ready)
        there.use_key(key)
        shown = there.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster}").json["cluster"]
        assert "this host has no files of the cluster's servers" in json.dumps(shown)
        restored(there, snapshot, "on-the-new-host")
    finally:
        there.remove()
        shutil.rmtree(there.data)


def refused_move(service: Service, to: str) -> str:
    return refused(service, "catalog", "move", "--data", str(service.data), "--to", to)


def refused_start(service: Service, catalog: str = "", another: bool = False) -> str:
    """Start a service that must be refused; `another` has a copy of the directory, on another host as it were."""
    data = service.data
    if another:
        data = service.data.with_name("another")
        data.mkdir()
        for name in ("installation", "secrets.key", "kek", "repository.id"):
            (data / name).write_bytes((service.data / name).read_bytes())
            (data / name).chmod(0o600)
    flags = ["--catalog", catalog] if catalog else []
    return refused(service, "serve", "--data", str(data), "--listen", "127.0.0.1:0", *flags)


def refused(service: Service, *words: str, catalog: str = "") -> str:
    environment = {k: v for k, v in os.environ.items() if k != "STILLHOUSE_CATALOG"}
    environment |= {"STILLHOUSE_CATALOG": catalog} if catalog else {}
    done = subprocess.run(
        [*COMMAND, *words], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1, done.stdout
    return done.stderr
