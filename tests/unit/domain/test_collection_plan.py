"""The plan of a collection: each object's verdict, and why, in words."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.domain import collection
from stillhouse.domain.collection import Listed, Look, Rules, SeenPin, Verdict

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LIVE, GONE, TRASHED = (f"0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b00{n}" for n in range(3))
PACK, MAP, MANIFEST, PIN, MARK = (f"{n:032x}" for n in range(5))
RULES = Rules(grace=DAY, trash=7 * DAY)
LOOK = Look(NOW, [], {LIVE: "nightly", TRASHED: "old"}, {GONE}, [], {})


def verdict(
    look: Look,
    key: str,
    rules: Rules = RULES,
    reached: Mapping[str, str] | None = None,
    age: timedelta = 30 * DAY,
) -> tuple[Verdict, str]:
    look = replace(look, objects=[*look.objects, Listed(key, 5, NOW - age)])
    *_, item = collection.plan(look, rules, reached or {})
    assert (item.key, item.size) == (key, 5)
    return item.verdict, item.why


def a_pin(work: str = "capture", snapshot: str = LIVE, put: timedelta = timedelta()) -> SeenPin:
    return SeenPin(f"pins/{PIN}", work, snapshot, 2, NOW - 5 * HOUR, NOW - put)


def trash(age: timedelta) -> Look:
    return replace(LOOK, objects=[Listed(f"trash/{TRASHED}", 1, NOW - age)])


@pytest.mark.parametrize("folder", ["packs", "maps", "manifests"])
def test_what_is_reached_stays_and_says_by_whom(folder: str) -> None:
    key = f"{folder}/{PACK}"
    assert verdict(LOOK, key, reached={key: "reached by snapshot nightly"}) == (
        Verdict.KEEP,
        "reached by snapshot nightly",
    )


def test_what_is_unreachable_for_the_first_time_is_marked() -> None:
    expected = "unreachable from now on, goes at 2026-03-21 12:00 UTC"
    assert verdict(LOOK, f"packs/{PACK}") == (Verdict.MARK, expected)


def test_what_was_unreachable_for_less_than_the_grace_stays_marked() -> None:
    look = replace(LOOK, since={f"packs/{PACK}": NOW - DAY + HOUR})
    expected = "unreachable since 2026-03-19 13:00 UTC, goes at 2026-03-20 13:00 UTC"
    assert verdict(look, f"packs/{PACK}") == (Verdict.MARK, expected)


def test_what_was_unreachable_for_the_grace_goes() -> None:
    look = replace(LOOK, since={f"packs/{PACK}": NOW - DAY})
    assert verdict(look, f"packs/{PACK}") == (Verdict.DELETE, "unreachable since 2026-03-19 12:00 UTC")


@pytest.mark.parametrize("work", ["capture", "restore"])
def test_what_is_as_young_as_a_live_pin_stays_however_long_it_was_marked(work: str) -> None:
    look = replace(LOOK, pins=[a_pin(work)], since={f"packs/{PACK}": NOW - 90 * DAY})
    kept = f"as young as the {work} of snapshot {LIVE}, attempt 2"
    for age in (timedelta(), 5 * HOUR, 6 * HOUR):
        assert verdict(look, f"packs/{PACK}", age=age) == (Verdict.KEEP, kept)
    assert verdict(look, f"packs/{PACK}", age=6 * HOUR + timedelta(seconds=1))[0] is Verdict.DELETE


@pytest.mark.parametrize("work", ["copy", "something new"])
def test_other_work_may_need_anything(work: str) -> None:
    look = replace(LOOK, pins=[a_pin(work)], since={f"packs/{PACK}": NOW - 90 * DAY})
    assert verdict(look, f"packs/{PACK}")[0] is Verdict.KEEP


@pytest.mark.parametrize(
    ("snapshot", "put", "stale"),
    [
        (LIVE, HOUR, False),
        (LIVE, HOUR * 1.1, True),
        (GONE, HOUR * 1.1, True),
        (PACK, HOUR * 1.1, False),  # its key is free
        (PACK, DAY * 1.1, True),
    ],
)
def test_a_pin_is_stale_when_it_is_old_and_its_key_is_taken_or_it_is_very_old(
    snapshot: str, put: timedelta, stale: bool
) -> None:
    pin = a_pin(snapshot=snapshot, put=put)
    look = replace(LOOK, pins=[pin])
    assert collection.is_stale(pin, look, DAY) is stale
    assert bool(collection.live_pins(look, RULES)) is not stale
    assert verdict(look, pin.key)[0] is (Verdict.DELETE if stale else Verdict.KEEP)


def test_only_a_free_key_of_a_given_up_capture_is_closed() -> None:
    given_up = a_pin(snapshot=PACK, put=2 * DAY)
    for pin, closed in [
        (given_up, [given_up]),
        (replace(given_up, work="copy"), []),
        (replace(given_up, snapshot=LIVE), []),
        (replace(given_up, snapshot=GONE), []),
        (replace(given_up, put=NOW), []),
    ]:
        assert collection.to_close(replace(LOOK, pins=[pin]), RULES) == closed


def test_a_published_snapshot_stays() -> None:
    assert verdict(LOOK, f"roots/{LIVE}") == (Verdict.KEEP, "snapshot nightly")


def test_a_deleted_snapshot_says_until_when_it_can_come_back() -> None:
    expected = "snapshot old: in the trash until 2026-03-26 12:00 UTC"
    assert verdict(trash(DAY), f"roots/{TRASHED}") == (Verdict.KEEP, expected)
    assert verdict(trash(DAY), f"trash/{TRASHED}", age=DAY)[0] is Verdict.KEEP


def test_a_deleted_snapshot_whose_time_is_over_is_purged() -> None:
    assert collection.to_purge(trash(7 * DAY), RULES) == [TRASHED]
    expected = "snapshot old: in the trash since 2026-03-13 12:00 UTC, its time is over"
    assert verdict(trash(7 * DAY), f"roots/{TRASHED}") == (Verdict.PURGE, expected)


def test_with_a_catalog_only_what_it_releases_is_purged() -> None:
    ruled = replace(RULES, released=frozenset())
    assert collection.to_purge(trash(70 * DAY), ruled) == []
    assert collection.to_purge(trash(HOUR), replace(RULES, released=frozenset({TRASHED, LIVE}))) == [TRASHED]


def test_a_tombstone_stays_and_its_trash_mark_goes() -> None:
    assert verdict(LOOK, f"roots/{GONE}")[0] is Verdict.KEEP
    assert verdict(LOOK, f"trash/{GONE}")[0] is Verdict.DELETE


def test_old_marks_give_way() -> None:
    assert verdict(LOOK, f"marks/{MARK}")[0] is Verdict.DELETE


STRANGE = ["packs/x", f"packs/{PACK}/y", f"new/{PACK}", "roots/x", "trash/y", "keys/1/x", f"Packs/{PACK}"]


@pytest.mark.parametrize("key", STRANGE)
def test_what_is_not_known_is_never_touched(key: str) -> None:
    rules = replace(RULES, given_up=True)
    look = replace(LOOK, published={}, since={key: NOW - 90 * DAY})
    assert verdict(look, key, rules)[0] is Verdict.KEEP


KEYS = "keys/00000001/bd4e3bf2a0b963f0"


def test_keys_stay_as_long_as_anything_else_is_left() -> None:
    deleted = replace(RULES, given_up=True)
    empty = replace(LOOK, published={}, objects=[Listed(f"roots/{GONE}", 1, NOW)])
    assert verdict(empty, KEYS, deleted)[0] is Verdict.DELETE
    assert verdict(empty, KEYS, RULES)[0] is Verdict.KEEP, "the cluster is there"
    assert verdict(replace(empty, published={LIVE: "x"}), KEYS, deleted)[0] is Verdict.KEEP
    assert verdict(replace(empty, pins=[a_pin()]), KEYS, deleted)[0] is Verdict.KEEP
    for other in (f"packs/{PACK}", f"maps/{MAP}", f"manifests/{MANIFEST}", *STRANGE):
        left = replace(empty, objects=[Listed(other, 1, NOW)])
        assert verdict(left, KEYS, deleted)[0] is Verdict.KEEP, other


def test_the_keys_go_last() -> None:
    mixed = [KEYS, f"roots/{GONE}", f"packs/{PACK}", f"trash/{GONE}"]
    assert sorted(mixed, key=collection.removal_order) == [mixed[2], mixed[3], mixed[1], mixed[0]]
