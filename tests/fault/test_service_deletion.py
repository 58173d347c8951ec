"""A cluster whose snapshots are taken and wait is deleted, also by a service that is killed or stopped meanwhile."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from stillhouse.postgres.host import server
from support.processes.service import Service, fill, serving

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("service deletions")]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "deletions") as running:
        yield running


def _states(service: Service, snapshot: str) -> list[str]:
    found = service.rows("SELECT state FROM sh_captures WHERE snapshot_id = ?", snapshot)
    return [state for (state,) in found]


def _assert_deleted_once(service: Service, cluster_id: str, snapshot: str) -> None:
    """By one flow, which was begun by the transaction that ended the snapshot."""
    ((finished,),) = service.rows("SELECT finished FROM sh_snapshots WHERE id = ?", snapshot)
    flows = service.rows(
        "SELECT created_at FROM workflow_status JOIN workflow_input AS i USING (workflow_uuid)"
        " WHERE name = 'delete_cluster' AND i.inputs LIKE ?",
        f"%{cluster_id}%",
    )
    ((begun,),) = flows
    ended = datetime.fromisoformat(finished).replace(tzinfo=UTC).timestamp()
    assert int(ended) * 1000 <= begun, "the engine keeps whole seconds"


def test_a_cluster_with_a_running_and_two_waiting_snapshots_is_deleted(service: Service) -> None:
    cluster_id = service.create_cluster("doomed", 2)
    fill(service, cluster_id, 1000)
    nodes = service.nodes(cluster_id)
    assert _at_work_in(cluster_id)
    path = f"/v1.0/{{p}}/clusters/{cluster_id}"
    with service.log_in(cluster_id) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-1, 0, 'holds up the cut')")
        running, *waiting = (service.request_snapshot(cluster_id, f"doomed-{n}") for n in range(3))
        service.until("node work", lambda: service.is_copied(running))
        assert service.call("DELETE", path, {"keep_last_manual_snapshot": 5}).status == 202
        again = service.call("DELETE", path, {"keep_last_manual_snapshot": 5})
        assert (again.status, again.error_code) in [(403, "DWS.7023"), (404, "DWS.0047")]
        assert [service.reason(snapshot) for snapshot in waiting] == [
            "the cluster is being deleted, and the snapshot's turn had not come"
        ] * 2
        service.until("the cluster to be gone", partial(service.is_gone, cluster_id))
        writer.close()  # its server is gone
    assert service.reason(running) == "the snapshot was cancelled: the cluster is being deleted"
    states = service.rows("SELECT status, deleted FROM sh_snapshots WHERE cluster_id = ?", cluster_id)
    assert [status for status, _ in states] == ["UNAVAILABLE"] * 3
    assert all(deleted for _, deleted in states)
    assert not any(server.process_id(node) or Path(node.directory).exists() for node in nodes)
    assert not _at_work_in(cluster_id)
    _assert_deleted_once(service, cluster_id, running)
    assert list((service.data / "repository").glob("c/*/pins/*")) == []
    # What it leaves in the repository may be collected by now.
    held = service.rows(
        "SELECT kind, outcome FROM sh_operations WHERE cluster_id = ? AND kind <> 'COLLECTING' ORDER BY started",
        cluster_id,
    )
    assert held == [("CREATING", "done"), ("SNAPSHOTTING", "failed"), ("DELETING", "done")]


def _at_work_in(cluster_id: str) -> list[str]:
    """The processes of a cluster: a server and all that it forked work in its data directory."""

    def directory(process: Path) -> str:
        try:
            return str((process / "cwd").readlink())
        except OSError:
            return ""

    return [process.name for process in Path("/proc").glob("[0-9]*") if cluster_id in directory(process)]


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("accepted", Service.kill),
        ("copying", Service.kill),
        ("held up", Service.kill),
        ("held up", Service.stop),
        ("let go", Service.kill),
    ],
)
def test_a_deletion_that_called_off_snapshots_goes_on_after_the_service_ended(
    service: Service, moment: str, end: Callable[[Service], int | None]
) -> None:
    doomed = service.create_cluster("doomed", 2)
    fill(service, doomed, 1000)
    nodes = service.nodes(doomed)
    with service.log_in(doomed) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-1, 0, 'holds up the cut')")
        running, *waiting = (service.request_snapshot(doomed, f"doomed-{number}") for number in range(3))
        if moment == "copying":
            service.until(moment, lambda: service.is_copied(running))
        if moment in ("held up", "let go"):
            service.until(moment, lambda: _states(service, running) == ["ready"] * 3)
        service.request_deletion(doomed)
        if moment == "let go":
            service.until(moment, lambda: service.reason(running))
        end(service)
        service.start()
        service.until("the cluster to be gone", lambda: service.is_gone(doomed))
        writer.close()  # its server is gone
    assert service.reason(running) == "the snapshot was cancelled: the cluster is being deleted"
    assert len({service.reason(snapshot) for snapshot in waiting}) == 1
    ended = service.rows("SELECT status FROM sh_snapshots WHERE cluster_id = ?", doomed)
    assert ended == [("UNAVAILABLE",)] * 3
    assert [service.attempts(snapshot) for snapshot in waiting] == [0, 0]
    assert not any(server.process_id(node) or Path(node.directory).exists() for node in nodes)
    assert not service.workers()
    _assert_deleted_once(service, doomed, running)
    assert list((service.data / "repository").glob("c/*/pins/*")) == []
