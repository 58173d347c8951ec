"""A repository that is exchanged under the running service is noticed before anything is written to it.

An unmounted disk shows an empty directory in its place, and a mistyped mount another repository of the same clusters.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from stillhouse.catalog import captures, operations, trash
from stillhouse.catalog.checks import findings as finding_rows
from stillhouse.control.clusters.flows import settle_mark
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext, snapshot_and_cluster
from stillhouse.control.snapshots import capture_node, copy, create, pinning
from stillhouse.control.snapshots.requests import (
    delete_snapshot,
    get_snapshot,
    request_copy,
    request_snapshot,
)
from stillhouse.control.snapshots.trash import undelete_snapshot
from stillhouse.control.upkeep import collect, findings
from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import Cut, RestorePoint, SnapshotStatus
from stillhouse.errors import StoreUnavailable
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.objects import identity, roots
from stillhouse.workers.jobs import Repository
from support.control.requests_bed import PROJECT, available_cluster, finish_snapshot, requests_bed
from support.repositories.tiny_captures import root_of, store_manifest, store_pack
from support.stores.dict_store import DictStore

KEK = Kek(bytes(32))
NODE = cast(Node, None)


@dataclass
class Bed:
    """A cluster with a snapshot, and a second snapshot that is being taken."""

    place: FlowContext
    store: DictStore
    cluster: str
    done: str
    taken: str = ""

    @property
    def control(self) -> Control:
        return self.place.control

    def begin(self) -> str:
        """Begin the second snapshot's first attempt, up to a cut without nodes."""
        self.taken = request_snapshot(self.control, PROJECT, name="next", cluster_id=self.cluster)
        with self.control.database.transaction() as transaction:
            captures.begin_attempt(transaction, self.taken, ["node"], self.control.clock.now())
            cut = Cut((RestorePoint("node", "name", 1, 1),), 0.0, 1)
            captures.save_cut(transaction, self.taken, 1, cut)
        return self.taken

    def pin(self) -> None:
        taken, cluster = snapshot_and_cluster(self.place, self.begin())
        pinning.pin_attempt(self.place, taken.id, cluster, 1)

    def delete(self) -> None:
        delete_snapshot(self.control, PROJECT, self.done)

    def copy(self) -> None:
        with self.control.database.transaction() as transaction:  # only automated snapshots are copied
            transaction.execute(text("UPDATE sh_snapshots SET type = 'AUTO'"))
        self.taken = request_copy(self.control, PROJECT, self.done, name="copy", description="")

    def exchange(self, *, empty: bool) -> None:
        if empty:
            self.store.objects.clear()
        self.store.put("repository", [b"f" * 32])


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with requests_bed("sqlite", tmp_path) as control:
        store = DictStore()
        vault = Vault(store, Repository("memory://", identity.claim(store), KEK))
        control = replace(control, vault=vault)
        place = FlowContext(control, cast(Any, None), vault, "0" * 8)
        cluster = available_cluster(control)
        done = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster)
        keys = create_or_open(store, KEK, cluster)
        roots.publish(store, keys, root_of(done, store_manifest(store, keys, [store_pack(store, keys)])), [])
        finish_snapshot(control, done)
        yield Bed(place, store, cluster, done)


def _pin(bed: Bed) -> None:
    _, cluster = snapshot_and_cluster(bed.place, bed.taken)
    pinning.pin_attempt(bed.place, bed.taken, cluster, 1)


def _offer(bed: Bed) -> None:
    _, cluster = snapshot_and_cluster(bed.place, bed.taken)
    node = cast(Node, type("Node", (), {"id": "node", "lineage": ""}))
    capture_node._offer(bed.place, cluster, node, bed.taken, 1, is_full=False)


def _fail(bed: Bed) -> None:
    with suppress(AttributeError):  # there are no nodes whose slots could be dropped
        create._fail(bed.place, bed.taken, "the attempt failed")
    assert get_snapshot(bed.control, PROJECT, bed.taken).status is not SnapshotStatus.AVAILABLE


def _fail_copy(bed: Bed) -> None:
    copy._fail(bed.place, bed.taken, "the copy failed")
    assert "the repository is not there" in get_snapshot(bed.control, PROJECT, bed.taken).reason


def _release(bed: Bed) -> None:
    bed.control.clock.sleep(10 * 86400)
    collect.start_due_collections(bed.place, bed.control.clock.now())
    with bed.control.database.reading() as reading:
        operation = operations.active(reading, bed.cluster)
    assert operation is not None
    collect._release(bed.place, operation.id)


def _nothing(bed: Bed) -> None:
    """No preparation is needed."""


# Each path's name, its preparation, the path, and whether it tells its caller by an error.
PATHS: dict[str, tuple[Callable[[Bed], Any], Callable[[Bed], Any], bool]] = {
    "an attempt is pinned": (Bed.begin, _pin, True),
    "a pin is renewed": (Bed.pin, lambda bed: pinning.beat(bed.place, bed.taken, bed.cluster, 1), False),
    "pins are removed": (Bed.pin, lambda bed: pinning.unpin(bed.place, bed.taken, bed.cluster), False),
    "a base is offered": (Bed.begin, _offer, True),
    "a snapshot is published": (Bed.begin, lambda bed: create._publish(bed.place, bed.taken, 1, []), True),
    "a snapshot has failed": (Bed.begin, _fail, False),
    "a snapshot is copied": (Bed.copy, lambda bed: copy._copy(bed.place, bed.taken, 0.0), True),
    "a copy has failed": (Bed.copy, _fail_copy, False),
    "a deletion is marked": (Bed.delete, lambda bed: settle_mark(bed.place, bed.done), True),
    "a mark is removed": (_nothing, lambda bed: settle_mark(bed.place, bed.done), True),
    "a snapshot is undeleted": (
        Bed.delete,
        lambda bed: undelete_snapshot(bed.control, PROJECT, bed.done),
        True,
    ),
    "a purge begins": (Bed.delete, _release, True),
    "findings are read": (_nothing, lambda bed: findings.refresh(bed.place, bed.cluster), True),
}


# These paths would make new keys in an empty place.
MAKE_KEYS = ("an attempt is pinned", "a base is offered", "a snapshot is published", "a snapshot has failed")


@pytest.mark.parametrize(
    ("path", "empty"), [*((path, False) for path in PATHS), *((path, True) for path in MAKE_KEYS)]
)
def test_another_repository_is_noticed_and_left_as_it_is(bed: Bed, path: str, *, empty: bool) -> None:
    prepare, act, is_raised = PATHS[path]
    prepare(bed)
    bed.exchange(empty=empty)
    before = dict(bed.store.objects)
    bed.store.gets.clear()
    if is_raised:
        with pytest.raises(StoreUnavailable, match="the repository is not there"):
            act(bed)
    else:
        act(bed)
    assert bed.store.objects == before
    assert "repository" in bed.store.gets
    with bed.control.database.reading() as reading:
        assert finding_rows.known(reading, bed.cluster) is None, (
            "nothing was learnt from the other repository"
        )
        assert not trash.released(reading, bed.cluster)
