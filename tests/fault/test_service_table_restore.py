"""The service restores tables into a live cluster, is killed on the way, and goes on; nothing stays behind."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.bootstrap.service import open_control
from stillhouse.catalog import operations
from stillhouse.config import Settings
from stillhouse.control.restores.table_requests import operation_detail
from stillhouse.domain.cluster import Task
from stillhouse.domain.table_restore import TableRestore
from support.processes.service import COMMAND, Service, fill, serving
from support.servers.warehouses import rows, servers_below
from support.snapshots.table_restores import DATABASE, TRACES, commits_wait, pairs

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("service table restores")]

ROWS = 5000
STATE = "SELECT count(*), sum(balance) FROM {}"
OLD, NEW = (ROWS, 0), (ROWS, 100 * ROWS)


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "tables") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("tables", 2)
    fill(service, cluster_id, ROWS)
    return cluster_id


@pytest.fixture(scope="module")
def snapshot(service: Service, cluster: str) -> str:
    snapshot_id = service.request_snapshot(cluster, "before")
    assert service.ended(snapshot_id) == "AVAILABLE"
    return snapshot_id


@pytest.fixture(autouse=True)
def changed(service: Service, cluster: str, snapshot: str) -> None:
    with service.log_in(cluster) as connection:
        connection.execute("UPDATE accounts SET balance = 0")


def request(service: Service, cluster: str, snapshot: str, wanted: TableRestore) -> str:
    """As the API does it; the operation's id."""
    with open_control(Settings(data=service.data)) as control:
        control.flows.register("restore_tables", lambda run, subject: None)
        with control.database.transaction() as transaction:
            operation = operations.begin(
                transaction,
                cluster,
                Task.FINE_GRAINED_RESTORING,
                snapshot,
                control.clock.now(),
                operation_detail(snapshot, wanted),
            )
            control.flows.enqueue(transaction, "restore_tables", operation)
    return operation


def ended(service: Service, operation: str) -> dict[str, Any]:
    query = "SELECT outcome, reason, detail, progress FROM sh_operations WHERE id = ? AND ended IS NOT NULL"
    ((outcome, reason, detail, progress),) = service.until(
        "the operation to end", lambda: service.rows(query, operation)
    )
    return {"outcome": outcome, "reason": reason, "detail": detail, "progress": progress}


def state(service: Service, cluster: str, name: str = "accounts") -> Any:
    with service.log_in(cluster) as connection:
        return connection.execute(STATE.format(name).encode()).fetchone()


def traces(service: Service, cluster: str) -> list[str]:
    return [one for node in service.nodes(cluster) for (one,) in rows(node, TRACES, DATABASE)]


@pytest.fixture(autouse=True)
def nothing_left_behind(service: Service, cluster: str) -> Iterator[None]:
    yield
    assert traces(service, cluster) == []
    assert servers_below(service.data / "scratch") == []
    assert [*(service.data / "scratch" / "clusters").glob("*-*")] == []
    shown = service.cluster(cluster)
    assert (shown["status"], shown["task_status"]) == ("AVAILABLE", None)


def test_a_restore_that_is_killed_while_it_copies_begins_again(
    service: Service, cluster: str, snapshot: str
) -> None:
    operation = request(service, cluster, snapshot, pairs("public.accounts"))
    cn = service.nodes(cluster)[0]
    service.until(
        "the copying role", lambda: rows(cn, "SELECT FROM pg_roles WHERE rolname ~ '^stillhouse_t'")
    )
    assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}").status == 403
    service.kill()
    service.start()
    assert ended(service, operation)["outcome"] == "done"
    assert state(service, cluster) == NEW
    audit = "SELECT outcome, detail FROM sh_audit WHERE action = 'RestoreTable' ORDER BY id DESC LIMIT 1"
    assert service.rows(audit) == [("restored", "")]
    assert service.cluster(cluster)["failed_reasons"] is None


@pytest.mark.parametrize("waits", [2, 0], ids=["prepared", "decided"])
def test_a_service_that_is_killed_in_the_swap_ends_it(
    service: Service, cluster: str, snapshot: str, waits: int
) -> None:
    """With both data nodes prepared and the coordinator undecided; and with it decided and neither told."""
    operation = request(service, cluster, snapshot, pairs("public.accounts"))
    nodes = service.nodes(cluster)
    with service.log_in(cluster) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT FROM accounts LIMIT 1")
        copied = "SELECT 1 FROM pg_stat_activity WHERE application_name ~ '^stillhouse_' AND wait_event_type = 'Lock'"
        service.until("the swap to wait for us", lambda: rows(nodes[0], copied))
        with commits_wait(nodes[waits]):
            connection.execute("ROLLBACK")
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            service.until("a commit to wait", lambda: rows(nodes[waits], waiting))
            assert rows(nodes[1], "SELECT 1 FROM pg_prepared_xacts") == [(1,)]
            service.kill()
    service.start()
    assert ended(service, operation)["outcome"] == "done"
    assert state(service, cluster) == NEW


def test_a_table_that_the_snapshot_lacks_fails_and_is_named(
    service: Service, cluster: str, snapshot: str
) -> None:
    operation = request(service, cluster, snapshot, pairs("public.accounts", "public.never"))
    found = ended(service, operation)
    assert found["outcome"] == "failed"
    assert found["reason"] == "the snapshot has no table public.never"
    told = service.cluster(cluster)["failed_reasons"]["error_msg"]
    assert told == f"{found['reason']} (names are compared letter by letter)"
    assert state(service, cluster) == OLD
    audit = "SELECT outcome, detail FROM sh_audit WHERE action = 'RestoreTable' ORDER BY id DESC LIMIT 1"
    assert service.rows(audit) == [("failed", told)]


def test_a_copy_of_an_earlier_restore_is_not_replaced_unasked(
    service: Service, cluster: str, snapshot: str
) -> None:
    """Without a target of the caller's, a second restore of a snapshot has the same target as the first."""
    environment = service.environment() | service.client().environment

    def restore(*more: str) -> subprocess.CompletedProcess[str]:
        words = [*COMMAND, "snapshot", "restore-tables", snapshot, "accounts", "--wait", *more]
        return subprocess.run(
            words, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
        )

    assert restore().returncode == 0, "nothing is there to be replaced"
    find = "SELECT relname FROM pg_class WHERE relname LIKE 'accounts\\_2%' AND relkind IN ('r', 'p')"
    with service.log_in(cluster) as connection:
        ((copy,),) = connection.execute(find).fetchall()
        connection.execute(f"UPDATE public_dws_backup.{copy} SET balance = 7".encode())
    again = restore()
    assert again.returncode == 1 and f"will be replaced: public_dws_backup.{copy}" in again.stderr
    assert state(service, cluster, f"public_dws_backup.{copy}") == (ROWS, 7 * ROWS)
    assert restore("--yes").returncode == 0
    assert state(service, cluster, f"public_dws_backup.{copy}") == NEW
