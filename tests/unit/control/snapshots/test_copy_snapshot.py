"""A copy is one root more over the same bytes; its source and it go without each other."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog import clusters, snapshots
from stillhouse.clock import SystemClock
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots.copy import copy_snapshot
from stillhouse.control.snapshots.requests import request_cancel, request_copy
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType
from stillhouse.durable.flows import StepRunner
from stillhouse.repository.format.cipher_keys import Kek, open_keys
from stillhouse.repository.objects import identity, roots
from stillhouse.storage.local import LocalStore
from stillhouse.workers.jobs import Repository
from support.control.automated_bed import PROJECT, automated_bed
from support.repositories import repository_reader

GOLDEN = Path(__file__).parents[3] / "golden" / "repository" / "v1" / "objects"
KEK = bytes(range(32))
CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"
SOURCE = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b001"


class AtOnce:
    """Carries out each step when it is asked for, without a record."""

    def step(self, _name: str, act: Callable[..., Any], *args: Any) -> Any:
        return act(*args)

    surely = step


@dataclass
class Bed:
    place: FlowContext
    objects: Path

    @property
    def control(self) -> Control:
        return self.place.control

    def request(self) -> str:
        return request_copy(self.control, PROJECT, SOURCE, name="month-end", description="kept")

    def run(self, copy_id: str) -> Snapshot:
        copy_snapshot(self.place, cast(StepRunner, AtOnce()), copy_id)
        return self.row(copy_id)

    def row(self, snapshot_id: str) -> Snapshot:
        with self.control.database.reading() as reading:
            return snapshots.read_snapshot(reading, snapshot_id)

    def keys(self) -> set[str]:
        return {str(path.relative_to(self.objects)) for path in self.objects.rglob("*") if path.is_file()}

    def contents(self, snapshot_id: str) -> dict[str, dict[str, bytes]]:
        """Every file of every node, by the reader that was made from the document alone."""
        reader = repository_reader.Repository(self.objects, KEK, CLUSTER)
        root = reader.root(snapshot_id)
        assert root is not None
        return {node["name"]: reader.node(node).files for node in root["nodes"]}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """The golden repository, and a catalog that knows its snapshot as an automated one."""
    shutil.copytree(GOLDEN, tmp_path / "objects")
    store = LocalStore(tmp_path / "objects", SystemClock())
    with automated_bed(tmp_path) as automated:
        control = automated.control
        now = control.clock.now()
        cluster = Cluster(
            CLUSTER, PROJECT, "sales", Engine.FDW, ClusterStatus.AVAILABLE, 2, 8000, "dbadmin", now, now
        )
        source = Snapshot(
            id=SOURCE,
            project=PROJECT,
            cluster_id=CLUSTER,
            cluster_name="sales",
            name="sales-auto-20261125180700",
            description="",
            status=SnapshotStatus.AVAILABLE,
            type=SnapshotType.AUTO,
            started=now,
            updated=now,
            finished=now,
            plain_bytes=1000,
            stored_bytes=100,
        )
        with control.database.transaction() as transaction:
            clusters.insert_cluster(transaction, cluster)
            snapshots.insert_snapshot(transaction, source)
        repository = Repository(str(tmp_path / "objects"), identity.claim(store), Kek(KEK))
        yield Bed(
            FlowContext(control, cast(Any, None), Vault(store, repository), "0" * 8), tmp_path / "objects"
        )


def test_nothing_but_its_root_is_written(bed: Bed) -> None:
    before = bed.keys()
    copy_id = bed.request()
    copy = bed.run(copy_id)
    assert bed.keys() - before == {f"c/{CLUSTER}/roots/{copy_id}"}
    assert (copy.status, copy.progress, copy.stored_bytes, copy.plain_bytes) == ("AVAILABLE", 100, 0, 1000)
    assert copy.finished == bed.row(SOURCE).finished


def test_its_root_is_its_sources_under_a_name_of_its_own(bed: Bed) -> None:
    copy_id = bed.request()
    bed.run(copy_id)
    keys = open_keys(bed.place.vault.store, Kek(KEK), CLUSTER)
    copied, source = (roots.read(bed.place.vault.store, keys, each) for each in (copy_id, SOURCE))
    assert copied is not None and source is not None
    assert copied == replace(
        source,
        snapshot=copy_id,
        name="month-end",
        description="kept",
        type="MANUAL",
        stored_bytes=0,
        copied_from=SOURCE,
    )


@pytest.mark.parametrize("gone", ["source", "copy"])
def test_either_reads_the_same_without_the_other(bed: Bed, gone: str) -> None:
    expected = bed.contents(SOURCE)
    copy_id = bed.request()
    bed.run(copy_id)
    assert bed.contents(copy_id) == expected
    ids = {"source": SOURCE, "copy": copy_id}
    (bed.objects / "c" / CLUSTER / "roots" / ids.pop(gone)).unlink()
    (left,) = ids.values()
    assert bed.contents(left) == expected


def test_a_flow_that_died_before_the_row_finds_its_root(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_id = bed.request()

    class Killed(BaseException):
        pass

    def die(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "mark_copied", die)
        with pytest.raises(Killed):
            bed.run(copy_id)
    assert bed.row(copy_id).status is SnapshotStatus.CREATING
    keys = bed.keys()
    assert bed.run(copy_id).status is SnapshotStatus.AVAILABLE
    assert bed.keys() == keys
    assert bed.run(copy_id).status is SnapshotStatus.AVAILABLE


def test_a_source_that_the_repository_lacks_fails_the_copy_with_the_reason(bed: Bed) -> None:
    (bed.objects / "c" / CLUSTER / "roots" / SOURCE).unlink()
    copy_id = bed.request()
    copy = bed.run(copy_id)
    assert (copy.status, copy.reason) == ("UNAVAILABLE", f"snapshot {SOURCE} is not in the repository")
    assert repository_reader.Repository(bed.objects, KEK, CLUSTER).root(copy_id) is None
    assert bed.run(copy_id).status is SnapshotStatus.UNAVAILABLE


@pytest.mark.parametrize("kind", ["packs", "maps", "manifests"])
def test_nothing_is_promised_for_bytes_that_are_gone(bed: Bed, kind: str) -> None:
    next((bed.objects / "c" / CLUSTER / kind).iterdir()).unlink()
    copy = bed.run(bed.request())
    assert copy.status is SnapshotStatus.UNAVAILABLE
    assert kind in copy.reason


def test_a_cancelled_copy_is_closed_by_a_tombstone(bed: Bed) -> None:
    copy_id = bed.request()
    request_cancel(bed.control, PROJECT, copy_id)
    copy = bed.run(copy_id)
    assert (copy.status, copy.reason) == (SnapshotStatus.UNAVAILABLE, "the copy was cancelled")
    assert repository_reader.Repository(bed.objects, KEK, CLUSTER).root(copy_id) is None


@pytest.mark.parametrize("left", ["other keys", "none"])
def test_a_copy_whose_keys_do_not_open_fails_with_the_reason(bed: Bed, left: str) -> None:
    """Nor can a tombstone be sealed then; the row says so all the same, and the flow comes to its end."""
    if left == "none":
        shutil.rmtree(bed.objects / "c" / CLUSTER / "keys")
    else:
        bed.place = replace(
            bed.place,
            vault=replace(
                bed.place.vault, repository=replace(bed.place.vault.repository, kek=Kek(bytes(range(1, 33))))
            ),
        )
    copy = bed.run(bed.request())
    assert copy.status is SnapshotStatus.UNAVAILABLE and "nor can the repository be told" in copy.reason
