"""Every alarm rings for its real cause: a real service, a real Prometheus over our rules, and something goes wrong.

Days pass by moving times in the catalog back. `for` is left out of the rules; of their own figures only two are
shorter: when a flow is stalled, and the time in which errors are counted.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from support.documents import metrics_table
from support.processes.alarms import earlier, is_silent, move_back, reverted, rings, why_not_ready
from support.processes.service import Service, fill, postmaster, serving
from support.servers.prometheus import Prometheus, metrics_named, needs_prometheus, queries, rules, scraping

pytestmark = [
    pytest.mark.long,
    needs_prometheus,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which takes root"),
    pytest.mark.timeout(300, func_only=True),
]

_SMALL_DISK_MB = 640


@pytest.fixture(scope="module")
def disk(data_root: Path) -> Iterator[Path]:
    """A disk for the repository alone, with room enough, but only just."""
    place = data_root / "small-disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_DISK_MB}m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)
    place.rmdir()


@pytest.fixture(scope="module")
def service(data_root: Path, disk: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_TIMER_SECONDS", "0.2")
        patch.setenv("STILLHOUSE_REPOSITORY", str(disk / "repository"))
        patch.setenv("STILLHOUSE_SCRUB_RATE_BYTES", str(100 << 20))
        with serving(data_root / "alarms") as running:
            yield running


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    place = tmp_path_factory.mktemp("prometheus") / "server"
    shorter = {
        "stillhouse_flow_quiet_seconds > 900": "stillhouse_flow_quiet_seconds > 5",
        "[10m]": "[30s]",  # of the share of errors among all requests
    }
    with scraping(place, f"127.0.0.1:{service.port}", shorter) as running:
        yield running


@pytest.fixture(scope="module")
def orders(service: Service) -> str:
    """A cluster that is well, with a snapshot."""
    cluster = make_cluster(service, "orders", 2)
    take(service, cluster)
    return cluster


@pytest.fixture(scope="module")
def hurt(service: Service, disk: Path) -> str:
    """A cluster with one snapshot, whose largest pack is damaged."""
    cluster = make_cluster(service, "hurt", 1)
    take(service, cluster)
    of_cluster = disk / "repository" / "c" / cluster
    largest = max(
        (of_cluster / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    broken = bytearray(largest.read_bytes())
    broken[len(broken) // 2] ^= 0xFF
    largest.chmod(0o600)
    largest.write_bytes(broken)
    return cluster


def make_cluster(service: Service, name: str, nodes: int) -> str:
    cluster = service.create_cluster(name, nodes)
    with service.log_in(cluster) as connection:
        connection.execute(
            "CREATE TABLE kept AS SELECT g AS id, md5(g::text) FROM generate_series(1, 20000) g"
        )
    return cluster


def take(service: Service, cluster: str) -> str:
    snapshot = service.request_snapshot(cluster, f"s-{secrets.token_hex(4)}")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    return snapshot


def test_a_service_that_is_well_rings_nothing_and_tells_every_metric_of_rules_and_panels(
    service: Service, prometheus: Prometheus, orders: str
) -> None:
    told = service.until(
        "a look at its parts",
        lambda: (
            "stillhouse_check_ok{" in (text := httpx.get(f"{service.url}/metrics", timeout=60).text) and text
        ),
    )
    families = {line.split()[2] for line in told.splitlines() if line.startswith("# TYPE")}
    assert families == {one.name for one in metrics_table.described()}
    for query in [*(rule.expr for rule in rules()), *queries()]:
        assert metrics_named(query) <= families, query
    scraped = 'count(stillhouse_snapshot_last_good_timestamp_seconds{name="orders"})'
    service.until("a scrape", lambda: prometheus.get("/api/v1/query", query=scraped)["result"])
    time.sleep(5)  # each rule has been looked at by then, more than once
    assert prometheus.firing() == {}


def test_a_stopped_node(service: Service, prometheus: Prometheus, orders: str) -> None:
    node = service.nodes(orders)[-1]
    os.kill(postmaster(node), signal.SIGQUIT)
    rings(
        service,
        prometheus,
        "StillhouseNodeDown",
        node.name,
        "orders",
        orders,
        "cluster restart",
        name="orders",
    )
    for number in range(3):
        snapshot = service.request_snapshot(orders, f"in-vain-{number}")
        assert service.ended(snapshot) == "UNAVAILABLE"
    failing = rings(
        service, prometheus, "StillhouseSnapshotsFailing", "operations orders --failed", name="orders"
    )
    assert failing["labels"]["code"] == "node.unreachable"
    rising = rings(
        service, prometheus, "StillhouseFailuresRising", "snapshot", "node.unreachable", name="orders"
    )
    assert rising["labels"]["work"] == "snapshot"
    service.restart_cluster(orders)
    is_silent(service, prometheus, "StillhouseNodeDown")
    take(service, orders)
    is_silent(service, prometheus, "StillhouseSnapshotsFailing")


def test_a_stalled_flow(service: Service, prometheus: Prometheus, orders: str) -> None:
    """A transaction that writes keeps the cut away."""
    fill(service, orders, 1000)
    with service.log_in(orders) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-9, 0, 'not yet')")
        snapshot = service.request_snapshot(orders, "stalled")
        found = rings(
            service, prometheus, "StillhouseFlowStalled", "orders", "cut", "snapshot cancel", name="orders"
        )
        assert found["labels"]["flow"] in ("create_snapshot", "capture_node")
        writer.execute("ROLLBACK")
    assert service.ended(snapshot) == "AVAILABLE"
    is_silent(service, prometheus, "StillhouseFlowStalled")


def test_a_missed_run_of_a_policy(service: Service, prometheus: Prometheus) -> None:
    """The cluster is stopped when the run falls due, and for an hour after."""
    cluster = make_cluster(service, "idle", 1)
    assert service.call("POST", f"/v1/{{p}}/clusters/{cluster}/stop").status in (200, 202)
    service.until("it to be stopped", lambda: _is_stopped(service, cluster))
    moment = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    once = {"policy_name": "once", "backup_strategy": f"{moment:%Y-%m-%dT%H:%M:%S}", "backup_type": "full"}
    path = f"/v2/{{p}}/clusters/{cluster}/snapshot-policies"
    assert service.call("PUT", path, {"backup_strategies": [once]}).status == 200
    service.until(
        "the run to wait", lambda: service.rows("SELECT 1 FROM sh_policy_runs WHERE outcome = 'waiting'")
    )
    move_back(service, f"UPDATE sh_policy_runs SET {earlier('seen', 2)}")
    rings(
        service, prometheus, "StillhousePolicyRunMissed", "idle", "stopped or busy", "audit list", name="idle"
    )
    audit = service.rows("SELECT detail FROM sh_audit WHERE outcome = 'skipped' ORDER BY id DESC LIMIT 1")
    assert "the cluster is stopped" in audit[0][0]


def _is_stopped(service: Service, cluster: str) -> bool:
    return service.rows("SELECT stopped FROM sh_clusters WHERE id = ?", cluster) == [(1,)]


def test_a_snapshot_that_is_too_old(service: Service, prometheus: Prometheus, orders: str) -> None:
    move_back(service, f"UPDATE sh_snapshots SET {earlier('started', 27)}, {earlier('finished', 27)}")
    rings(service, prometheus, "StillhouseSnapshotTooOld", "1d 3h", "orders", "snapshot list", name="orders")
    take(service, orders)
    is_silent(service, prometheus, "StillhouseSnapshotTooOld", "orders")


def test_a_damaged_pack(service: Service, prometheus: Prometheus, hurt: str) -> None:
    """Found by a proof, which the schedule asks for; the snapshot is refuted, and no good one is proved in time."""
    path = f"/stillhouse/v1/{{p}}/clusters/{hurt}/proofs"
    assert service.call("PUT", path, {"every_days": 1, "newest_only": True}).status in (200, 202, 204)
    refuted = rings(
        service, prometheus, "StillhouseProofRefuted", "hurt", "bad data", "snapshot proof", name="hurt"
    )
    assert refuted["labels"]["severity"] == "critical"
    rings(service, prometheus, "StillhouseDamage", "1 objects", "hurt", "repo check", name="hurt")
    move_back(service, f"UPDATE sh_proof_schedules SET {earlier('updated', 72)}")
    rings(service, prometheus, "StillhouseProofTooOld", "hurt", "cluster proofs hurt", name="hurt")


def test_a_repository_that_is_not_collected(
    service: Service, prometheus: Prometheus, hurt: str, disk: Path
) -> None:
    """A root that cannot be read ends every collection, so that garbage and deleted snapshots stay."""
    (snapshot,) = service.rows("SELECT id FROM sh_snapshots WHERE cluster_id = ?", hurt)
    collected = (
        "SELECT 1 FROM sh_operations WHERE kind = 'COLLECTING' AND outcome = 'done' AND cluster_id = ?"
    )
    service.until("a first collection", lambda: service.rows(collected, hurt))
    (disk / "repository" / "c" / hurt / "roots" / "11111111-2222-4333-8444-555555555555").write_bytes(
        b"nonsense"
    )
    assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot[0]}").status == 202
    move_back(
        service,
        f"UPDATE sh_snapshots SET {earlier('deleted', 240)} WHERE deleted IS NOT NULL",
        f"UPDATE sh_operations SET {earlier('ended', 72)}, {earlier('started', 72)} WHERE kind = 'COLLECTING'",
    )
    rings(service, prometheus, "StillhouseCollectionOverdue", "hurt", "cluster collect hurt", name="hurt")
    rings(service, prometheus, "StillhouseTrashOverdue", "hurt", "snapshot trash", name="hurt")
    failed = "SELECT failed_code FROM sh_operations WHERE kind = 'COLLECTING' AND outcome = 'failed'"
    service.until("a collection to fail", lambda: service.rows(failed))


def test_a_lost_key(service: Service, prometheus: Prometheus) -> None:
    key, away = service.data / "kek", service.data / "kek-away"
    with reverted(lambda: key.rename(away), lambda: away.rename(key)):
        rings(service, prometheus, "StillhouseKeyLost", "key-encryption key", "do not stop it", "/readyz")
        assert str(key) in why_not_ready(service, "key")
    is_silent(service, prometheus, "StillhouseKeyLost")


def test_a_disk_that_fills(service: Service, prometheus: Prometheus, disk: Path) -> None:
    ballast = disk / "ballast"
    with reverted(lambda: ballast.write_bytes(bytes(160 << 20)), ballast.unlink):
        rings(service, prometheus, "StillhouseDiskFull", "512 MiB", "df -h", "snapshot trash")
        assert str(disk) in why_not_ready(service, "disk")
        with ballast.open("ab") as file:
            while (free := shutil.disk_usage(disk).free) > _SMALL_DISK_MB * (1 << 20) // 20:
                file.write(bytes(free // 2))
                file.flush()
        rings(service, prometheus, "StillhouseDiskFilling", "repository", "free", "policy preview")
    is_silent(service, prometheus, "StillhouseDiskFull")


def test_a_store_that_is_away(service: Service, prometheus: Prometheus, disk: Path, orders: str) -> None:
    """A proof that cannot read the snapshot fails, and says nothing against it."""
    store, away = disk / "repository", disk / "away"
    snapshot = take(service, orders)
    draft = f"/stillhouse/v1/{{p}}/clusters/{orders}/collect"

    def bring_back() -> None:
        shutil.rmtree(store, ignore_errors=True)  # something may have made its directory anew
        away.rename(store)

    with reverted(lambda: store.rename(away), bring_back):
        assert service.call("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/prove").status == 202
        rings(service, prometheus, "StillhouseStoreUnreachable", "does not answer", "unmounted", "/readyz")
        assert not {"StillhouseKeyLost", "StillhouseDiskFull"} & prometheus.firing().keys(), "they are well"
        while "StillhouseServerErrors" not in prometheus.firing():
            assert service.call("POST", draft, {"dry_run": True}).status == 503
        rings(service, prometheus, "StillhouseServerErrors", "5xx", "fault")
        rings(
            service, prometheus, "StillhouseProofFailed", "nothing is known", "snapshot proof", name="orders"
        )
    is_silent(service, prometheus, "StillhouseStoreUnreachable")


def test_a_service_that_is_down(service: Service, prometheus: Prometheus) -> None:
    service.kill()
    rings(service, prometheus, "StillhouseDown", f"127.0.0.1:{service.port}", "no snapshot is taken")
    service.start()
    is_silent(service, prometheus, "StillhouseDown")
