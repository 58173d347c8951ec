"""The scrub in the background: what is due, what is read, what is said of it; and what a snapshot says of its packs."""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from stillhouse.catalog import captures, clusters, snapshots
from stillhouse.catalog.checks import scrubs
from stillhouse.catalog.schema import tables
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots import create
from stillhouse.control.snapshots.requests import request_snapshot
from stillhouse.control.upkeep import scrub
from stillhouse.control.upkeep.findings import look_for_findings
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import Cut, RestorePoint
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import CaptureInterrupted
from stillhouse.repository.check.structure import check
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import create_or_open, open_keys
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.objects import findings, identity, roots
from stillhouse.repository.objects import scrubs as records
from stillhouse.repository.objects.faults import ALTERED, Fault
from stillhouse.storage.local import LocalStore
from stillhouse.workers.jobs import Repository
from support.control.requests_bed import PROJECT, available_cluster, enqueued, finish_snapshot, requests_bed
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK
from support.repositories.crafted_lines import Line
from support.stores.dict_store import DictStore

DAY = timedelta(days=1)


class Steps:
    """A flow's steps, done at once."""

    def step(self, name: str, act: Any, *given: Any) -> Any:
        return act(*given)

    surely = step


STEPS = cast("StepRunner", Steps())


@pytest.fixture
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(getattr(request, "param", "sqlite"), tmp_path) as bed:
        bed.flows.register("scrub_cluster", lambda run, subject: None)
        yield bed


def a_place(control: Control, store: Any, location: str = "memory://") -> FlowContext:
    repository = Repository(location, identity.claim(store), KEK)
    return FlowContext(control, cast("Any", None), Vault(store, repository), "0" * 8)


def with_snapshot(control: Control, name: str) -> str:
    cluster_id = available_cluster(control, name)
    finish_snapshot(control, request_snapshot(control, PROJECT, name=f"of-{name}", cluster_id=cluster_id))
    return cluster_id


def rows(control: Control) -> list[Any]:
    with control.database.reading() as reading:
        return list(reading.execute(select(tables.scrubs)).all())


@pytest.mark.parametrize("control", ["sqlite", "postgresql"], indirect=True)
def test_each_cluster_with_a_snapshot_is_read_when_it_is_due_and_once(control: Control) -> None:
    place = a_place(control, DictStore())
    available_cluster(control, "without")
    cluster_id = with_snapshot(control, "with")
    now = control.clock.now()
    assert scrub.start_due_scrubs(place, now) == [cluster_id]
    assert scrub.start_due_scrubs(place, now) == []
    assert [subject for flow, subject in enqueued(control) if flow == "scrub_cluster"] == [cluster_id]
    found: dict[str, Any] = {"packs": 3, "bytes": 1 << 40, "is_more": False, "damages": []}
    scrub._end(place, cluster_id, found)
    assert scrub.start_due_scrubs(place, now + timedelta(hours=5)) == []
    assert scrub.start_due_scrubs(place, now + timedelta(hours=7)) == [cluster_id]
    scrub._end(place, cluster_id, {**found, "is_more": True})
    assert scrub.start_due_scrubs(place, control.clock.now()) == [cluster_id]


def test_a_flow_that_has_vanished_does_not_end_scrubbing(control: Control) -> None:
    place, cluster_id = a_place(control, DictStore()), with_snapshot(control, "with")
    now = control.clock.now()
    assert scrub.start_due_scrubs(place, now) == [cluster_id]
    assert scrub.start_due_scrubs(place, now + timedelta(hours=25)) == [cluster_id]


def test_a_cluster_is_claimed_by_one(control: Control) -> None:
    cluster_id, now = with_snapshot(control, "with"), control.clock.now()
    with control.database.transaction() as transaction:
        assert scrubs.begin(transaction, cluster_id, now, now + DAY)
        assert not scrubs.begin(transaction, cluster_id, now, now + DAY)


def test_a_rate_of_0_switches_it_off(control: Control) -> None:
    with_snapshot(control, "with")
    place = a_place(control, DictStore())
    off = control.settings.model_copy(update={"scrub_rate_bytes": 0})
    object.__setattr__(control, "settings", off)
    assert scrub.start_due_scrubs(place, control.clock.now()) == [] == rows(control)


def test_a_store_that_does_not_answer_puts_it_off(control: Control, tmp_path: Path) -> None:
    place, cluster_id = (
        a_place(control, DictStore(), str(tmp_path / "nothing")),
        with_snapshot(control, "with"),
    )
    scrub.start_due_scrubs(place, control.clock.now())
    scrub.scrub_cluster(place, STEPS, cluster_id)
    (row,) = rows(control)
    assert row.ended is None and timedelta() < row.due - control.clock.now() < timedelta(hours=2)


