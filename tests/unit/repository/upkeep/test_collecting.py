"""A collection on a store: what it needs to know it must understand, and what it removes it removes in order."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules, Verdict
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged, StoreUnavailable
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root, RootNode, Tombstone
from stillhouse.repository.objects import collection_marks, pins, roots
from stillhouse.repository.objects.pins import Pin, PinnedBase
from stillhouse.repository.upkeep import reach
from stillhouse.repository.upkeep.collect import Collector, is_empty, summary
from stillhouse.storage.store import StoredObject
from stillhouse.storage.store_clock import store_time
from support.control.requests_bed import HandClock
from support.repositories.tiny_captures import (
    Taken,
    attempt,
    publish_one,
    read_whole,
    store_manifest,
    store_pack,
)
from support.stores.late_store import Died, LateStore

pytest_plugins = ["support.repositories.keyed_store"]

DAY = timedelta(days=1)
RULES = Rules(grace=7 * DAY, trash=7 * DAY)


@pytest.fixture
def store() -> LateStore:
    return LateStore()


@pytest.fixture
def collector(store: LateStore, keys: ClusterKeys) -> Collector:
    return Collector(store, keys, SystemClock(), RULES)


def content(store: LateStore) -> list[str]:
    return [
        key for key in store.objects if any(f"/{folder}/" in key for folder in ("packs", "maps", "manifests"))
    ]


def a_pin(keys: ClusterKeys, started: datetime, work: str = pins.CAPTURE, *bases: sealed.Stored) -> Pin:
    snapshot = new_uuid()
    held = tuple(PinnedBase("cn", one) for one in bases)
    return Pin(pins.id_of(snapshot, 1), work, snapshot, 1, held, started)


def test_what_nothing_reaches_goes_at_the_second_mark(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    publish_one(store, keys)
    kept = set(store.objects)
    store_manifest(store, keys, [store_pack(store, keys)])
    first = collector.collect()
    assert (first.marked, first.deleted) == (3, 0)
    store.now += 7 * DAY - timedelta(seconds=1)
    assert collector.collect().marked == 3
    store.now += timedelta(seconds=1)
    drafted = summary(collector.draft()[1])
    done = collector.collect()
    assert (done.marked, done.kept) == (drafted.marked, drafted.kept) == (0, 5)
    assert set(content(store)) == {key for key in kept if key in content(store)}
    assert done.deleted == drafted.deleted == 3 + 1  # and the old mark
    assert collector.collect().deleted == 1
    assert set(store.objects) == kept


def test_only_one_mark_is_left(store: LateStore, keys: ClusterKeys, collector: Collector) -> None:
    store_pack(store, keys)
    for _ in range(3):
        collector.collect()
        (mark,) = [key for key in store.objects if "/marks/" in key]
        store.now += DAY
    ((name, since),) = collection_marks.read(store, keys, mark)
    assert name.startswith("packs/")
    assert since == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_purge_leaves_a_tombstone_and_no_mark(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    snapshot, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, snapshot, "now")
    store.now += 7 * DAY
    items = {item.key: item.verdict for item in collector.draft()[1]}
    assert items[f"roots/{snapshot}"] is Verdict.PURGE
    assert collector.collect().purged == [snapshot]
    held = roots.look(store, keys, snapshot)
    assert isinstance(held, Tombstone) and held.reason == "purged"
    assert not [key for key in store.objects if "/trash/" in key]
    assert content(store), "what it held is only marked"


def test_a_purge_reads_its_mark_again(store: LateStore, keys: ClusterKeys) -> None:
    snapshot, _ = publish_one(store, keys)
    assert not roots.purge(store, keys, snapshot, "now")
    assert roots.read(store, keys, snapshot) is not None


def test_what_was_brought_back_keeps_all_it_reaches_though_a_listing_still_shows_its_mark(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    snapshot, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, snapshot, "now")
    store.now += 8 * DAY
    store.lags = {"trash": 900 * DAY}
    roots.unmark_trash(store, str(keys.cluster), snapshot)
    done = collector.collect()
    assert (done.purged, done.marked, done.deleted) == ([], 0, 0)
    assert roots.read(store, keys, snapshot) is not None


def test_bases_and_young_objects_of_a_live_pin_stay(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    base = store_manifest(store, keys, [store_pack(store, keys)])
    store.now += DAY
    pin = a_pin(keys, store.now, pins.CAPTURE, base)
    pins.put(store, keys, pin, store.now)
    store_pack(store, keys)
    store.now += 20 * DAY
    pins.put(store, keys, pin, store.now)
    assert (collector.collect().marked, len(content(store))) == (0, 4)


def test_a_capture_that_nobody_goes_on_with_is_closed_before_its_objects_go(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    pin = a_pin(keys, store.now)
    pins.put(store, keys, pin, store.now)
    store_pack(store, keys)
    store.now += 8 * DAY
    assert (collector.collect().marked, content(store) != []) == (1, True)
    held = roots.look(store, keys, pin.snapshot)
    assert isinstance(held, Tombstone)
    assert pins.find(store, keys, pin.id) is None
    store.now += 8 * DAY
    collector.collect()
    assert content(store) == []


def test_a_zombie_that_may_still_win_finds_all_it_names(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    """It sleeps between its last check and the root; its snapshot's second attempt takes weeks."""
    taken = Taken()
    zombie = attempt(store, keys, taken, [], store_time(store, HandClock()), 1)
    for _ in range(5):
        next(zombie)
    store.now += DAY
    second = attempt(store, keys, taken, [], store_time(store, HandClock()), 1)
    next(second)
    for _ in range(4):
        store.now += 8 * DAY
        pin = pins.find(store, keys, pins.id_of(taken.id, 2))
        assert pin is not None
        pins.put(store, keys, pin, store.now)
        collector.collect()
    assert list(zombie) == [None]
    root = roots.read(store, keys, taken.id)
    assert root is not None
    read_whole(store, keys, root)


