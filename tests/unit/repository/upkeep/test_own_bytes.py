"""The bytes that snapshots reach and reach alone, against the figures of `repo stats`, which reads everything."""

from datetime import timedelta

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.repository.check.stats import figures
from stillhouse.repository.check.structure import check
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import create_or_open, open_keys
from stillhouse.repository.upkeep.collect import Collector
from stillhouse.repository.upkeep.own_bytes import measure
from stillhouse.storage.store import ObjectStore
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK
from support.repositories.history import History
from support.stores.counting import Counting
from support.stores.dict_store import START, DictStore
from support.stores.late_store import LateStore

DAY = timedelta(days=1)
CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"


def by_stats(store: ObjectStore, cluster: str) -> dict[str, tuple[int, int]]:
    found = check(store, KEK, cluster, workers=1, only_manifests=True)
    told = figures(found, now=START, max_age=DAY)
    return {row.snapshot: (row.stored, row.own) for row in told.snapshots}


def test_they_are_the_figures_of_repo_stats() -> None:
    made = aged_repository.make(7)
    for cluster in made.clusters:
        measured = measure(made.store, open_keys(made.store, KEK, cluster), START)
        assert measured == by_stats(made.store, cluster)
        assert any(own < reached for reached, own in measured.values())


def test_what_a_purge_leaves_to_one_snapshot_alone_becomes_its_own() -> None:
    store = DictStore()
    keys = create_or_open(store, KEK, CLUSTER)
    history = History(store, keys)
    (first, _), (second, _) = history.add(), history.add()
    before = measure(store, keys, START)
    assert before[first][1] < before[first][0]
    store.delete(layout.root(CLUSTER, first))
    after = measure(store, keys, START)
    assert after == {second: (before[second][0], before[second][0])}


def test_facts_of_collections_spare_reading_and_change_nothing() -> None:
    store = LateStore()
    keys = create_or_open(store, KEK, CLUSTER)
    history = History(store, keys).grow(80)
    Collector(store, keys, SystemClock(), Rules(grace=7 * DAY, trash=7 * DAY)).collect()
    history.add()
    counted = Counting(store)
    assert measure(counted, keys, store.now) == by_stats(store, CLUSTER)
    assert counted.calls["get"] + counted.calls["get_range"] < 20
