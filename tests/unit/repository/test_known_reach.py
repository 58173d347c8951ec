"""Collections go by facts that earlier ones have stored: never by one that is stale, damaged or a stranger's."""

from collections import Counter
from copy import deepcopy
from datetime import timedelta
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import MOST, Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.check.record import conclude
from stillhouse.repository.check.structure import check
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.id_table import IdTable, expand, ids_of, runs_of
from stillhouse.repository.objects import findings, reach_facts, roots
from stillhouse.repository.objects.reach_facts import Facts
from stillhouse.repository.upkeep import known_reach, reach
from stillhouse.repository.upkeep.collect import Collector
from support.repositories.history import History
from support.repositories.tiny_captures import root_of
from support.stores.counting import Counting
from support.stores.late_store import Died, LateStore

pytest_plugins = ["support.repositories.keyed_store"]

DAY = timedelta(days=1)
KEK = Kek(bytes(32))
RULES = Rules(grace=7 * DAY, trash=7 * DAY)


@pytest.fixture
def store() -> LateStore:
    return LateStore()


@pytest.fixture(autouse=True)
def _each_fact_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_reach, "WORTH", 1)


def collected(store: LateStore, keys: ClusterKeys, *, whole: bool = False) -> Counter[str]:
    """The requests of one collection."""
    counted = Counting(store)
    Collector(counted, keys, SystemClock(), RULES, whole=whole).collect()
    return counted.calls


def collected_by_another(store: LateStore, keys: ClusterKeys) -> None:
    Collector(store, keys, SystemClock(), RULES).collect()


def segments(store: LateStore) -> list[str]:
    return sorted(key for key in store.objects if "/reach/" in key)


def content(store: LateStore) -> set[str]:
    return {key for key in store.objects if any(f"/{one}/" in key for one in ("packs", "maps", "manifests"))}


def weeks_pass(store: LateStore, keys: ClusterKeys) -> None:
    for _ in range(3):
        store.now += 8 * DAY
        Collector(store, keys, SystemClock(), RULES).collect()


# -- requests ----------------------------------------------------------------------------------------------------------


def test_a_collection_costs_the_same_after_a_long_history(store: LateStore, keys: ClusterKeys) -> None:
    history = History(store, keys).grow(32)
    collected(store, keys)
    history.add()
    few = collected(store, keys)
    history.grow(300)
    collected(store, keys)
    history.add()
    many = collected(store, keys)
    assert many.total() - many["further pages"] <= few.total() + 2, (few, many)
    assert many["get"] <= 6, "segments, the new root and its manifest"


def test_years_of_daily_collections_leave_few_segments(store: LateStore, keys: ClusterKeys) -> None:
    history = History(store, keys)
    most = 0
    for _ in range(60):
        history.add()
        store.now += DAY
        most = max(most, collected(store, keys)["get"])
        assert len(segments(store)) <= 6
    assert set(content(store)) and most <= 60 * 2 + 10


# -- trust -------------------------------------------------------------------------------------------------------------


def test_a_root_that_was_replaced_is_read_again(store: LateStore, keys: ClusterKeys) -> None:
    """A stale fact would let the collector delete all that the new root needs."""
    history = History(store, keys)
    snapshot, _ = history.add()
    collected(store, keys)
    history.published.clear()
    store.now += timedelta(seconds=1)
    _, other, _ = history.prepare()
    body = roots._encode(root_of(snapshot, other).to_json())
    store.put(layout.root(str(keys.cluster), snapshot), sealed.seal(keys, Type.ROOT, snapshot, body))
    needed = {key for key in content(store) if key.endswith(other.id)}
    weeks_pass(store, keys)
    assert needed and needed <= content(store)
    assert len(content(store)) == 5, "those of the old root are gone"


def test_what_a_tombstone_has_replaced_goes(store: LateStore, keys: ClusterKeys) -> None:
    history = History(store, keys)
    snapshot, _ = history.add()
    collected(store, keys)
    roots.mark_trash(store, keys, snapshot, store.now.isoformat())
    weeks_pass(store, keys)
    weeks_pass(store, keys)
    assert content(store) == set()


