"""A service that is killed or stopped at any moment goes on where it was, and leaves the warehouse clean."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from stillhouse.bootstrap.service import open_control
from stillhouse.catalog import clusters, snapshot_queue, snapshots
from stillhouse.config import Settings
from stillhouse.control.snapshots.requests import new_snapshot
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import SnapshotType
from stillhouse.postgres.host import server
from stillhouse.repository.format.cipher_keys import Kek
from support.api.client import Answer
from support.processes.service import COMMAND, Service, fill, postmaster, serving
from support.servers.warehouses import rows
from support.snapshots.captures import SLOTS
from support.snapshots.cuts import superuser, tell

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("service kills")]

ROWS = 60_000
Moment = Callable[[Service, str], object]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_TIMER_SECONDS", "0.5")
        with serving(data_root / "kills") as running:
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


def _assert_complete(service: Service, cluster: str) -> None:
    with service.log_in(cluster) as connection:
        assert connection.execute("SELECT count(*), max(id) FROM accounts").fetchone() == (ROWS, ROWS)


def _states(service: Service, snapshot: str) -> list[str]:
    found = service.rows("SELECT state FROM sh_captures WHERE snapshot_id = ?", snapshot)
    return [state for (state,) in found]


def _has_cut(service: Service, snapshot: str) -> bool:
    return bool(service.rows("SELECT 1 FROM sh_cuts WHERE snapshot_id = ?", snapshot))


def _has_root(service: Service, snapshot: str) -> bool:
    return any((service.data / "repository").glob(f"c/*/roots/{snapshot}"))


TAKING: dict[str, Moment] = {
    "accepted": lambda service, snapshot: True,
    "copying": Service.is_copied,
    "cut": _has_cut,
    "a node is done": lambda service, snapshot: "done" in _states(service, snapshot),
    "the root is there": _has_root,
}


@pytest.mark.parametrize("moment", TAKING)
def test_a_snapshot_goes_on_after_kill_9(service: Service, cluster: str, moment: str) -> None:
    before = [postmaster(node) for node in service.nodes(cluster)]
    snapshot = service.request_snapshot(cluster, f"killed-{list(TAKING).index(moment)}")
    service.until(moment, lambda: TAKING[moment](service, snapshot))
    service.kill()
    service.start()
    assert service.ended(snapshot) == "AVAILABLE"
    service.await_clean(cluster)
    assert [postmaster(node) for node in service.nodes(cluster)] == before, "the servers were adopted"
    if moment in ("cut", "the root is there"):
        restored = service.restore(snapshot, "after-kill")
        assert service.settled(restored)["status"] == "AVAILABLE"
        _assert_complete(service, restored)
        service.delete_cluster(restored)


def test_snapshots_that_wait_are_all_taken_in_order_after_kill_9(service: Service, cluster: str) -> None:
    """Killed while one is copied, while a cut is waited for, and right after an end: no turn is lost or doubled."""
    with service.log_in(cluster) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-4, 0, 'not yet')")
        queue = [service.request_snapshot(cluster, f"in-line-{number}") for number in range(5)]
        service.kill()
        service.start()
        service.until("all bases", lambda: set(_states(service, queue[0])) >= {"ready"})
        service.kill()
        service.start()
        assert [service.attempts(snapshot) for snapshot in queue[1:]] == [0] * 4
        writer.execute("ROLLBACK")
    for snapshot in queue[:3]:
        assert service.ended(snapshot) == "AVAILABLE"
        service.kill()
        service.start()
    assert [service.ended(snapshot) for snapshot in queue] == ["AVAILABLE"] * 5
    held = service.rows(
        "SELECT o.subject_id, o.started, o.ended FROM sh_operations o JOIN sh_snapshots s ON s.id = o.subject_id"
        " WHERE o.kind = 'SNAPSHOTTING' AND s.name LIKE 'in-line-%' ORDER BY o.started"
    )
    assert [subject for subject, _, _ in held] == queue
    assert all(before[2] <= after[1] for before, after in pairwise(held)), "never two at a time"
    service.await_clean(cluster)


def test_an_orderly_stop_keeps_the_line(service: Service, cluster: str) -> None:
    queue = [service.request_snapshot(cluster, f"stopped-{number}") for number in range(3)]
    assert service.stop() == 0
    service.start()
    assert [service.ended(snapshot) for snapshot in queue] == ["AVAILABLE"] * 3


@pytest.mark.parametrize("is_running", [False, True], ids=["at the start", "by the timer"])
def test_a_turn_that_was_lost_begins(service: Service, cluster: str, is_running: bool) -> None:
    """As a service leaves it that ended a snapshot while it shut down: some wait, and nothing holds their cluster."""
    if not is_running:
        service.kill()
    queue = [new_uuid(), new_uuid()]
    with open_control(Settings(data=service.data)) as control, control.database.transaction() as transaction:
        known = clusters.read_cluster(transaction, cluster)
        for number, one in enumerate(queue):
            name, now = f"lost-{is_running}-{number}", control.clock.now()
            snapshots.insert_snapshot(transaction, new_snapshot(known, one, SnapshotType.MANUAL, now, name))
            snapshot_queue.add(transaction, cluster, one)
    if not is_running:
        service.start()
    assert [service.ended(snapshot) for snapshot in queue] == ["AVAILABLE"] * 2


def test_kill_9_while_a_writer_holds_up_the_cut(service: Service, cluster: str) -> None:
    with service.log_in(cluster) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-1, 0, 'not yet')")
        snapshot = service.request_snapshot(cluster, "held-up")
        service.until("all bases", lambda: _states(service, snapshot) == ["ready"] * 3)
        service.kill()
        service.start()
        service.until("a new attempt", lambda: service.attempts(snapshot) == 2)
        assert not _has_cut(service, snapshot)
        writer.execute("ROLLBACK")
    assert service.ended(snapshot) == "AVAILABLE"
    service.await_clean(cluster)


def test_the_deadline_of_the_cut_is_the_snapshots_also_after_kill_9(
    service: Service, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of three attempts had a deadline of its own: with the default, a night of copying and an hour and a half."""
    waited = "SELECT cut_waited_seconds FROM sh_snapshots WHERE id = ? AND cut_waited_seconds > 0"
    # Long enough that a busy machine kills in time.
    monkeypatch.setenv("STILLHOUSE_CUT_DEADLINE_SECONDS", "12")
    service.kill()
    service.start()
    with service.log_in(cluster) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-3, 0, 'not yet')")
        snapshot = service.request_snapshot(cluster, "in-nobodys-time")
        service.until("waiting for the cut", lambda: service.rows(waited, snapshot))
        service.kill()
        service.start()
        assert service.ended(snapshot) == "UNAVAILABLE"
        writer.execute("ROLLBACK")
    assert service.attempts(snapshot) == 2
    assert "within 12 s" in service.reason(snapshot) and "pid" in service.reason(snapshot)
    assert service.rows(waited, snapshot)[0][0] >= 12
    service.await_clean(cluster)
    monkeypatch.undo()
    service.kill()
    service.start()