def test_packs_are_read_in_a_process_and_damage_is_told(tmp_path: Path) -> None:
    """Real all the way: a repository on the disk, a worker process, the cluster's row."""
    aged = aged_repository.make(4)
    cluster_id = aged.clusters[0]
    packs = check(aged.store, KEK, cluster_id).packs
    bad = layout.pack(cluster_id, min(packs))
    for key, (content, written) in aged.store.objects.items():
        path = tmp_path / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:] if key == bad else content)
        os.utime(path, (written.timestamp(), written.timestamp()))
    with requests_bed("sqlite", tmp_path) as control:
        control.flows.register("scrub_cluster", lambda run, subject: None)
        object.__setattr__(
            control, "settings", control.settings.model_copy(update={"scrub_rate_bytes": 1 << 30})
        )
        made = with_snapshot(control, "with")
        with control.database.transaction() as transaction:
            for table, column in ((tables.snapshots, "cluster_id"), (tables.operations, "cluster_id")):
                transaction.execute(table.delete().where(table.c[column] == made))
            transaction.execute(tables.clusters.update().values(id=cluster_id))
        lost = request_snapshot(control, PROJECT, name="root-lost", cluster_id=cluster_id)
        finish_snapshot(control, lost)
        with control.database.transaction() as transaction:
            now = control.clock.now()
            assert scrubs.begin(transaction, cluster_id, now, now + DAY)
        place = a_place(control, aged.store, str(tmp_path / "objects"))
        scrub.scrub_cluster(place, STEPS, cluster_id)
        (row,) = rows(control)
        with control.database.reading() as reading:
            cluster = clusters.read_cluster(reading, cluster_id)
    assert row.packs == len(packs) and row.bytes == sum(pack.size for pack in packs.values())
    damage, no_root = row.damages
    assert no_root["key"] == layout.root(cluster_id, lost) and no_root["snapshots"] == [lost]
    assert damage["key"] == bad and set(damage["snapshots"]) <= set(aged.snapshots[cluster_id])
    assert row.ended is not None and cluster.failed_reason.startswith(
        "2 objects of the repository are damaged"
    )
    written_down = LocalStore(tmp_path / "objects", control.clock)
    read = records.read(written_down, open_keys(written_down, KEK, cluster_id))
    assert read.keys() == packs.keys() - {min(packs)}


def test_a_snapshot_says_how_many_of_its_packs_wait_too_long(tmp_path: Path) -> None:
    store = DictStore()
    with requests_bed("sqlite", tmp_path) as control:
        place = a_place(control, store)
        cluster_id = available_cluster(control)
        snapshot_id = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id)
        keys = create_or_open(store, KEK, cluster_id)
        store.now = control.clock.now() - 100 * DAY
        old, scrubbed, new = (f"{number:032x}" for number in range(3))
        for pack in (old, scrubbed):
            store.put(layout.pack(cluster_id, pack), [b"pack"])
        store.now = control.clock.now()
        store.put(layout.pack(cluster_id, new), [b"pack"])
        records.record(store, keys, [scrubbed], control.clock.now() - DAY)
        captured = _captured(place, cluster_id, [old, scrubbed, new])
        _at_its_cut(control, cluster_id, snapshot_id)
        create._publish(place, snapshot_id, 1, captured)
        root = roots.read(store, open_keys(store, KEK, cluster_id), snapshot_id)
        assert root is not None and root.scrub_overdue_packs == 1
        with control.database.reading() as reading:
            assert snapshots.read_snapshot(reading, snapshot_id).status == "AVAILABLE"


@pytest.mark.parametrize("how", ["known", "gone"])
def test_no_root_is_made_that_reaches_damage_and_the_next_attempt_knows_of_it(
    tmp_path: Path, how: str
) -> None:
    """The damage appears while the snapshot is being taken: a scrub finds it, or a disk loses it."""
    store = DictStore()
    with requests_bed("sqlite", tmp_path) as control:
        place = a_place(control, store)
        cluster_id = available_cluster(control)
        snapshot_id = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id)
        keys = create_or_open(store, KEK, cluster_id)
        pack = f"{1:032x}"
        key = layout.pack(cluster_id, pack)
        store.put(key, [b"pack"])
        captured = _captured(place, cluster_id, [pack])
        _at_its_cut(control, cluster_id, snapshot_id)
        if how == "known":
            findings.note(store, keys, [Fault(key, ALTERED, "does not open")], control.clock.now())
        else:
            store.delete(key)
        with pytest.raises(CaptureInterrupted, match=pack) as refused:
            create._publish(place, snapshot_id, 1, captured)
        assert refused.value.retryable and roots.look(store, keys, snapshot_id) is None
        assert findings.read(store, keys).keys == {key}


