"""A real service collects beside its other work, and is killed in it: what remains restores."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.service import Service, serving

pytestmark = pytest.mark.long

ROWS = 20_000


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    """Where nothing waits: neither in the trash nor for a second mark."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STILLHOUSE_TRASH_DAYS", "0")
        environment.setenv("STILLHOUSE_COLLECT_GRACE_HOURS", "0")
        with serving(data_root / "collected") as running:
            yield running


def outcomes(service: Service) -> list[str]:
    rows = service.rows("SELECT outcome FROM sh_operations WHERE kind = 'COLLECTING' ORDER BY started")
    return [outcome for (outcome,) in rows]


def begin(service: Service, cluster: str) -> None:
    """Begin a collection as soon as no other operation holds the cluster; a deletion does so beyond its mark."""

    def is_taken() -> bool:
        answer = service.call("POST", f"/stillhouse/v1/{{p}}/clusters/{cluster}/collect")
        assert answer.status in (202, 409), answer.raw
        return answer.status == 202

    service.until("the collection to begin", is_taken)


def objects(service: Service, folder: str) -> set[str]:
    return {path.name for path in (service.data / "repository").glob(f"c/*/{folder}/*")}


def test_it_is_killed_collects_beside_a_restore_and_what_remains_restores(service: Service) -> None:
    cluster = service.create_cluster("collected", 1)
    with service.log_in(cluster) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS pad FROM generate_series(1, %s) g", [ROWS]
        )
    first = service.request_snapshot(cluster, "first")
    assert service.ended(first) == "AVAILABLE"
    with service.log_in(cluster) as connection:
        connection.execute("UPDATE t SET pad = 'changed' WHERE id % 100 = 0")
    second = service.request_snapshot(cluster, "second")
    assert service.ended(second) == "AVAILABLE"
    assert objects(service, "pins") == set(), "ended attempts leave no pin"
    before = objects(service, "packs")
    assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{first}").status == 202
    service.until("the trash mark", lambda: objects(service, "trash") == {first})

    begin(service, cluster)
    (worker,) = service.until("its process", service.workers)
    os.kill(worker, signal.SIGSTOP)
    service.kill()
    os.kill(worker, signal.SIGCONT)
    service.until("its process to end", lambda: not Path(f"/proc/{worker}").exists())
    service.start()
    service.until("the collection to end", lambda: outcomes(service) == ["done"])
    assert service.rows("SELECT id FROM sh_snapshots WHERE id = ?", first) == []
    assert objects(service, "packs") == before, "one mark removes nothing"

    clone = service.restore(second, "clone")
    begin(service, cluster)
    service.until("the second collection to end", lambda: outcomes(service) == ["done"] * 2)
    assert service.settled(clone)["status"] == "AVAILABLE"
    with service.log_in(clone) as connection:
        counted = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE pad = 'changed') FROM t"
        ).fetchone()
    assert counted == (ROWS, ROWS // 100)
    assert objects(service, "packs") < before, "what only the first snapshot had is gone"
    service.delete_cluster(clone)

    third = service.request_snapshot(cluster, "third")
    assert service.ended(third) == "AVAILABLE", "the base is whole"