@pytest.mark.parametrize("how", ["lost", "cut", "altered", "a stranger's", "of another kind"])
def test_a_segment_that_does_not_open_is_no_fact(store: LateStore, keys: ClusterKeys, how: str) -> None:
    History(store, keys).grow(8)
    collected(store, keys)
    (key,) = segments(store)
    before, kept = store.objects[key], content(store)
    stranger = create_or_open(LateStore(), KEK, str(keys.cluster))
    segment = key.rpartition("/")[2]
    harmed = {
        "cut": before[:-1],
        "altered": before[:200] + bytes(1) + before[201:],
        "a stranger's": b"".join(sealed.seal(stranger, Type.REACH, segment, b"x")),
        "of another kind": b"".join(sealed.seal(keys, Type.MARK, segment, b"x")),
    }
    store.delete(key)
    if how in harmed:
        store.put(key, [harmed[how]])
    assert collected(store, keys)["get"] >= 8, "all roots were read"
    assert segments(store) != [key], "what does not open is of no use"
    weeks_pass(store, keys)
    assert content(store) == kept


def test_a_damaged_segment_is_known_and_costs_nothing_until_a_collection_has_replaced_it(
    store: LateStore, keys: ClusterKeys
) -> None:
    history = History(store, keys).grow(8)
    collected(store, keys)
    (key,) = segments(store)
    store.put(key, [store.objects[key][:-200] + bytes(200)])
    found = check(store, KEK, str(keys.cluster), only_manifests=True)
    (damage,) = conclude(found, store.now)
    assert damage.key == key and not damage.touches
    _, stored, root = history.prepare()
    assert roots.publish(store, keys, root, reach.reached(store, keys, stored)), "nothing builds on a cache"
    collected(store, keys)
    assert findings.read(store, keys).keys == {key}, "until it is seen to be gone"
    collected(store, keys)
    assert not findings.read(store, keys).keys and key not in segments(store)