def test_a_zombie_of_a_dead_attempt_changes_nothing(service: Service, cluster: str) -> None:
    """Stopped with its base complete, it wakes when another attempt has published the snapshot."""
    with service.log_in(cluster) as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-2, 0, 'not yet')")
        snapshot = service.request_snapshot(cluster, "haunted")
        service.until("all bases", lambda: _states(service, snapshot) == ["ready"] * 3)
        zombies = service.workers()
        assert len(zombies) == 3
        for zombie in zombies:
            os.kill(zombie, signal.SIGSTOP)
        service.kill()
        service.start()
        writer.execute("ROLLBACK")
    assert service.ended(snapshot) == "AVAILABLE"
    assert service.attempts(snapshot) == 2
    (root,) = (service.data / "repository").glob(f"c/*/roots/{snapshot}")
    published = root.read_bytes()
    for zombie in zombies:
        os.kill(zombie, signal.SIGCONT)
    service.until("no zombie", lambda: not any(Path(f"/proc/{zombie}").exists() for zombie in zombies))
    service.await_clean(cluster)
    assert root.read_bytes() == published
    restored = service.restore(snapshot, "after-zombies")
    assert service.settled(restored)["status"] == "AVAILABLE"
    _assert_complete(service, restored)
    service.delete_cluster(restored)


