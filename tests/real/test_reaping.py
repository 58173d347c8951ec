"""Slots that older versions left on a server are removed beside attempts at work; those meant to stay, stay."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog import captures, clusters
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.reaping import Reaper, reap
from stillhouse.control.snapshots.requests import request_snapshot
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.slots import attempt_slot
from stillhouse.errors import CaptureInterrupted
from stillhouse.postgres.wal.backup import BackupSession
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.control.requests_bed import PROJECT, available_cluster, requests_bed
from support.databases.writers import until
from support.servers import warehouses
from support.servers.warehouses import rows
from support.snapshots.captures import SLOTS
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long

OURS = "0a1b2c3d"
KEPT = ["standby_1", "stillhouse_deadbeef_0011aabb_1", f"stillhouse_{OURS}_stream_1"]


@pytest.fixture(scope="module")
def node(site: Site) -> Iterator[Node]:
    cluster = warehouses.build(site, 1)
    yield cluster.coordinator
    embedded.destroy(site, cluster.id)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FlowContext]:
    nothing = cast("Any", None)
    with requests_bed("sqlite", tmp_path) as control:
        yield FlowContext(control, nothing, nothing, OURS)


@pytest.fixture
def silent(tmp_path: Path, node: Node) -> Iterator[socket.socket]:
    """A socket like that of a server that hangs: it takes connections, and answers nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / f".s.PGSQL.{node.port}"))
        listener.listen()
        yield listener


@pytest.fixture
def slots(node: Node) -> Iterator[list[str]]:
    """The slots on the server before: slots of others, some that are meant to stay, and those left by attempts."""
    left = [attempt_slot(OURS, new_uuid(), number) for number in (1, 2)]
    with superuser(node) as connection:
        for name in [*KEPT, *left]:
            tell(connection, f"SELECT pg_create_physical_replication_slot('{name}', true)")
        yield left
        tell(
            connection,
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT temporary",
        )
    until(lambda: standing(node) == [], 10)


def registered(control: Control, node: Node) -> Cluster:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        clusters.save_nodes(transaction, cluster_id, [node])
        return clusters.read_cluster(transaction, cluster_id)


def begin_attempt(control: Control, snapshot_id: str, node: Node) -> int:
    with control.database.transaction() as transaction:
        return captures.begin_attempt(transaction, snapshot_id, [node.id], control.clock.now())


def standing(node: Node) -> list[str]:
    return sorted(name for (name,) in rows(node, SLOTS))


def test_the_timer_removes_what_was_left_beside_an_attempt_at_work(
    place: FlowContext, node: Node, slots: list[str]
) -> None:
    control = place.control
    cluster = registered(control, node)
    snapshot = request_snapshot(control, PROJECT, name="at-work", cluster_id=cluster.id)
    with ExitStack() as held:
        sessions = []
        for _ in ("dead", "at work"):
            number = begin_attempt(control, snapshot, node)
            sessions.append(BackupSession(node, place.slot(snapshot, number)))
            held.callback(sessions[-1].close)
        dead, alive = sessions
        Reaper(every_seconds=0)(place, control.clock.now())
        until(lambda: standing(node) == sorted([*KEPT, alive.name]), 20)
        alive.advance(0)
        with pytest.raises(CaptureInterrupted, match="somebody ended"):
            dead.advance(0)


def test_whoever_holds_the_cluster_removes_all_that_attempts_left(
    place: FlowContext, node: Node, slots: list[str]
) -> None:
    cluster = registered(place.control, node)
    with closing(BackupSession(node, attempt_slot(OURS, new_uuid(), 1))) as zombie:
        assert sorted(reap(place, cluster)) == sorted([*slots, zombie.name])
        assert standing(node) == sorted(KEPT)
    assert reap(place, cluster) == []


def test_a_node_that_is_away_keeps_the_timer_from_nothing(
    place: FlowContext, node: Node, slots: list[str]
) -> None:
    control = place.control
    away = available_cluster(control, "away")
    registered(control, node)
    beside(control, away, node, "/nowhere")
    Reaper(every_seconds=0)(place, control.clock.now())
    until(lambda: standing(node) == sorted(KEPT), 20)


def test_a_node_that_hangs_holds_up_nobody_and_is_not_asked_twice(
    place: FlowContext, node: Node, slots: list[str], silent: socket.socket
) -> None:
    control = place.control
    hanging = available_cluster(control, "hanging")
    registered(control, node)
    beside(control, hanging, node, str(Path(silent.getsockname()).parent))
    reaper = Reaper(every_seconds=0, patience_seconds=0.1)
    for _ in range(3):
        reaper(place, control.clock.now())
    until(lambda: standing(node) == sorted(KEPT), 20)
    asked, _ = silent.accept()
    silent.setblocking(False)
    with asked, pytest.raises(BlockingIOError):
        silent.accept()


def beside(control: Control, cluster_id: str, node: Node, where: str) -> None:
    """A cluster whose one node has its socket in `where`."""
    with control.database.transaction() as transaction:
        away = Node(new_uuid(), "away", node.role, node.host, node.port, node.directory, where)
        clusters.save_nodes(transaction, cluster_id, [away])


def test_the_timer_looks_only_now_and_then(place: FlowContext, node: Node, slots: list[str]) -> None:
    registered(place.control, node)
    reaper = Reaper(every_seconds=1e9)
    reaper(place, place.control.clock.now())
    until(lambda: standing(node) == sorted(KEPT), 20)
    with superuser(node) as connection:
        tell(connection, f"SELECT pg_create_physical_replication_slot('{slots[0]}', true)")
    reaper(place, place.control.clock.now())
    assert standing(node) == sorted([*KEPT, slots[0]])
