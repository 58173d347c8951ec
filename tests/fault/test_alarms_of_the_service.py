"""Alarms for the service itself, each by its real cause: a catalog that is locked, or damaged, and too few descriptors.

As in `test_alarms.py`, `for` is left out of the rules. The timer counts as stalled, and a policy as overdue, after five
seconds in place of 900.
"""

import resource
import secrets
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from support.processes.alarms import earlier, is_silent, rings, why_not_ready
from support.processes.service import Service, serving
from support.servers.prometheus import Prometheus, needs_prometheus, scraping

pytestmark = [pytest.mark.long, needs_prometheus, pytest.mark.timeout(300, func_only=True)]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_TIMER_SECONDS", "0.2")
        patch.setenv("STILLHOUSE_DEFAULT_POLICIES", "false")
        with serving(data_root / "alarms-of-service") as running:
            yield running


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    place = tmp_path_factory.mktemp("prometheus") / "server"
    shorter = {
        "stillhouse_timer_last_round_timestamp_seconds > 900": "stillhouse_timer_last_round_timestamp_seconds > 5",
        "stillhouse_policy_next_run_timestamp_seconds > 900": "stillhouse_policy_next_run_timestamp_seconds > 5",
    }
    with scraping(place, f"127.0.0.1:{service.port}", shorter) as running:
        yield running


def opened(service: Service) -> sqlite3.Connection:
    """The catalog, as a program beside the service opens it."""
    return sqlite3.connect(service.data / "catalog.sqlite", timeout=1, isolation_level=None)


def test_descriptors_that_run_out(service: Service, prometheus: Prometheus) -> None:
    """Callers hold connections open, under a limit of open files that is too low for them."""
    before = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    in_use = len([*Path(f"/proc/{service.pid}/fd").iterdir()])
    with ExitStack() as open_:
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (in_use + 60, before[1]))
        for _ in range(50):
            open_.enter_context(closing(socket.create_connection(("127.0.0.1", service.port))))
        rings(service, prometheus, "StillhouseDescriptors", "of the file descriptors", "LimitNOFILE")
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, before)
    is_silent(service, prometheus, "StillhouseDescriptors")


def test_a_catalog_that_another_program_keeps_locked(service: Service, prometheus: Prometheus) -> None:
    """An open transaction that writes: readers see the catalog, but the engine takes no flow out of its queue. When a
    policy falls due, the timer waits to note it.
    """
    cluster = service.create_cluster("orders", 1)
    daily = {"policy_name": "daily", "backup_strategy": "0 0 2 * * ?", "backup_type": "full"}
    path = f"/v2/{{p}}/clusters/{cluster}/snapshot-policies"
    assert service.call("PUT", path, {"backup_strategies": [daily]}).status == 200
    with closing(opened(service)) as other:
        snapshot = service.until(
            "a flow in the queue", lambda: locked_with_a_queued_flow(service, other, cluster)
        )
        rings(service, prometheus, "StillhouseEngineStuck", "takes nothing out of its queue", "/readyz")
        assert "none is taken" in why_not_ready(service, "engine")
        with stopped(service):  # two days pass, and nobody else gets the lock meanwhile
            other.execute(f"UPDATE sh_policies SET {earlier('since', 48)}")
            other.execute("COMMIT")
            other.execute("BEGIN IMMEDIATE")
        rings(service, prometheus, "StillhouseTimerStalled", "no round", "restart")
        rings(service, prometheus, "StillhousePolicyOverdue", "orders", "timer is late", name="orders")
        assert not {"StillhouseCatalogUnavailable", "StillhouseDown"} & prometheus.firing().keys()
        other.execute("ROLLBACK")
    for alert in ("StillhouseTimerStalled", "StillhouseEngineStuck", "StillhousePolicyOverdue"):
        is_silent(service, prometheus, alert)
    assert service.ended(snapshot) == "AVAILABLE"


def locked_with_a_queued_flow(service: Service, other: sqlite3.Connection, cluster: str) -> str | None:
    """Lock the catalog before the engine has taken a snapshot's flow, which then has waited for two minutes.

    Return the snapshot. `None` if the engine was faster.
    """
    snapshot = service.request_snapshot(cluster, f"s-{secrets.token_hex(4)}")
    with stopped(service), suppress(sqlite3.OperationalError):  # it was stopped while it wrote
        other.execute("BEGIN IMMEDIATE")
        waited = "UPDATE workflow_status SET created_at = created_at - 120000 WHERE status = 'ENQUEUED'"
        if other.execute(waited).rowcount == 1:
            other.execute("COMMIT")
            other.execute("BEGIN IMMEDIATE")
            return snapshot
        other.execute("ROLLBACK")
    assert service.ended(snapshot) == "AVAILABLE"
    return None


@contextmanager
def stopped(service: Service) -> Iterator[None]:
    service.tell(signal.SIGSTOP)
    try:
        yield
    finally:
        service.tell(signal.SIGCONT)


def test_a_damaged_catalog(service: Service, prometheus: Prometheus) -> None:
    """Something has written over its file."""
    file = service.data / "catalog.sqlite"
    with closing(opened(service)) as other:
        service.until("its log to be in the file", lambda: is_written_back(other))
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE beside (x)")
        whole = file.read_bytes()
        overwrite(file, bytes(len(whole)))
        other.execute("COMMIT")  # from here on the service reads the file anew
        try:
            rings(service, prometheus, "StillhouseCatalogUnavailable", "catalog.sqlite", "rebuild-catalog")
            assert "malformed" in why_not_ready(service, "catalog")
            assert "StillhouseEngineStuck" not in prometheus.firing(), "its cause is the catalog"
        finally:
            overwrite(file, whole)
        other.execute("DROP TABLE beside")
    is_silent(service, prometheus, "StillhouseCatalogUnavailable")
    assert service.call("GET", "/v1.0/{p}/clusters").status == 200


def is_written_back(catalog: sqlite3.Connection) -> bool:
    """Have the log of the database written into its file, and tell whether all of it was."""
    try:
        busy, _, _ = catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not busy


def overwrite(file: Path, content: bytes) -> None:
    """In place: its other openers keep reading this file."""
    with file.open("r+b") as opened_file:
        opened_file.write(content)
