"""The age of scrubs: what counts as read, since when, and that nothing looks younger than it is."""

from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.sealed import seal
from stillhouse.repository.objects import scrubs
from support.stores.dict_store import START, DictStore

pytest_plugins = ["support.repositories.keyed_store"]

DAY = timedelta(days=1)
ONE, TWO, THREE = (f"{number:032x}" for number in (1, 2, 3))


def put_pack(store: DictStore, keys: ClusterKeys, pack: str) -> None:
    store.put(layout.pack(str(keys.cluster), pack), [b"a pack"])


def records(store: DictStore) -> list[str]:
    return [key for key in store.objects if "/scrubs/" in key]


def test_what_was_recorded_is_read_back(store: DictStore, keys: ClusterKeys) -> None:
    store.now = START + DAY
    scrubs.record(store, keys, [ONE, TWO], START)
    assert scrubs.read(store, keys) == {ONE: START, TWO: START}


def test_the_newest_word_on_a_pack_holds(store: DictStore, keys: ClusterKeys) -> None:
    store.now = START + 9 * DAY
    scrubs.record(store, keys, [ONE], START + 5 * DAY)
    scrubs.record(store, keys, [ONE, TWO], START)
    assert scrubs.read(store, keys) == {ONE: START + 5 * DAY, TWO: START}


def test_a_clock_that_is_ahead_does_not_make_a_pack_younger(store: DictStore, keys: ClusterKeys) -> None:
    scrubs.record(store, keys, [ONE], START + 400 * DAY)
    assert scrubs.read(store, keys) == {ONE: START}


def test_an_old_record_that_is_put_back_does_not_make_a_pack_younger(
    store: DictStore, keys: ClusterKeys
) -> None:
    scrubs.record(store, keys, [ONE], START)
    (key,) = records(store)
    old = store.get(key)
    store.now = START + 200 * DAY
    store.put(key, [old])
    assert scrubs.read(store, keys) == {ONE: START}


@pytest.mark.parametrize("damage", ["flipped", "forged", "of another cluster", "gone"])
def test_a_record_that_does_not_open_says_nothing(store: DictStore, keys: ClusterKeys, damage: str) -> None:
    scrubs.record(store, keys, [ONE], START)
    (key,) = records(store)
    stored = bytearray(store.get(key))
    body = b'{"format":1,"scrubs":[{"time":"2026-03-01T00:00:00+00:00","packs":""}]}'
    if damage == "flipped":
        stored[100] ^= 1
        store.put(key, [stored])
    elif damage == "gone":
        store.delete(key)
    else:
        other = create_or_open(store, Kek(bytes(32)), new_uuid())
        forger = (
            other if damage == "of another cluster" else ClusterKeys(keys.cluster, {1: b"x" * 32}, b"y" * 32)
        )
        store.put(key, seal(forger, Type.SCRUB, key.rpartition("/")[2], body))
    assert scrubs.read(store, keys) == {}
    scrubs.record(store, keys, [TWO], START)
    assert scrubs.read(store, keys) == {TWO: START}


def test_many_records_are_joined_with_their_times_and_without_packs_that_are_gone(
    store: DictStore, keys: ClusterKeys
) -> None:
    put_pack(store, keys, ONE)
    put_pack(store, keys, TWO)
    for day in range(8):
        store.now = START + day * DAY
        scrubs.record(store, keys, [(ONE, TWO, THREE)[day % 3]], START + day * DAY)
    assert len(records(store)) == 8 and THREE in scrubs.read(store, keys)
    store.now = START + 100 * DAY
    scrubs.record(store, keys, [ONE], START + 99 * DAY)
    assert len(records(store)) == 1
    assert scrubs.read(store, keys) == {ONE: START + 99 * DAY, TWO: START + 7 * DAY}


def test_dying_before_the_joined_records_are_removed_changes_nothing(
    store: DictStore, keys: ClusterKeys
) -> None:
    for pack in (ONE, TWO):
        put_pack(store, keys, pack)
    for _ in range(8):
        scrubs.record(store, keys, [ONE], START)
    kept = {key: store.objects[key] for key in records(store)}
    scrubs.record(store, keys, [TWO], START)
    store.objects |= kept
    assert scrubs.read(store, keys) == {ONE: START, TWO: START}


def test_a_record_may_be_of_more_packs_than_a_frame_holds(store: DictStore, keys: ClusterKeys) -> None:
    packs = [new_hex() for _ in range(60_000)]
    scrubs.record(store, keys, packs, START)
    assert scrubs.read(store, keys).keys() == set(packs)


@pytest.mark.parametrize(
    ("written", "scrubbed", "oldest", "overdue"),
    [
        ({ONE: 0}, {}, 0, True),
        ({ONE: 10}, {}, 10, False),
        ({ONE: 0}, {ONE: 10}, 10, False),
        ({ONE: 0}, {ONE: 9}, 9, True),
        ({ONE: 20}, {ONE: 1}, 20, False),
        ({}, {}, None, True),
    ],
)
def test_a_pack_counts_as_read_when_it_was_written_and_is_overdue_past_the_age(
    written: dict[str, int], scrubbed: dict[str, int], oldest: int | None, overdue: bool
) -> None:
    age = scrubs.age(
        [ONE],
        {pack: START + day * DAY for pack, day in written.items()},
        {pack: START + day * DAY for pack, day in scrubbed.items()},
        START + 100 * DAY,
        90 * DAY,
    )
    assert age.oldest == (None if oldest is None else START + oldest * DAY)
    assert age.overdue == ((ONE,) if overdue else ())


def test_the_oldest_of_several_packs_counts() -> None:
    written = {ONE: START, TWO: START + DAY}
    age = scrubs.age([ONE, TWO], written, {ONE: START + 5 * DAY}, datetime(2026, 3, 3, tzinfo=UTC), 9 * DAY)
    assert age == scrubs.ScrubAge(START + DAY, ())