def test_a_snapshot_that_every_attempt_is_killed_of_says_so(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "killed-thrice")
    for attempt in (1, 2, 3):
        slot = f"{snapshot[:8]}_{attempt}"
        service.until(slot, partial(service.stands, cluster, slot))
        service.kill()
        service.await_clean(cluster)  # though no service comes to clear up
        service.start()
    assert service.ended(snapshot) == "UNAVAILABLE"
    assert service.reason(snapshot)
    service.await_clean(cluster)


def test_what_an_older_version_left_is_removed_while_the_service_runs(service: Service, cluster: str) -> None:
    """Its slots were permanent. One of ours that is meant to stay has another name than an attempt's."""
    installation = (service.data / "installation").read_text().strip()
    left, kept = (f"stillhouse_{installation}_{whose}_1" for whose in ("0011aabb", "stream"))
    node = service.nodes(cluster)[-1]
    with superuser(node) as connection:
        for name in (left, kept):
            tell(connection, f"SELECT pg_create_physical_replication_slot('{name}', true)")
        service.until("only what stays", lambda: rows(node, SLOTS) == [(kept,)])
        tell(connection, f"SELECT pg_drop_replication_slot('{kept}')")
    service.await_clean(cluster)


def _directories(service: Service, clone: str) -> list[Path]:
    return [Path(node.directory) for node in service.nodes(clone)]


RESTORING: dict[str, Moment] = {
    "accepted": lambda service, clone: True,
    "copying": lambda service, clone: any(
        (directory / "pgdata.restoring").exists() for directory in _directories(service, clone)
    ),
    "recovering": lambda service, clone: any(server.process_id(node) for node in service.nodes(clone)),
    "opening": lambda service, clone: any(
        "listen_addresses=127" in (directory / "pgdata" / "postmaster.opts").read_text()
        for directory in _directories(service, clone)
        if (directory / "pgdata" / "postmaster.opts").exists()
    ),
}


@pytest.mark.parametrize(
    ("moment", "end"), [*((moment, Service.kill) for moment in RESTORING), ("opening", Service.stop)]
)
def test_a_restore_goes_on_after_the_service_ended(
    service: Service, usable: str, moment: str, end: Callable[[Service], int | None]
) -> None:
    clone = service.restore(usable, "interrupted")
    service.until(moment, lambda: RESTORING[moment](service, clone))
    assert not end(service)
    service.start()
    assert service.settled(clone)["status"] == "AVAILABLE"
    _assert_complete(service, clone)
    service.delete_cluster(clone)


def test_a_cluster_is_made_although_the_service_is_stopped_meanwhile(service: Service) -> None:
    wanted = {
        "name": "interrupted",
        "node_type": "dws2.km1.xlarge",
        "number_of_node": 1,
        "vpc_id": "v",
        "subnet_id": "s",
        "security_group_id": "g",
        "user_name": "dbadmin",
        "user_pwd": "Str0ng-Pass-11",
    }
    cluster: str = service.call("POST", "/v1.0/{p}/clusters", {"cluster": wanted}).json["cluster"]["id"]
    service.until("a server", lambda: any(server.process_id(node) for node in service.nodes(cluster)))
    assert service.stop() == 0
    service.start()
    assert service.settled(cluster)["status"] == "AVAILABLE"
    with service.log_in(cluster) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    service.delete_cluster(cluster)