def test_a_segment_of_a_newer_program_stays(
    store: LateStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    History(store, keys).grow(8)
    with monkeypatch.context() as newer:
        lines = reach_facts._lines_of
        newer.setattr(reach_facts, "_lines_of", lambda facts: [next(iter(lines(facts))), {"t": "Later"}])
        collected(store, keys)
    (key,) = segments(store)
    collected(store, keys)
    assert key in segments(store) and len(segments(store)) == 2


def test_facts_are_split_until_they_fit(
    store: LateStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    History(store, keys).grow(60)
    monkeypatch.setitem(MOST, Type.REACH, 6000)
    collected(store, keys)
    stored = segments(store)
    assert len(stored) > 6
    assert collected(store, keys)["get"] == len(stored), "all facts were stored"
    assert segments(store) == stored, "they are not joined again and again"


def test_a_root_of_more_manifests_than_a_line_holds_is_read_each_time(
    store: LateStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach_facts, "_MANIFESTS", 0)
    History(store, keys).grow(4)
    collected(store, keys)
    assert collected(store, keys)["get"] == len(segments(store)) + 2, (
        "two roots, and no tombstone or manifest"
    )


def test_a_manifest_that_is_gone_stops_a_collection_though_it_was_read_before(
    store: LateStore, keys: ClusterKeys
) -> None:
    history = History(store, keys).grow(3)
    collected(store, keys)
    gone = layout.manifest(str(keys.cluster), history.published[0][1].id)
    store.delete(gone)
    with pytest.raises(RepositoryDamaged, match=gone):
        collected(store, keys)


@pytest.mark.long
@pytest.mark.parametrize("dies", [True, False])
def test_a_collection_may_die_or_meet_another_between_any_two_calls(
    store: LateStore, keys: ClusterKeys, dies: bool
) -> None:
    """Its segments are stored before those that they join are removed, and each fact is true wherever it comes from."""
    history = History(store, keys).grow(6)
    collected(store, keys)
    needed = content(store)
    history.add()
    roots.mark_trash(store, keys, history.published[-1][0], store.now.isoformat())
    store.now += 8 * DAY
    for at in count(1):
        alone = deepcopy(store)
        if dies:
            alone.calls_left = at
        else:
            alone.meanwhile[alone.calls + at] = partial(collected_by_another, alone, keys)
        is_over = True
        try:
            collected(alone, keys)
        except Died:
            is_over = False
        alone.calls_left, is_over = None, is_over if dies else bool(alone.meanwhile)
        alone.meanwhile.clear()
        weeks_pass(alone, keys)
        assert content(alone) == needed, "nothing that is needed went, and nothing else stayed"
        assert 1 <= len(segments(alone)) <= 6
        if is_over:
            break
    assert at > 20


def lie(store: LateStore, keys: ClusterKeys) -> None:
    """Make a segment say that manifests name no packs, as a fault in an earlier version might have."""
    (key,) = segments(store)
    told = Facts()
    found = reach_facts.decode(key, sealed.open_small(store, keys, key), told)
    told.roots |= found.roots
    told.whole = found.whole
    nothing = np.empty((0, 2), np.uint32)
    for name, fact in found.manifests.items():
        told.manifests[name] = reach_facts.ManifestFact(fact.hash, nothing, fact.maps)
    store.delete(key)
    reach_facts.store_segments(store, keys, told)


@pytest.mark.parametrize("why", ["asked", "30 days"])
def test_everything_is_read_again_now_and_then_and_compared(
    store: LateStore, keys: ClusterKeys, why: str
) -> None:
    History(store, keys).grow(4)
    collected(store, keys)
    kept = content(store)
    lie(store, keys)
    if why == "30 days":
        store.now += known_reach.WHOLE_EVERY
    with pytest.raises(RepositoryDamaged, match="segments"):
        Collector(store, keys, SystemClock(), RULES, whole=why == "asked").draft()
    assert segments(store), "a draft changes nothing"
    with pytest.raises(RepositoryDamaged, match="segments"):
        collected(store, keys, whole=why == "asked")
    assert content(store) == kept and not segments(store)
    weeks_pass(store, keys)
    assert content(store) == kept and segments(store)


def test_segments_that_contradict_each_other_are_both_checked(store: LateStore, keys: ClusterKeys) -> None:
    History(store, keys).grow(4)
    collected(store, keys)
    (key,) = segments(store)
    true = store.objects[key]
    lie(store, keys)
    store.put(key, [true])
    with pytest.raises(RepositoryDamaged, match="segments"):
        collected(store, keys)
    assert not segments(store)


def test_the_end_of_a_cluster_takes_its_segments_along(store: LateStore, keys: ClusterKeys) -> None:
    History(store, keys).add()
    collected(store, keys)
    for key in [key for key in store.objects if "/roots/" in key or key in content(store)]:
        store.delete(key)
    done = Collector(store, keys, SystemClock(), Rules(DAY, DAY, given_up=True)).collect()
    assert done.keys_gone and not [key for key in store.objects if key.startswith("c/")]


def test_facts_that_are_not_worth_a_segment_are_read_again(
    store: LateStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_reach, "WORTH", 64)
    History(store, keys).grow(20)
    collected(store, keys)
    assert not segments(store)


# -- format ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 300), max_size=60))
@settings(max_examples=100, deadline=None)
def test_runs_are_the_ordinals_that_they_were_made_of(ordinals: list[int]) -> None:
    assert expand(runs_of(np.array(ordinals, np.uint32))).tolist() == sorted(set(ordinals))


def id_of(number: int) -> bytes:
    """An id with zeros at its end, and all values in its first byte."""
    return (number * 163 % 65536 << 112).to_bytes(16)


@given(st.lists(st.lists(st.integers(0, 400), max_size=50), max_size=20))
@settings(max_examples=60, deadline=None)
def test_an_id_has_one_ordinal(batches: list[list[int]]) -> None:
    table, expected = IdTable(), dict[int, int]()
    for batch in batches:
        found = table.ordinals(ids_of([id_of(one).hex() for one in batch])).tolist()
        for one, ordinal in zip(batch, found, strict=True):
            assert expected.setdefault(one, ordinal) == ordinal
        if len(batch) % 2:
            table._merge()
    for one, ordinal in expected.items():
        assert table.find(id_of(one)) == ordinal
        assert table.ids(np.array([ordinal], np.uint32)).tobytes() == id_of(one)
    assert table.find(b"\xff" * 16) is None and len(table) == len(expected)


def test_facts_come_back_as_they_were_stored(
    store: LateStore, keys: ClusterKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach_facts, "_IDS", 7)
    monkeypatch.setattr(reach_facts, "_NUMBERS", 6)
    facts = Facts()
    draw = np.random.default_rng(7)
    packs = facts.packs.ordinals(ids_of([new_hex() for _ in range(100)]))
    maps = facts.maps.ordinals(ids_of([new_hex() for _ in range(30)]))
    for _ in range(12):
        some = draw.choice(packs, draw.integers(0, 60), replace=False)
        facts.manifests[new_hex()] = reach_facts.ManifestFact("ab" * 32, runs_of(some), runs_of(maps[:3]))
    reach_facts.store_segments(store, keys, facts)
    (key,) = segments(store)
    into = Facts()
    found = reach_facts.decode(key, sealed.open_small(store, keys, key), into)
    assert found.manifests.keys() == facts.manifests.keys()
    for name, fact in facts.manifests.items():
        for kind in ("packs", "maps"):
            before = getattr(facts, kind).ids(expand(getattr(fact, kind))).tolist()
            after = getattr(into, kind).ids(expand(getattr(found.manifests[name], kind))).tolist()
            assert sorted(before) == sorted(after)
