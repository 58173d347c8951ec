"""Which nodes answer: asked at most once at a time, never waited for long, and forgotten when servers change."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from stillhouse.control import node_watch
from stillhouse.control.node_watch import NodeWatch
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node, NodeState, Role, Task

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CN = Node("1", "cn", Role.CN, "127.0.0.1", 1, "/nowhere", "/nowhere")
DN = Node("2", "dn1", Role.DN, "127.0.0.1", 2, "/nowhere", "/nowhere")


def cluster(
    status: ClusterStatus = ClusterStatus.AVAILABLE, task: Task | None = None, *, stopped: bool = False
) -> Cluster:
    return Cluster(
        "c", "p", "sales", Engine.FDW, status, 1, 8000, "dbadmin", NOW, NOW, (CN, DN), task, stopped=stopped
    )


class Servers:
    """`down` do not answer, `hung` take until `release`."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.hung: set[str] = set()
        self.asked: list[str] = []
        self.release = threading.Event()

    def silence(self, node: Node) -> str:
        self.asked.append(node.name)
        if node.name in self.hung:
            self.release.wait(30)
        return "no server listens" if node.name in self.down else ""


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    servers = Servers()
    monkeypatch.setattr(node_watch, "silence", servers.silence)
    yield servers
    servers.release.set()


def states(found: Cluster) -> list[NodeState]:
    return [found.node_state(node) for node in found.nodes]


def test_a_dead_data_node_degrades_a_cluster_and_a_dead_coordinator_is_its_end(servers: Servers) -> None:
    servers.down = {"dn1"}
    (found,) = NodeWatch().look([cluster()], 30)
    assert (found.state, states(found)) == ("DEGRADED", [NodeState.UP, NodeState.DOWN])
    assert found.silent == {"2": "no server listens"}
    servers.down = {"cn"}
    assert NodeWatch().look([cluster()], 30)[0].state == "DOWN"


def test_a_node_is_not_asked_again_at_once_and_others_see_what_was_seen(servers: Servers) -> None:
    watch = NodeWatch()
    servers.down = {"dn1"}
    watch.look([cluster()], 30)
    watch.look([cluster()], 30)
    assert sorted(servers.asked) == ["cn", "dn1"]
    assert watch.seen(cluster()).state == "DEGRADED"
    watch.forget([DN])
    assert watch.seen(cluster()).state == "AVAILABLE"
    watch.note(CN, "it went away")
    assert watch.seen(cluster()).state == "DOWN"
    watch.note(CN, "")
    assert watch.seen(cluster()).state == "AVAILABLE"


def test_a_hung_node_is_down_after_a_while_and_asked_by_one_thread_only(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_watch, "_GOOD_FOR_SECONDS", 0)
    watch = NodeWatch()
    servers.hung = {"dn1"}
    for _ in range(3):
        (found,) = watch.look([cluster()], 0.05)
        assert states(found) == [NodeState.UP, NodeState.DOWN]
        assert "has not answered within 0.05 s" in found.silent["2"]
    assert servers.asked.count("dn1") == 1


@pytest.mark.parametrize(
    ("found", "state", "node"),
    [
        (cluster(stopped=True), "STOPPED", NodeState.STOPPED),
        (cluster(task=Task.REBOOTING), "AVAILABLE", NodeState.CHANGING),
        (cluster(ClusterStatus.CREATING), "CREATING", NodeState.CHANGING),
        (cluster(ClusterStatus.CREATE_FAILED), "CREATE_FAILED", NodeState.GONE),
    ],
)
def test_servers_that_should_be_away_are_not_asked(
    servers: Servers, found: Cluster, state: str, node: NodeState
) -> None:
    servers.down = {"cn", "dn1"}
    (seen,) = NodeWatch().look([found], 30)
    assert (seen.state, states(seen), servers.asked) == (state, [node, node], [])


def test_nodes_of_a_cluster_whose_restart_failed_are_asked(servers: Servers) -> None:
    servers.down = {"dn1"}
    (seen,) = NodeWatch().look([cluster(ClusterStatus.FAILED)], 30)
    assert (seen.state, states(seen)) == ("FAILED", [NodeState.UP, NodeState.DOWN])