def test_a_shutdown_answers_503_and_stops_the_servers(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "while-stopping")
    service.until("node work", lambda: service.is_copied(snapshot) and service.workers())
    workers = service.workers()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # so that the flows take their time to stop
    exit_codes: list[int] = []
    stopping = threading.Thread(target=lambda: exit_codes.append(service.stop()))
    stopping.start()
    try:
        answer: Answer = service.until("a refusal", lambda: _refusal(service))
        # Not only in the moment before the socket closes. One connection: on a busy machine fifty take longer to make
        # than the service waits for its flows.
        with httpx.Client(timeout=60) as client:
            lasting = [client.get(f"{service.url}/healthz").status_code for _ in range(10)]
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    stopping.join()
    assert set(lasting) == {503}
    assert answer.error_code == "DWS.0005"
    assert answer.json["errCode"] == answer.json["error_code"]
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    assert exit_codes == [0]
    assert not any(server.process_id(node) for node in service.nodes(cluster))
    service.start()
    assert service.ended(snapshot) == "AVAILABLE"
    service.await_clean(cluster)


def _refusal(service: Service) -> Answer | None:
    answer = service.call("GET", "/v1.0/{p}/snapshots")
    return answer if answer.status == 503 else None


@pytest.mark.parametrize("left", ["", "ab" * 32], ids=["no key", "another key"])
def test_it_does_not_come_back_without_the_key_of_its_snapshots(
    service: Service, cluster: str, usable: str, left: str
) -> None:
    """A container whose key was not on a volume loses it so. Nothing else is lost, and the servers run on."""
    before = [postmaster(node) for node in service.nodes(cluster)]
    service.kill()
    kek_file = service.data / "kek"
    right = kek_file.read_text()
    kek_file.unlink()
    if left:
        kek_file.write_text(left)
    objects = set((service.data / "repository").rglob("*"))
    done = subprocess.run(
        [*COMMAND, "serve", "--data", service.data, "--listen", f"127.0.0.1:{service.port}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and str(kek_file) in done.stderr, done.stderr
    assert Kek(bytes.fromhex(right)).id in done.stderr and right.strip() not in done.stderr
    assert (kek_file.read_text() if kek_file.exists() else "") == left, "none was made"
    assert set((service.data / "repository").rglob("*")) == objects
    kek_file.write_text(right)
    service.start()
    assert [postmaster(node) for node in service.nodes(cluster)] == before, "the servers were adopted"


def test_it_tells_which_part_is_not_well_and_stays_ready_without_a_node(
    service: Service, cluster: str
) -> None:
    def readiness() -> tuple[int, list[str]]:
        answer = httpx.get(f"{service.url}/readyz", timeout=60)
        return answer.status_code, answer.json()["checks"].get("nodes", {}).get("reasons", [])

    service.until("it to be ready", lambda: readiness() == (200, []))
    node = service.nodes(cluster)[-1]
    os.kill(postmaster(node), signal.SIGQUIT)
    service.until("the node to be missed", lambda: readiness()[1])
    code, (said,) = readiness()
    assert code == 200, "it does its work for all other clusters"
    assert said.startswith("1 of ") and said.endswith(" do not answer: the service's log names them")
    assert httpx.get(f"{service.url}/healthz", timeout=60).status_code == 200
    service.restart_cluster(cluster)
    service.until("it to be ready again", lambda: readiness() == (200, []))


def test_a_cluster_whose_keys_are_gone_fails_its_snapshots_and_says_so(
    service: Service, cluster: str, usable: str, tmp_path: Path
) -> None:
    """New keys would hide the loss: they open none of the objects that are there."""
    keys = service.data / "repository" / "c" / cluster / "keys"
    keys.rename(tmp_path / "keys")
    snapshot = service.request_snapshot(cluster, "keyless")
    assert service.ended(snapshot) == "UNAVAILABLE"
    assert "no keys" in service.reason(snapshot)
    assert not any(keys.rglob("*")), "none was made"
    shutil.rmtree(keys, ignore_errors=True)
    shutil.copytree(tmp_path / "keys", keys)
    again = service.request_snapshot(cluster, "with-keys")
    assert service.ended(again) == "AVAILABLE"
    assert service.snapshot(usable)["status"] == "AVAILABLE"