def spoil_root(store: LateStore, keys: ClusterKeys) -> str:
    snapshot, _ = publish_one(store, keys)
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, [store.get(key)[:-1]])
    return key


def root_of_a_newer_program(store: LateStore, keys: ClusterKeys) -> str:
    snapshot, _ = publish_one(store, keys)
    root = {"snapshot": snapshot, "nodes": [], "Encrypted": True}
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, sealed.seal(keys, Type.ROOT, snapshot, json.dumps(root).encode()))
    return key


def root_without_nodes(store: LateStore, keys: ClusterKeys) -> str:
    snapshot = new_uuid()
    key = layout.root(str(keys.cluster), snapshot)
    store.put(key, sealed.seal(keys, Type.ROOT, snapshot, json.dumps({"snapshot": snapshot}).encode()))
    return snapshot


def lost_manifest(store: LateStore, keys: ClusterKeys) -> str:
    _, stored = publish_one(store, keys)
    store.delete(layout.manifest(str(keys.cluster), stored.id))
    return stored.id


def manifest_of_a_newer_program(store: LateStore, keys: ClusterKeys) -> str:
    snapshot, manifest_id = new_uuid(), new_hex()
    lines = b'{"t":"node"}\n{"t":"Delta","id":"x"}\n{"t":"end"}\n'
    key = layout.manifest(str(keys.cluster), manifest_id)
    stored = sealed.create(store, key, manifest_id, sealed.seal(keys, Type.MANIFEST, manifest_id, lines))
    node = RootNode(name="cn", manifest=stored.id, size=stored.size, hash=stored.hash)
    roots.publish(store, keys, Root(snapshot=snapshot, nodes=(node,)), [])
    return key


def pin_of_a_newer_program(store: LateStore, keys: ClusterKeys) -> str:
    pin_id = new_hex()
    body = b'{"work":"capture","snapshot":"x","attempt":1,"bases":[],"started":"2026-01-01T00:00:00+00:00","Weak":1}'
    key = layout.pin(str(keys.cluster), pin_id)
    store.put(key, sealed.seal(keys, Type.PIN, pin_id, body))
    return key


