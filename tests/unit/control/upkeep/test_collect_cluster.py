"""Collections as the control plane runs them: what is due, what gives way, what comes back from the trash."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from stillhouse.catalog import clusters, operations, snapshots, trash
from stillhouse.catalog.access import audit_log
from stillhouse.catalog.snapshots import find_snapshot
from stillhouse.clock import SystemClock
from stillhouse.control.clusters import flows as cluster_flows
from stillhouse.control.clusters.requests import delete_cluster, get_cluster, restart_cluster
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots.requests import delete_snapshot, list_snapshots, request_snapshot
from stillhouse.control.snapshots.trash import list_trash, undelete_snapshot
from stillhouse.control.upkeep import collect as collect_cluster
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.collection import Rules
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE, EMPTIED, FAILED, YIELDED
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import (
    ClusterBusy,
    ClusterUnknown,
    NameTaken,
    SnapshotUnknown,
    StateForbids,
)
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.root import Tombstone
from stillhouse.repository.objects import deletion_endings, identity, pins, roots
from stillhouse.repository.objects.deletion_endings import Ending
from stillhouse.repository.upkeep import reach
from stillhouse.repository.upkeep.collect import Collector
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore
from stillhouse.workers import process
from stillhouse.workers.jobs import Repository
from stillhouse.workers.process import Done
from support.control.requests_bed import (
    OTHER_PROJECT,
    PROJECT,
    HandClock,
    available_cluster,
    end_operation,
    enqueued,
    finish_snapshot,
    requests_bed,
)
from support.repositories.tiny_captures import root_of, store_manifest, store_pack

DAY = timedelta(days=1)


@dataclass
class Steps:
    """Runs a flow's steps, one after another, in this thread."""

    before: Callable[[str], None] = lambda name: None

    def step(self, name: str, fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self.before(name)
        return fn(*args, **named)

    surely = step


@dataclass
class Bed:
    place: FlowContext
    cluster: str

    @property
    def control(self) -> Control:
        return self.place.control

    @property
    def store(self) -> ObjectStore:
        return self.place.vault.store

    @property
    def clock(self) -> HandClock:
        return cast(HandClock, self.control.clock)

    @property
    def keys(self) -> ClusterKeys:
        return create_or_open(self.store, self.place.vault.repository.kek, self.cluster)

    def snapshot(self, name: str = "nightly") -> str:
        """Taken, with a root in the repository."""
        taken = request_snapshot(self.control, PROJECT, name=name, cluster_id=self.cluster)
        stored = store_manifest(self.store, self.keys, [store_pack(self.store, self.keys)])
        roots.publish(self.store, self.keys, root_of(taken, stored), [])
        finish_snapshot(self.control, taken)
        return taken

    def delete(self, snapshot: str) -> None:
        delete_snapshot(self.control, PROJECT, snapshot)
        cluster_flows.settle_mark(self.place, snapshot)

    def is_marked(self, snapshot: str) -> bool:
        return self.store.size(layout.trash(self.cluster, snapshot)) is not None

    def begin(self) -> str:
        (started,) = collect_cluster.start_due_collections(self.place, self.clock.now())
        assert started == self.cluster
        with self.control.database.reading() as reading:
            operation = operations.active(reading, self.cluster)
        assert operation is not None
        return operation.id

    def collect(self, before: Callable[[str], None] = lambda name: None) -> str:
        """Its outcome."""
        self.clock.time += DAY * 1.1
        operation = self.begin()
        collect_cluster.collect_cluster(self.place, cast(StepRunner, Steps(before)), operation)
        return self.outcome()

    def outcome(self) -> str:
        with self.control.database.reading() as reading:
            return operations.collections(reading)[self.cluster][1]

    def objects(self) -> set[str]:
        return {one.key.removeprefix(layout.all_of(self.cluster)) for one in self.store.list("c")}


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    """The job runs in this process: the store is the test's own, and its clock is ours to turn."""
    with requests_bed("sqlite", tmp_path) as control:
        location = str(tmp_path / "repository")
        store = open_store(location)
        repository = Repository(location, identity.claim(store), Kek(bytes(32)))
        control = replace(
            control,
            vault=Vault(store, repository),
            settings=control.settings.model_copy(update={"collect_grace_hours": 0}),
        )
        place = FlowContext(control, cast(Any, None), Vault(store, repository), "0" * 8)
        monkeypatch.setattr(process, "Worker", InThisProcess)
        yield Bed(place, available_cluster(control))


class InThisProcess:
    """In place of a worker process: the same job, at the first poll."""

    def __init__(self, work: Callable[[Any, Any], Any], task: Any) -> None:
        self._work, self._task = work, task

    def poll(self, seconds: float) -> Any:
        class Silent:
            def listen(self) -> None: ...
            def check(self) -> None: ...
            def tell(self, event: object) -> None: ...

        return Done(self._work(self._task, Silent()))

    def end(self) -> None: ...


def test_a_deleted_snapshot_is_purged_collected_and_forgotten(bed: Bed) -> None:
    kept, gone = bed.snapshot("kept"), bed.snapshot("gone")
    bed.delete(gone)
    assert bed.collect() == DONE
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [gone]
    assert roots.read(bed.store, bed.keys, gone) is not None, "its time is not over"
    bed.clock.time += 7 * DAY
    bed.collect()
    held = roots.look(bed.store, bed.keys, gone)
    assert isinstance(held, Tombstone)
    with bed.control.database.reading() as reading, pytest.raises(SnapshotUnknown):
        snapshots.read_snapshot(reading, gone)
    bed.collect()
    root = roots.read(bed.store, bed.keys, kept)
    assert root is not None
    reached = {key for one in reach.manifests(root) for key, _ in reach.reached(bed.store, bed.keys, one)}
    left = {f"c/{bed.cluster}/{key}" for key in bed.objects() if key.startswith(("packs", "maps", "manif"))}
    assert left == reached


def test_a_snapshot_comes_back_from_the_trash(bed: Bed) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    assert bed.is_marked(snapshot)
    undelete_snapshot(bed.control, PROJECT, snapshot)
    assert not bed.is_marked(snapshot)
    assert [one.id for one in list_snapshots(bed.control, PROJECT)] == [snapshot]
    assert list_trash(bed.control, PROJECT) == []
    flows = enqueued(bed.control)
    assert flows.count(("delete_snapshot", snapshot)) == 2, "once more: the deletion's own may be late"
    bed.clock.time += 30 * DAY
    bed.collect()
    assert roots.read(bed.store, bed.keys, snapshot) is not None


def test_the_late_flow_of_a_deletion_marks_nothing_that_came_back(bed: Bed) -> None:
    snapshot = bed.snapshot()
    delete_snapshot(bed.control, PROJECT, snapshot)
    undelete_snapshot(bed.control, PROJECT, snapshot)
    cluster_flows.settle_mark(bed.place, snapshot)
    assert not bed.is_marked(snapshot)


def test_a_mark_that_was_put_meanwhile_is_taken_away_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = bed.snapshot()
    delete_snapshot(bed.control, PROJECT, snapshot)
    mark = roots.mark_trash

    def come_back_first(*args: Any) -> None:
        undelete_snapshot(bed.control, PROJECT, snapshot)
        mark(*args)

    monkeypatch.setattr(roots, "mark_trash", come_back_first)
    cluster_flows.settle_mark(bed.place, snapshot)
    assert not bed.is_marked(snapshot)


def test_a_death_within_an_undeletion_leaves_the_snapshot_in_the_trash(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    with monkeypatch.context() as broken:
        broken.setattr(trash, "undelete", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            undelete_snapshot(bed.control, PROJECT, snapshot)
    assert not bed.is_marked(snapshot)
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [snapshot]
    died = bed.clock.now()
    bed.collect()
    assert bed.is_marked(snapshot), "a collection makes the two agree again"
    (until,) = [one.until for one in list_trash(bed.control, PROJECT)]
    assert until >= died + 8 * DAY, "its deletion begins anew"
    bed.clock.time += 7 * DAY
    bed.collect()
    assert roots.read(bed.store, bed.keys, snapshot) is None
    assert list_trash(bed.control, PROJECT) == []


def test_a_death_between_the_endings_of_an_undeletion_lets_its_deletion_begin_anew(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark bears another time than the row where another program put it, or the catalog was rebuilt."""
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    roots.mark_trash(bed.store, bed.keys, snapshot, "2026-01-01T00:00:00+00:00")
    with monkeypatch.context() as broken:
        end = deletion_endings.end

        def end_and_die(*args: Any) -> Ending:
            end(*args)
            raise ZeroDivisionError

        broken.setattr(deletion_endings, "end", end_and_die)
        with pytest.raises(ZeroDivisionError):
            undelete_snapshot(bed.control, PROJECT, snapshot)
    bed.clock.time += 7 * DAY
    bed.collect()
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [snapshot]
    bed.clock.time += 7 * DAY
    bed.collect()
    assert roots.read(bed.store, bed.keys, snapshot) is None
    assert list_trash(bed.control, PROJECT) == []


def collect_without_catalog(bed: Bed) -> list[str]:
    """As `stillhouse repo collect` does, after all that was put has lain there for longer than it may."""
    rules = Rules(grace=timedelta(0), trash=timedelta(0))
    return Collector(bed.store, bed.keys, SystemClock(), rules).collect().purged


def test_an_undelete_beside_a_collection_without_the_catalog_keeps_its_word(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    end = deletion_endings.end

    def come_back_first(*args: Any) -> Ending:
        monkeypatch.setattr(deletion_endings, "end", end)
        undelete_snapshot(bed.control, PROJECT, snapshot)
        return end(*args)

    monkeypatch.setattr(deletion_endings, "end", come_back_first)
    assert collect_without_catalog(bed) == []
    assert collect_without_catalog(bed) == []
    assert [one.id for one in list_snapshots(bed.control, PROJECT)] == [snapshot]
    assert roots.read(bed.store, bed.keys, snapshot) is not None


def test_an_undelete_that_a_collection_without_the_catalog_forestalls_is_refused(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    end = deletion_endings.end

    def purge_first(*args: Any) -> Ending:
        monkeypatch.setattr(deletion_endings, "end", end)
        assert collect_without_catalog(bed) == [snapshot]
        return end(*args)

    monkeypatch.setattr(deletion_endings, "end", purge_first)
    with pytest.raises(StateForbids, match="being purged"):
        undelete_snapshot(bed.control, PROJECT, snapshot)
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [snapshot]


def test_a_mark_that_a_killed_service_put_late_purges_nothing(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bed.snapshot()
    delete_snapshot(bed.control, PROJECT, snapshot)
    mark = roots.mark_trash

    def come_back_first_and_die(*args: Any) -> None:
        undelete_snapshot(bed.control, PROJECT, snapshot)
        mark(*args)
        raise ZeroDivisionError

    monkeypatch.setattr(roots, "mark_trash", come_back_first_and_die)
    with pytest.raises(ZeroDivisionError):
        cluster_flows.settle_mark(bed.place, snapshot)
    assert bed.is_marked(snapshot)
    assert collect_without_catalog(bed) == []
    assert roots.read(bed.store, bed.keys, snapshot) is not None


def test_a_deletion_that_began_anew_meanwhile_is_not_undone_by_the_word_of_the_first(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    bring_back = roots.bring_back

    def collect_then(*args: Any) -> bool:
        done = bring_back(*args)
        bed.collect()
        return done

    monkeypatch.setattr(roots, "bring_back", collect_then)
    with pytest.raises(StateForbids, match="meanwhile"):
        undelete_snapshot(bed.control, PROJECT, snapshot)
    monkeypatch.setattr(roots, "bring_back", bring_back)
    undelete_snapshot(bed.control, PROJECT, snapshot)
    assert collect_without_catalog(bed) == []
    assert [one.id for one in list_snapshots(bed.control, PROJECT)] == [snapshot]


def test_a_mark_follows_the_row_to_its_next_deletion(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = bed.snapshot()
    delete_snapshot(bed.control, PROJECT, snapshot)
    mark = roots.mark_trash

    def come_back_and_go_again_first(*args: Any) -> None:
        monkeypatch.setattr(roots, "mark_trash", mark)
        undelete_snapshot(bed.control, PROJECT, snapshot)
        bed.clock.time += DAY
        delete_snapshot(bed.control, PROJECT, snapshot)
        mark(*args)

    monkeypatch.setattr(roots, "mark_trash", come_back_and_go_again_first)
    cluster_flows.settle_mark(bed.place, snapshot)
    (trashed,) = [one.snapshot for one in list_trash(bed.control, PROJECT)]
    assert trashed.deleted is not None
    assert roots.trashed_since(bed.store, bed.keys, snapshot) == trashed.deleted.isoformat()


def refusals(bed: Bed) -> list[str]:
    with bed.control.database.reading() as reading:
        found = audit_log.list_records(reading, PROJECT)
    return [one.outcome for one in found if one.action == "UndeleteSnapshot"]


def test_a_name_that_is_taken_by_now_keeps_a_snapshot_in_the_trash(bed: Bed) -> None:
    first = bed.snapshot("nightly")
    bed.delete(first)
    bed.snapshot("Nightly")
    with pytest.raises(NameTaken):
        undelete_snapshot(bed.control, PROJECT, first)
    assert refusals(bed) == [NameTaken.code]
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [first]


def test_what_is_being_purged_does_not_come_back(bed: Bed) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    with bed.control.database.transaction() as transaction:
        now = bed.clock.now()
        trash.release(transaction, bed.cluster, now, now)
    with pytest.raises(SnapshotUnknown):
        undelete_snapshot(bed.control, PROJECT, snapshot)
    assert bed.is_marked(snapshot)
    assert refusals(bed) == [SnapshotUnknown.code]


def test_what_is_shredded_does_not_come_back(bed: Bed) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    for one in list(bed.store.list(layout.keys_of(bed.cluster))):
        bed.store.delete(one.key)
    with pytest.raises(StateForbids, match="keys"):
        undelete_snapshot(bed.control, PROJECT, snapshot)


def test_what_is_not_deleted_or_another_project_s_does_not_come_back(bed: Bed) -> None:
    snapshot = bed.snapshot()
    with pytest.raises(StateForbids):
        undelete_snapshot(bed.control, PROJECT, snapshot)
    bed.delete(snapshot)
    with pytest.raises(SnapshotUnknown):
        undelete_snapshot(bed.control, OTHER_PROJECT, snapshot)
    assert list_trash(bed.control, OTHER_PROJECT) == []


def test_a_purge_that_finds_no_mark_is_taken_back(bed: Bed) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    bed.clock.time += 8 * DAY

    def lose_the_mark(step: str) -> None:
        if step == "collect":
            roots.unmark_trash(bed.store, bed.cluster, snapshot)

    bed.collect(lose_the_mark)
    assert roots.read(bed.store, bed.keys, snapshot) is not None
    assert [one.snapshot.id for one in list_trash(bed.control, PROJECT)] == [snapshot]


def test_a_snapshot_being_restored_is_not_purged(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = bed.snapshot()
    bed.delete(snapshot)
    bed.clock.time += 8 * DAY
    found = trash.trash_of
    monkeypatch.setattr(
        trash, "trash_of", lambda *args: [replace(one, restoring=True) for one in found(*args)]
    )
    bed.collect()
    assert roots.read(bed.store, bed.keys, snapshot) is not None


def test_a_deleted_cluster_is_collected_to_the_last_key_and_then_left_alone(bed: Bed) -> None:
    bed.snapshot()
    delete_cluster(bed.control, PROJECT, bed.cluster, keep_last_manual=0)
    cluster_flows._trash_snapshots(bed.place, bed.cluster)
    end_operation(bed.control, bed.cluster, ClusterStatus.DELETED)
    bed.clock.time += 7 * DAY
    outcomes = [bed.collect() for _ in range(3)]
    assert outcomes == [DONE, DONE, EMPTIED]
    assert bed.objects() == set()
    bed.clock.time += 30 * DAY
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now()) == []


def test_a_kept_snapshot_of_a_deleted_cluster_keeps_its_keys(bed: Bed) -> None:
    kept = bed.snapshot()
    delete_cluster(bed.control, PROJECT, bed.cluster, keep_last_manual=1)
    cluster_flows._trash_snapshots(bed.place, bed.cluster)
    end_operation(bed.control, bed.cluster, ClusterStatus.DELETED)
    before = bed.objects()
    assert [bed.collect() for _ in range(3)] == [DONE] * 3
    assert bed.objects() == before
    bed.delete(kept)
    undelete_snapshot(bed.control, PROJECT, kept)
    with bed.control.database.reading() as reading:
        assert find_snapshot(reading, PROJECT, kept) is not None


def test_a_collection_is_no_task_that_anybody_sees(bed: Bed) -> None:
    bed.snapshot()
    bed.begin()
    assert get_cluster(bed.control, PROJECT, bed.cluster).task is None


@pytest.mark.parametrize(
    "request_",
    [
        lambda bed: request_snapshot(bed.control, PROJECT, name="another", cluster_id=bed.cluster),
        lambda bed: restart_cluster(bed.control, PROJECT, bed.cluster),
        lambda bed: delete_cluster(bed.control, PROJECT, bed.cluster, 0),
    ],
)
def test_a_collection_gives_way_to_any_request(bed: Bed, request_: Callable[[Bed], object]) -> None:
    bed.snapshot()
    operation = bed.begin()
    request_(bed)
    assert bed.outcome() == YIELDED
    with bed.control.database.reading() as reading:
        assert not operations.is_active(reading, operation)
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now()) == [], "the cluster is held"


def test_a_collection_that_gave_way_ends_without_a_word(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.snapshot()
    ended = threading.Event()

    class Slow(InThisProcess):
        def poll(self, seconds: float) -> Any:
            restart_cluster(bed.control, PROJECT, bed.cluster)

        def end(self) -> None:
            ended.set()

    monkeypatch.setattr(process, "Worker", Slow)
    assert bed.collect() == YIELDED
    assert ended.is_set()
    end_operation(bed.control, bed.cluster, ClusterStatus.AVAILABLE)
    assert bed.begin(), "it is due again at once"


def test_two_collections_of_a_cluster_exclude_each_other(bed: Bed) -> None:
    bed.snapshot()
    bed.begin()
    with pytest.raises(ClusterBusy):
        collect_cluster.request_collection(bed.control, PROJECT, bed.cluster)


def test_a_person_may_ask_for_one(bed: Bed) -> None:
    collect_cluster.request_collection(bed.control, PROJECT, bed.cluster)
    assert "collect_cluster" in dict(enqueued(bed.control))
    with pytest.raises(ClusterUnknown):
        collect_cluster.request_collection(bed.control, OTHER_PROJECT, bed.cluster)


def test_a_draft_touches_nothing_and_tells_what_would_be(bed: Bed) -> None:
    gone = bed.snapshot()
    bed.delete(gone)
    bed.clock.time += 8 * DAY
    before = bed.objects()
    would = collect_cluster.draft_collection(bed.control, PROJECT, bed.cluster)
    assert (would.purged, would.marked, would.keys_gone) == ([gone], 3, False)
    assert bed.objects() == before


def test_a_cluster_is_collected_once_in_the_time_set(bed: Bed) -> None:
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now()) == [], "nothing of it is stored"
    bed.snapshot()
    bed.collect()
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now() + DAY * 0.9) == []
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now() + DAY * 1.1) == [bed.cluster]
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now() + DAY * 1.2) == []


def test_only_a_few_clusters_are_collected_at_once_the_longest_waiting_first(bed: Bed) -> None:
    made = [bed.cluster, *(available_cluster(bed.control, f"more-{number}") for number in range(3))]
    for cluster in made:
        request_snapshot(bed.control, PROJECT, name=f"of-{cluster[:8]}", cluster_id=cluster)
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now()) == [], "all are being captured"
    for cluster in made:
        end_operation(bed.control, cluster, ClusterStatus.AVAILABLE)
    first = collect_cluster.start_due_collections(bed.place, bed.clock.now())
    assert len(first) == 2
    assert collect_cluster.start_due_collections(bed.place, bed.clock.now()) == []
    with bed.control.database.transaction() as transaction:
        for cluster in first:
            operation = operations.active(transaction, cluster)
            assert operation is not None
            operations.end(transaction, operation.id, bed.clock.now(), DONE)
    assert set(collect_cluster.start_due_collections(bed.place, bed.clock.now())) == set(made) - set(first)


def test_a_root_that_is_gone_fails_the_collection_and_is_recorded(bed: Bed) -> None:
    lost = bed.snapshot()
    bed.store.delete(layout.root(bed.cluster, lost))
    before = bed.objects()
    assert bed.collect() == FAILED
    assert bed.objects() == before
    with bed.control.database.reading() as reading:
        record = audit_log.list_records(reading, PROJECT, limit=1)[0]
        assert clusters.read_cluster(reading, bed.cluster).failed_reason == ""
    assert (record.action, record.outcome) == ("CollectCluster", "failed")
    assert lost in record.detail


def test_a_failed_snapshot_leaves_the_trash_too(bed: Bed) -> None:
    failed = request_snapshot(bed.control, PROJECT, name="failed", cluster_id=bed.cluster)
    with bed.control.database.transaction() as transaction:
        snapshots.mark_unavailable(transaction, failed, bed.clock.now(), Failure("", "why not"))
    bed.delete(failed)
    (item,) = list_trash(bed.control, PROJECT)
    assert not item.can_come_back
    with pytest.raises(StateForbids):
        undelete_snapshot(bed.control, PROJECT, failed)
    bed.clock.time += 8 * DAY
    bed.collect()
    assert list_trash(bed.control, PROJECT) == []
    with bed.control.database.reading() as reading, pytest.raises(SnapshotUnknown):
        snapshots.read_snapshot(reading, failed)


def test_pins_of_earlier_attempts_hand_over(bed: Bed) -> None:
    from stillhouse.catalog import captures
    from stillhouse.control.snapshots import pinning

    base = bed.snapshot("base")
    taken = request_snapshot(bed.control, PROJECT, name="next", cluster_id=bed.cluster)
    cluster = get_cluster(bed.control, PROJECT, bed.cluster)
    started = []
    for number in (1, 2):
        with bed.control.database.transaction() as transaction:
            captures.begin_attempt(transaction, taken, [], bed.clock.now())
        pinning.pin_attempt(bed.place, taken, cluster, number)
        pin = pins.find(bed.store, bed.keys, pins.id_of(taken, number))
        assert pin is not None
        started.append(pin.started)
        root = roots.read(bed.store, bed.keys, base)
        assert root is not None
        assert [one.manifest for one in pin.bases] == reach.manifests(root)
        assert pinning.is_pinned(bed.place, bed.keys, taken, number, pin.bases[0].manifest.id)
        assert not pinning.is_pinned(bed.place, bed.keys, taken, number, "0" * 32)
        assert sum(key.startswith("pins/") for key in bed.objects()) == 1
    assert started[0] == started[1], "what the first attempt stored is pinned as well"
    pinning.beat(bed.place, taken, bed.cluster, 2)
    pinning.unpin(bed.place, taken, bed.cluster)
    assert not [key for key in bed.objects() if key.startswith("pins/")]
    pinning.beat(bed.place, taken, bed.cluster, 2)
    assert not [key for key in bed.objects() if key.startswith("pins/")], "no pin comes back"
