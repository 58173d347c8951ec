"""A catalog out of the roots: what they tell, nothing that is not so, and the same however often it was killed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import stillhouse.bootstrap.rebuild as bootstrap
from stillhouse.bootstrap.rebuild import rebuild_catalog
from stillhouse.bootstrap.service import open_control
from stillhouse.catalog import clusters, operations
from stillhouse.config import Settings
from stillhouse.control.access.access_keys import create_access_key
from stillhouse.control.clusters.requests import RestoreRequest, list_clusters, request_restore
from stillhouse.control.context import Control
from stillhouse.control.snapshots.requests import delete_snapshot, get_snapshot, list_snapshots, request_copy
from stillhouse.control.upkeep.rebuild_catalog import Rebuilt, write
from stillhouse.data_lock import lock_data_directory
from stillhouse.domain.cluster import ClusterStatus, Node, Role
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import DataDirectoryInUse, InvalidInput, SnapshotUnknown, StateForbids
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, create_or_open, read_kek, write_kek
from stillhouse.repository.objects import identity, roots
from stillhouse.storage.store import ObjectStore
from support.repositories.buckets import PROJECT, Bucket
from support.stores.crashing import Crashing, Killed

OTHER_PROJECT = "f" * 32


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "trees")


@pytest.fixture
def cluster() -> str:
    return new_uuid()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def rebuild(bucket: Bucket, data: Path, *projects: str, store: ObjectStore | None = None) -> Rebuilt:
    return rebuild_catalog(Settings(data=data), store or bucket.store, bucket.kek, projects)


@contextmanager
def control_of(data: Path) -> Iterator[Control]:
    """Requests over the data directory; flows are started for real, but none is carried out."""
    with open_control(Settings(data=data)) as control:
        control.flows.prepare()
        for name in ("restore_cluster", "delete_snapshot"):
            control.flows.register(name, lambda run, subject: None)
        yield control
        control.flows.shutdown(within_seconds=0)


def test_snapshots_come_back_as_they_were(bucket: Bucket, cluster: str, data: Path) -> None:
    first = bucket.snapshot(cluster, "first")
    root = bucket.snapshot(
        cluster, "later", type="AUTO", description="nightly", plain_bytes=7 << 40, stored_bytes=5
    )
    rebuild(bucket, data)
    with control_of(data) as control:
        assert [one.name for one in list_snapshots(control, PROJECT)] == ["later", "first"]
        found = get_snapshot(control, PROJECT, root["snapshot"])
        with pytest.raises(SnapshotUnknown):
            get_snapshot(control, OTHER_PROJECT, root["snapshot"])
    told = asdict(found)
    expected = {
        "id": root["snapshot"],
        "cluster_id": cluster,
        "cluster_name": "sales",
        "description": "nightly",
        "status": SnapshotStatus.AVAILABLE,
        "type": "AUTO",
        "plain_bytes": 7 << 40,
        "stored_bytes": 5,
        "db_user": "dbadmin",
        "backup_key": "20261120_080001",
        "progress": 100,
        "deleted": None,
    }
    assert {name: told[name] for name in expected} == expected
    assert found.started.isoformat() == root["started"] > first["started"]
    assert found.finished is not None and found.finished.isoformat() == root["finished"]


def test_no_server_is_pretended_to_run_and_yet_each_snapshot_can_be_restored(
    bucket: Bucket, cluster: str, data: Path
) -> None:
    root = bucket.snapshot(cluster, "first")
    rebuild(bucket, data)
    with control_of(data) as control:
        assert list_clusters(control, PROJECT) == []
        with control.database.reading() as reading:
            assert clusters.all_clusters(reading) == [], "a starting service looks after none"
            source = clusters.read_cluster(reading, cluster)
        assert (source.status, source.nodes) == (ClusterStatus.DELETED, ())
        restored = request_restore(control, PROJECT, root["snapshot"], RestoreRequest("sales"))
        with control.database.reading() as reading:
            made = clusters.read_cluster(reading, restored)
            operation = operations.active(reading, restored)
        assert operation is not None and operation.subject_id == root["snapshot"]
        assert (made.number_of_node, made.user_name, made.facts) == (1, "dbadmin", {"node_type": "any"})


def test_the_trash_comes_back_as_trash_and_what_is_buried_does_not(
    bucket: Bucket, cluster: str, data: Path
) -> None:
    kept, trashed = bucket.snapshot(cluster, "same-name"), bucket.snapshot(cluster, "other")
    keys = bucket.keys(cluster)
    roots.mark_trash(bucket.store, keys, trashed["snapshot"], "2026-11-21T10:00:00+00:00")
    roots.bury(bucket.store, keys, new_uuid(), 1, "failed", "now")
    made = rebuild(bucket, data)
    by_id = {snapshot.id: snapshot for snapshot in made.snapshots}
    assert set(by_id) == {kept["snapshot"], trashed["snapshot"]}
    deleted = by_id[trashed["snapshot"]].deleted
    assert deleted is not None and deleted.isoformat() == "2026-11-21T10:00:00+00:00"
    with control_of(data) as control:
        assert [one.id for one in list_snapshots(control, PROJECT)] == [kept["snapshot"]]
        delete_snapshot(control, PROJECT, kept["snapshot"])
        assert list_snapshots(control, PROJECT) == []


def test_what_cannot_be_read_is_told_and_hides_nothing(bucket: Bucket, cluster: str, data: Path) -> None:
    good = bucket.snapshot(cluster, "good")
    damaged, odd = bucket.snapshot(cluster, "damaged"), bucket.snapshot(cluster, "odd", started="?")
    bucket.store.put(layout.root(cluster, damaged["snapshot"]), [b"noise"])
    foreign = new_uuid()
    create_or_open(bucket.store, Kek(b"x" * 32), foreign)
    made = rebuild(bucket, data)
    assert [one.id for one in made.snapshots] == [good["snapshot"]]
    told = "\n".join(made.told)
    for name in (damaged["snapshot"], odd["snapshot"], foreign):
        assert name in told


def test_snapshots_of_one_name_are_all_kept(bucket: Bucket, cluster: str, data: Path) -> None:
    name = "n" * 64
    older, newer = bucket.snapshot(cluster, name), bucket.snapshot(cluster, name.upper())
    made = rebuild(bucket, data)
    names = {one.id: one.name for one in made.snapshots}
    assert names[newer["snapshot"]] == name.upper()
    assert names[older["snapshot"]] == f"{'n' * 55}-{older['snapshot'][:8]}"
    assert older["snapshot"] in made.told[0]


def test_only_the_projects_that_are_named_come_back(bucket: Bucket, data: Path) -> None:
    for project in (PROJECT, OTHER_PROJECT):
        bucket.snapshot(new_uuid(), "first", project=project)
    made = rebuild(bucket, data, OTHER_PROJECT)
    assert made.projects == [OTHER_PROJECT]
    assert [one.project for one in made.snapshots] == [OTHER_PROJECT]


def test_a_cluster_is_as_its_newest_snapshot_says_since_its_oldest(
    bucket: Bucket, cluster: str, data: Path
) -> None:
    oldest = bucket.snapshot(cluster, "first")
    bucket.snapshot(cluster, "later", port=8100)
    (made,) = rebuild(bucket, data).clusters
    assert (made.port, made.created.isoformat()) == (8100, oldest["started"])


def test_a_cluster_whose_servers_stand_here_comes_back_with_them(
    bucket: Bucket, cluster: str, data_root: Path
) -> None:
    """Only the catalog was lost: the next capture may build on the newest snapshot."""
    data = data_root / "standing"
    root = bucket.snapshot(cluster, "first")
    home = data / "clusters" / cluster
    nodes = [
        Node(
            stored["node_id"],
            stored["name"],
            Role(stored["role"]),
            stored["host"],
            8000,
            str(home / stored["name"]),
            str(data / "run" / stored["name"]),
            "as planned",
        )
        for stored in root["nodes"]
    ]
    for node in nodes:
        Path(node.directory, "pgdata").mkdir(parents=True)
    (home / "nodes.json").write_text(json.dumps([asdict(node) for node in nodes]))
    (made,) = rebuild(bucket, data).clusters
    assert made.status is ClusterStatus.AVAILABLE
    with control_of(data) as control:
        (listed,) = list_clusters(control, PROJECT)
    assert [node.lineage for node in listed.nodes] == [node["lineage"] for node in root["nodes"]]
    # One node is gone: then it is no cluster any more.
    Path(nodes[1].directory, "pgdata").rmdir()
    assert bootstrap._standing_nodes(Settings(data=data))(cluster) == ()


def test_the_directory_belongs_to_the_repository_and_its_key(
    bucket: Bucket, cluster: str, data: Path
) -> None:
    bucket.snapshot(cluster, "first")
    rebuild(bucket, data)
    assert (data / "repository.id").read_text() == identity.claim(bucket.store)
    assert read_kek(data / "kek") == bucket.kek
    assert (data / "kek").stat().st_mode & 0o777 == 0o600


def test_a_directory_of_another_repository_or_key_is_refused(
    bucket: Bucket, cluster: str, tmp_path: Path
) -> None:
    bucket.snapshot(cluster, "first")
    other_kek, other_id = tmp_path / "a", tmp_path / "b"
    for data in (other_kek, other_id):
        data.mkdir()
    write_kek(Kek(b"x" * 32), other_kek / "kek")
    (other_id / "repository.id").write_text("0" * 32)
    for data in (other_kek, other_id):
        with pytest.raises(InvalidInput, match="another"):
            rebuild(bucket, data)
        with control_of(data) as control:
            assert list_snapshots(control, PROJECT) == []


def test_a_catalog_in_use_is_refused(bucket: Bucket, cluster: str, data: Path) -> None:
    bucket.snapshot(cluster, "first")
    rebuild(bucket, data)
    bucket.snapshot(cluster, "one that this catalog does not know")
    with pytest.raises(InvalidInput, match="in use"):
        rebuild(bucket, data)
    with lock_data_directory(data), pytest.raises(DataDirectoryInUse):
        rebuild(bucket, data)


def test_an_access_key_that_was_made_before_does_no_harm(bucket: Bucket, cluster: str, data: Path) -> None:
    bucket.snapshot(cluster, "first")
    with open_control(Settings(data=data)) as control:
        create_access_key(control, PROJECT)
    assert len(rebuild(bucket, data).snapshots) == 1


@pytest.mark.long
def test_killed_anywhere_and_called_again_it_ends_the_same(
    bucket: Bucket, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.snapshot(cluster, "first")
    for at in count():
        data = tmp_path / f"data{at}"
        try:
            rebuild(bucket, data, store=Crashing(bucket.store, at, after=False))
        except Killed:
            pass
        else:
            break
        _check_whole(bucket, data)
    assert at > 4

    def dies(*arguments: Any, after: bool) -> None:
        if after:
            write(*arguments)
        raise Killed

    for after in (False, True):
        data = tmp_path / f"rows{after}"
        with monkeypatch.context() as patch:
            patch.setattr(bootstrap, "write", lambda *arguments, after=after: dies(*arguments, after=after))
            with pytest.raises(Killed):
                rebuild(bucket, data)
        assert (data / "kek").exists() and (data / "repository.id").exists(), "beside the rows, before them"
        _check_whole(bucket, data)


def _check_whole(bucket: Bucket, data: Path) -> None:
    for _ in range(2):
        assert len(rebuild(bucket, data).snapshots) == 1
    with control_of(data) as control:
        assert len(list_snapshots(control, PROJECT)) == 1
    assert read_kek(data / "kek") == bucket.kek


def test_a_copy_comes_back_as_the_copy_of_its_source(bucket: Bucket, cluster: str, data: Path) -> None:
    source = bucket.snapshot(cluster, "nightly", type="AUTO")
    copied = bucket.snapshot(cluster, "month-end", source, copied_from=source["snapshot"])
    rebuild(bucket, data)
    with control_of(data) as control:
        assert get_snapshot(control, PROJECT, copied["snapshot"]).copied_from == source["snapshot"]
        assert get_snapshot(control, PROJECT, source["snapshot"]).copied_from == ""
        with pytest.raises(StateForbids, match="has a copy already"):
            request_copy(control, PROJECT, source["snapshot"], name="another")