def pin_without_zone(store: LateStore, keys: ClusterKeys) -> str:
    pin_id = new_hex()
    body = b'{"work":"capture","snapshot":"x","attempt":1,"bases":[],"started":"2026-01-01T00:00:00"}'
    key = layout.pin(str(keys.cluster), pin_id)
    store.put(key, sealed.seal(keys, Type.PIN, pin_id, body))
    return key


def pin_of_a_lost_base(store: LateStore, keys: ClusterKeys) -> str:
    stored = store_manifest(store, keys, [])
    pins.put(store, keys, a_pin(keys, store.now, pins.CAPTURE, stored), store.now)
    store.delete(layout.manifest(str(keys.cluster), stored.id))
    return stored.id


def newer_version(store: LateStore, keys: ClusterKeys) -> str:
    snapshot, _ = publish_one(store, keys)
    key = layout.root(str(keys.cluster), snapshot)
    stored = bytearray(store.get(key))
    stored[8] = stored[-120 + 8] = 2
    store.put(key, [stored])
    return key


def noise_for_a_mark(store: LateStore, keys: ClusterKeys) -> str:
    mark_id = new_hex()
    key = layout.mark(str(keys.cluster), mark_id)
    store.put(key, sealed.seal(keys, Type.MARK, mark_id, b'{"key":1,"since":null}\n'))
    return key


@pytest.mark.parametrize(
    "damage",
    [
        spoil_root,
        root_of_a_newer_program,
        root_without_nodes,
        lost_manifest,
        manifest_of_a_newer_program,
        pin_of_a_newer_program,
        pin_without_zone,
        pin_of_a_lost_base,
        newer_version,
        noise_for_a_mark,
    ],
)
def test_what_is_not_wholly_understood_stops_it_and_is_named(
    store: LateStore, keys: ClusterKeys, collector: Collector, damage: Callable[[LateStore, ClusterKeys], str]
) -> None:
    store_pack(store, keys)
    deleted, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, deleted, "now")
    collector.collect()
    store.now += 8 * DAY
    named = damage(store, keys)
    store.now += timedelta(minutes=30)
    before = dict(store.objects)
    for act in (collector.collect, lambda: list(collector.draft()[1])):
        with pytest.raises(RepositoryDamaged, match=named):
            act()
    assert store.objects == before


