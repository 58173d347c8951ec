"""A restore without a service: whose directory it is, whether there is room, and what is told when a node fails."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.control.restores import recovery, without_service
from stillhouse.control.restores.without_service import State
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.errors import Cancelled, InvalidInput, RepositoryDamaged, RestoreFailed
from stillhouse.postgres.host.account import fresh_account
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.format.root import Root, RootCluster, RootNode
from stillhouse.sealing import Sealer
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.workers.jobs import Repository

REPOSITORY = Repository("memory://", new_hex(), Kek(bytes(32)))
NAMES = ("cn", "dn1", "dn2")


def _root(plain_bytes: int = 10) -> Root:
    node = RootNode(name="", manifest="", size=1, hash="", plain_bytes=plain_bytes, wal_bytes=1)
    nodes = tuple(replace(node, name=name) for name in NAMES)
    return Root(snapshot=new_uuid(), cluster=RootCluster(port=8000, number_of_node=2), nodes=nodes)


def _nodes(place: Path) -> tuple[Node, ...]:
    return tuple(
        Node(new_uuid(), name, Role(name[:2]), "127.0.0.1", 8000, str(place / name), str(place))
        for name in NAMES
    )


def _rebuild(place: Path, root: Root) -> None:
    site = Site(place, Binaries(place, "18.6", None), Sealer(bytes(32)), fresh_account)
    without_service._rebuild(
        site, REPOSITORY, root, _nodes(place), 1, watch=lambda name, size: lambda done: None
    )


def test_without_room_for_all_nodes_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(RestoreFailed, match="are needed"):
        _rebuild(tmp_path, _root(1 << 60))
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_place_needs_no_room(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name / "pgdata").mkdir(parents=True)
    _rebuild(tmp_path, _root(1 << 60))


def test_the_node_that_failed_is_told_and_not_those_that_were_stopped_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def rebuild_node(site: Any, repository: Any, root: Any, node: Node, workers: int, **told: Any) -> None:
        if node.name == "dn2":
            raise RepositoryDamaged("a pack is gone")
        try:
            while True:
                told["check"]()
        except Cancelled:
            stopped.append(node.name)
            raise

    monkeypatch.setattr(recovery, "rebuild_node", rebuild_node)
    with pytest.raises(RepositoryDamaged, match="a pack is gone"):
        _rebuild(tmp_path, _root())
    assert sorted(stopped) == ["cn", "dn1"]


ASKED = State(REPOSITORY.id, new_uuid(), "", 8000)


@pytest.mark.parametrize(
    "state",
    [
        State("f" * 32, ASKED.snapshot, "", 8000),
        State(ASKED.repository, new_uuid(), "", 8000),
        State(ASKED.repository, ASKED.snapshot, "dn1", 8000),
        State(ASKED.repository, ASKED.snapshot, "", 8001),
    ],
)
def test_a_directory_of_another_restore_is_refused(tmp_path: Path, state: State) -> None:
    without_service._write_state(tmp_path, state)
    with pytest.raises(InvalidInput, match=state.snapshot):
        without_service._read_state(tmp_path, ASKED)


def test_its_own_unfinished_work_is_found_again(tmp_path: Path) -> None:
    assert without_service._read_state(tmp_path / "not there", ASKED) is None
    (tmp_path / "restore.json.new").write_text("{")
    (tmp_path / "lock").touch()
    assert without_service._read_state(tmp_path, ASKED) is None, "killed at the very start"
    without_service._write_state(tmp_path, ASKED)
    (tmp_path / "clusters").mkdir()
    assert without_service._read_state(tmp_path, ASKED) == ASKED


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"later": 1})])
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "restore.json").write_text(text)
    with pytest.raises(InvalidInput, match="no directory of a restore"):
        without_service._read_state(tmp_path, ASKED)


def test_a_node_that_the_snapshot_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no node dn3") as refusal:
        without_service._chosen(_nodes(tmp_path), _root(), "dn3")
    assert refusal.value.hint == "its nodes are cn, dn1, dn2"
    assert [node.name for node in without_service._chosen(_nodes(tmp_path), _root(), "dn2")] == ["dn2"]
    with pytest.raises(RestoreFailed, match="dn2"):
        without_service._chosen(_nodes(tmp_path)[:2], _root(), "")