def test_a_root_that_was_published_stands_whatever_became_known_since(tmp_path: Path) -> None:
    """The service died before it could say so: the snapshot did succeed, and its losses are told."""
    store = DictStore()
    with requests_bed("sqlite", tmp_path) as control:
        place = a_place(control, store)
        cluster_id = available_cluster(control)
        snapshot_id = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id)
        keys = create_or_open(store, KEK, cluster_id)
        key = layout.pack(cluster_id, f"{1:032x}")
        store.put(key, [b"pack"])
        captured = _captured(place, cluster_id, [f"{1:032x}"])
        _at_its_cut(control, cluster_id, snapshot_id)
        create._publish(place, snapshot_id, 1, captured)
        published = roots.read(store, keys, snapshot_id)
        findings.note(store, keys, [Fault(key, ALTERED, "does not open")], control.clock.now())
        create._publish(place, snapshot_id, 1, captured)
        assert roots.read(store, keys, snapshot_id) == published


def test_a_scrub_that_is_switched_off_still_works_out_what_somebody_met(control: Control) -> None:
    store, cluster_id = DictStore(), with_snapshot(control, "with")
    off = control.settings.model_copy(update={"scrub_rate_bytes": 0})
    object.__setattr__(control, "settings", off)
    place = a_place(control, store)
    keys = create_or_open(store, KEK, cluster_id)
    assert look_for_findings(place, control.clock.now()) == [cluster_id]
    assert scrub.start_due_scrubs(place, control.clock.now()) == []
    key = layout.pack(cluster_id, f"{1:032x}")
    findings.note(store, keys, [Fault(key, ALTERED, "does not open")], control.clock.now())
    later = control.clock.now() + timedelta(hours=1)
    assert look_for_findings(place, later) == [cluster_id]
    assert look_for_findings(place, later + DAY) == [], "nothing new"
    assert scrub.start_due_scrubs(place, later) == [cluster_id]


def test_what_somebody_met_is_scrubbed_at_once(control: Control) -> None:
    store, cluster_id = DictStore(), with_snapshot(control, "with")
    place, now = a_place(control, store), control.clock.now()
    keys = create_or_open(store, KEK, cluster_id)
    assert scrub.start_due_scrubs(place, now) == [cluster_id]
    scrub._end(place, cluster_id, {"packs": 0, "bytes": 0, "is_more": False, "damages": []})
    assert scrub.start_due_scrubs(place, now + timedelta(minutes=5)) == []
    findings.note(store, keys, [Fault(layout.pack(cluster_id, f"{1:032x}"), ALTERED, "bad")], now)
    look_for_findings(place, now + timedelta(hours=1))
    assert scrub.start_due_scrubs(place, now + timedelta(minutes=5)) == [cluster_id]


def _at_its_cut(control: Control, cluster_id: str, snapshot_id: str) -> None:
    with control.database.transaction() as transaction:
        node = Node(new_uuid(), "cn", Role.CN, "127.0.0.1", 8000, "/nowhere", "/nowhere")
        clusters.save_nodes(transaction, cluster_id, [node])
        captures.begin_attempt(transaction, snapshot_id, [node.id], control.clock.now())
        point = RestorePoint(node.id, "cut", 1, 1)
        captures.save_cut(transaction, snapshot_id, 1, Cut((point,), 0.0, 1))


def _captured(place: FlowContext, cluster_id: str, packs: list[str]) -> list[dict[str, Any]]:
    keys = create_or_open(place.vault.store, KEK, cluster_id)
    head: list[Line] = [{"t": "node"}]
    head += [{"t": "pack", "id": pack, "size": 4, "index": 0, "hash": ""} for pack in packs]
    with closing(ManifestWriter()) as manifest:
        stored = manifest.store(place.vault.store, keys, head, lambda line: False)
    figures = (
        "plain_bytes",
        "stored_bytes",
        "wal_bytes",
        "rotten",
        "read_bytes",
        "packed_bytes",
        "pages_stored",
    )
    others = ("capacity", "files", "depth", "start_lsn", "whole_because", "base")
    told = {**dict.fromkeys(figures, 0), **dict.fromkeys(others), "lineage": "a" * 32}
    return [{"manifest": vars(stored), **told}]