def test_names_of_another_form_are_left_alone(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    strange = [f"c/{keys.cluster}/{folder}/strange" for folder in ("packs", "pins", "marks", "roots", "new")]
    for key in strange:
        store.put(key, [b"?"])
    for _ in range(3):
        collector.collect()
        store.now += 8 * DAY
    assert all(store.get(key) == b"?" for key in strange)


def test_a_snapshot_that_the_catalog_calls_usable_must_have_its_root(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    lost = new_uuid()
    with pytest.raises(RepositoryDamaged, match=lost):
        replace(collector, known=frozenset({lost})).collect()


def test_the_catalog_tells_of_roots_that_no_listing_shows(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    store.lags = {"roots": 900 * DAY}
    snapshot, _ = publish_one(store, keys)
    assert replace(collector, known=frozenset({snapshot})).collect().marked == 0
    assert collector.collect().marked == 3


def test_what_appears_meanwhile_ends_it(store: LateStore, keys: ClusterKeys, collector: Collector) -> None:
    store_pack(store, keys)
    collector.collect()
    store.now += 8 * DAY

    def appear(done: int, total: int) -> None:
        pins.put(store, keys, a_pin(keys, store.now, "copy"), store.now)

    done = replace(collector, go_on=appear).collect()
    assert done.stopped_by.startswith("pins/")
    assert len(content(store)) == 1


def test_a_deleted_cluster_is_emptied_and_its_keys_go_last(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    collector = replace(collector, rules=replace(RULES, given_up=True))
    snapshot, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, snapshot, "now")
    gone = []
    for _ in range(3):
        store.now += 8 * DAY
        done = collector.collect()
        gone.append(done.keys_gone)
        assert done.keys_gone or any("/keys/" in key for key in store.objects)
    assert gone == [False, False, True]
    assert is_empty(store, str(keys.cluster))


def test_killed_at_the_end_of_a_cluster_it_leaves_nothing_without_keys(
    store: LateStore, keys: ClusterKeys, collector: Collector
) -> None:
    collector = replace(collector, rules=replace(RULES, given_up=True))
    snapshot, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, snapshot, "now")
    for _ in range(2):
        store.now += 8 * DAY
        collector.collect()
    calls = 0
    while list(store.list("c")):
        store.calls_left = calls = calls + 1
        with suppress(Died):
            collector.collect()
        store.calls_left = None
        folders = {key.split("/")[2] for key in store.objects if key.startswith("c/")}
        assert not folders or "keys" in folders


@pytest.mark.parametrize("calls", range(0, 60, 3))
def test_dead_after_any_call_it_begins_again(store: LateStore, keys: ClusterKeys, calls: int) -> None:
    collector = Collector(store, keys, SystemClock(), RULES)
    kept, _ = publish_one(store, keys)
    purged, _ = publish_one(store, keys)
    roots.mark_trash(store, keys, purged, "now")
    collector.collect()
    store.now += 8 * DAY
    store.calls_left = calls
    try:
        collector.collect()
    except Died:
        store.calls_left = None
    store.calls_left = None
    for _ in range(3):
        collector.collect()
        store.now += 8 * DAY
    root = roots.read(store, keys, kept)
    assert root is not None
    reached = {key for one in reach.manifests(root) for key, _ in reach.reached(store, keys, one)}
    assert set(content(store)) == reached


def test_the_time_is_the_stores(store: LateStore) -> None:
    assert store_time(store, HandClock()) == store.now
    assert store.objects == {}


def test_what_a_killed_one_stored_to_learn_the_time_is_removed(store: LateStore) -> None:
    store.calls_left = 1
    with pytest.raises(Died):
        store_time(store, HandClock())
    store.calls_left = None
    assert len(store.objects) == 1
    store.now += DAY * 1.1
    store_time(store, HandClock())
    assert store.objects == {}


def test_a_store_that_lists_too_late_is_not_collected() -> None:
    class Blind(LateStore):
        def list(self, prefix: str) -> Iterator[StoredObject]:
            return iter([])

    with pytest.raises(StoreUnavailable, match="does not list"):
        store_time(Blind(), HandClock())


def test_a_pin_is_read_back_as_it_was_put(store: LateStore, keys: ClusterKeys) -> None:
    pin = a_pin(keys, datetime(2026, 3, 1, tzinfo=UTC), pins.CAPTURE, sealed.Stored(new_hex(), 5, "00"))
    pins.put(store, keys, pin, store.now)
    first = store.get(layout.pin(str(keys.cluster), pin.id))
    pins.put(store, keys, pin, store.now)
    assert store.get(layout.pin(str(keys.cluster), pin.id)) != first, "another object key each time"
    assert pins.find(store, keys, pin.id) == pin
    pins.remove(store, str(keys.cluster), [pin.id, pin.id])
    assert pins.find(store, keys, pin.id) is None


def test_a_mark_of_many_objects_is_read_back(store: LateStore, keys: ClusterKeys) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    lines = [(f"packs/{number:032x}", moment if number % 2 else None) for number in range(30_000)]
    key = collection_marks.store_mark(store, keys, lines)
    assert list(collection_marks.read(store, keys, key)) == lines


def test_what_a_root_needs_is_its_manifests_maps_and_packs(store: LateStore, keys: ClusterKeys) -> None:
    _, base = publish_one(store, keys)
    snapshot, stored = publish_one(store, keys, [base])
    found = dict(reach.reached(store, keys, stored))
    assert {key.split("/")[2] for key in found} == {"packs", "maps", "manifests"}
    assert len(found) == 4
    assert all(store.size(key) == size for key, size in found.items())
    root = roots.read(store, keys, snapshot)
    assert root is not None and reach.manifests(root) == [stored]
