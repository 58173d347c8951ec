"""What a check and a verification look at, what they do not, and what they say of things that are no damage."""

import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.reports.damage import FileTouched
from stillhouse.errors import Cancelled
from stillhouse.repository.check.damage import Damage, damages, ranges
from stillhouse.repository.check.report import sum_up
from stillhouse.repository.check.stats import figures
from stillhouse.repository.check.structure import Checked, check
from stillhouse.repository.check.verify import Rate, due, longest_unread, verify
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.objects import roots, scrubs
from stillhouse.repository.upkeep.inventory import clusters_in
from stillhouse.storage.local import LocalStore
from support.control.requests_bed import HandClock
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK, Aged
from support.repositories.damage_truth import read_truth
from support.stores.dict_store import START, DictStore

GOLDEN = Path(__file__).parents[3] / "golden" / "repository"
CLOCK = SystemClock()
DAY = timedelta(days=1)
NO_RATE = Rate(0, CLOCK)


@pytest.fixture(scope="module")
def made() -> Aged:
    return aged_repository.make(7)


@pytest.fixture
def cluster(made: Aged) -> str:
    return made.clusters[0]


@pytest.fixture
def store(made: Aged) -> DictStore:
    return made.store.fork()


def checked(store: DictStore, cluster: str) -> Checked:
    return check(store, KEK, cluster, workers=1)


def report(found: Checked) -> list[Damage]:
    return list(sum_up(found, now=START, max_age=90 * DAY).damages)


@pytest.mark.parametrize("name", ["v1", "v1-incremental"])
def test_golden_repositories_are_sound(name: str, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / name / "objects", tmp_path / "objects")
    store = LocalStore(tmp_path / "objects", CLOCK)
    (there,) = clusters_in(store)
    found = check(store, Kek(bytes(range(32))), there, workers=3)
    verify(found, longest_unread(found, {}), rate=NO_RATE, clock=CLOCK)
    summed = sum_up(found, now=CLOCK.now(), max_age=DAY)
    assert summed.damages == () and summed.notices == () and summed.packs > 0


def test_a_check_reads_no_frame_of_a_pack(store: DictStore, cluster: str) -> None:
    asked: list[tuple[str, int]] = []
    get_range = store.get_range
    store.get_range = lambda key, start, length: asked.append((key, start)) or get_range(key, start, length)  # type: ignore[method-assign,func-returns-value]
    found = checked(store, cluster)
    indexes = {layout.pack(cluster, pack.id): pack.index for pack in found.packs.values()}
    assert dict(asked) == indexes and len(asked) == len(indexes)
    assert all(count == 1 for key, count in Counter(store.gets).items() if "/packs/" in key)


def test_each_object_is_fetched_once_however_many_snapshots_share_it(store: DictStore, cluster: str) -> None:
    found = checked(store, cluster)
    naming = Counter(pack for node in found.nodes for pack in node.packs)
    assert max(naming.values()) > 1, "snapshots share packs"
    assert all(count == 1 for key, count in Counter(store.gets).items() if "/maps/" in key)
    store.gets.clear()
    verify(found, longest_unread(found, {}), rate=NO_RATE, clock=CLOCK)
    assert sorted(store.gets) == sorted(layout.pack(cluster, pack) for pack in found.packs)


def test_packs_that_waited_longest_are_read_first(store: DictStore, cluster: str) -> None:
    found = checked(store, cluster)
    (one, *_) = found.packs
    order = [pack.id for pack in longest_unread(found, {one: START + 9 * DAY})]
    times = [found.packs[pack].written for pack in order if pack != one]
    assert order[-1] == one and times == sorted(times, key=str) and len(order) == len(found.packs)
    waiting = due(found, {one: START + 9 * DAY}, START + 8 * DAY)
    assert {pack.id for pack in waiting} == set(order[:-1])


def test_packs_are_read_no_faster_than_allowed(store: DictStore, cluster: str) -> None:
    clock = HandClock()
    found = checked(store, cluster)
    begun = clock.time
    count = verify(found, longest_unread(found, {}), rate=Rate(1000, clock), clock=clock)
    assert (clock.time - begun).total_seconds() >= count / 1000 * 0.8


def test_what_is_sound_is_recorded_and_nothing_else(store: DictStore, cluster: str) -> None:
    before = checked(store, cluster)
    bad, *_, untouched = before.packs
    key = layout.pack(cluster, bad)
    content = bytearray(store.get(key))
    content[100] ^= 1
    store.put(key, [content])
    store.now = CLOCK.now() + DAY
    found = checked(store, cluster)
    packs = [pack for pack in longest_unread(found, {}) if pack.id != untouched]
    verify(found, packs, rate=NO_RATE, clock=CLOCK)
    assert found.place.keys is not None
    said = scrubs.read(store, found.place.keys)
    assert said.keys() == found.packs.keys() - {bad, untouched}


def test_a_verification_that_is_stopped_has_recorded_what_it_read(store: DictStore, cluster: str) -> None:
    found, read = checked(store, cluster), []

    def stop(count: int) -> None:
        read.append(count)
        if len(read) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        verify(found, longest_unread(found, {}), rate=NO_RATE, clock=CLOCK, on_read=stop)
    assert found.place.keys is not None
    assert len(scrubs.read(store, found.place.keys)) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_work_that_waits_is_bounded(store: DictStore, cluster: str, workers: int) -> None:
    place = check(store, KEK, cluster, workers=workers).place
    begun: list[int] = []
    results = place.each(lambda item: begun.append(item) or item, iter(range(100)))  # type: ignore[func-returns-value]
    next(results)
    assert len(begun) <= 2 * workers + 1
    assert list(results) == list(range(1, 100))


class Collecting(DictStore):
    """A collection at work beside: before the first pack is read, a snapshot is purged and what was its own is gone."""

    def __init__(self, source: DictStore, cluster: str, snapshot: str) -> None:
        super().__init__(dict(source.objects), source.now)
        found = checked(source, cluster)
        mine = {key for node in found.of(snapshot) for key in found.objects_of(node)}
        others = {key for node in found.nodes if node.snapshot != snapshot for key in found.objects_of(node)}
        self.going = mine - others
        self.keys, self.snapshot, self.begun = found.place.keys, snapshot, False

    def get(self, key: str) -> bytes:
        if "/packs/" in key and not self.begun:
            self.begun = True
            assert self.keys is not None
            self.delete(layout.root(str(self.keys.cluster), self.snapshot))
            roots.bury(self, self.keys, self.snapshot, 0, "purged", "2026-03-02T00:00:00Z")
            for gone in self.going:
                self.delete(gone)
        return super().get(key)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_a_collection_beside_removes_is_no_damage(made: Aged, cluster: str, which: int) -> None:
    store = Collecting(made.store, cluster, made.snapshots[cluster][which])
    found = checked(store, cluster)
    if found.place.keys is not None:
        verify(found, longest_unread(found, {}), rate=NO_RATE, clock=CLOCK)
    assert len(store.going) > 3 and store.begun
    assert found.place.faults.by_key != {} and report(found) == []


def test_a_pack_that_others_need_too_is_damage_beside_a_collection(made: Aged, cluster: str) -> None:
    store = Collecting(made.store, cluster, made.snapshots[cluster][0])
    found = checked(made.store, cluster)
    shared = next(
        pack for pack, count in Counter(p for node in found.nodes for p in node.packs).items() if count > 2
    )
    store.going.add(layout.pack(cluster, shared))
    found = checked(store, cluster)
    verify(found, longest_unread(found, {}), rate=NO_RATE, clock=CLOCK)
    (damage,) = report(found)
    assert damage.key == layout.pack(cluster, shared) and damage.kind == "missing"
    assert {touched.snapshot for touched in damage.touches} <= set(made.snapshots[cluster][1:])


def test_what_is_published_during_a_check_is_no_damage(made: Aged, cluster: str) -> None:
    """A listing may lack what was stored after it began: it is asked for."""
    store = made.store.fork()
    listing = store.list
    store.list = lambda prefix: (one for one in listing(prefix) if not _is_late(one.key))  # type: ignore[method-assign]
    assert report(checked(store, cluster)) == []


def _is_late(key: str) -> bool:
    return "/packs/" in key or "/maps/" in key or "/manifests/" in key


def test_a_root_that_vanished_without_a_trace_is_a_notice(made: Aged, store: DictStore, cluster: str) -> None:
    newest = made.snapshots[cluster][-1]
    store.delete(layout.root(cluster, newest))
    summed = sum_up(checked(store, cluster), now=START, max_age=DAY)
    assert summed.damages == ()
    assert [newest in notice and "cn, dn1" in notice for notice in summed.notices] == [True]


@pytest.mark.parametrize(("which", "why"), [(0, "builds on it"), (1, "in the trash")])
def test_a_root_that_left_a_trace_is_damage(
    made: Aged, store: DictStore, cluster: str, which: int, why: str
) -> None:
    store.delete(layout.root(cluster, made.snapshots[cluster][which]))
    (damage,) = report(checked(store, cluster))
    assert damage.kind == "missing" and why in damage.detail
    assert [touched.snapshot for touched in damage.touches] == [made.snapshots[cluster][which]]


def test_a_root_that_was_put_back_is_a_notice(made: Aged, store: DictStore, cluster: str) -> None:
    key = layout.root(cluster, made.snapshots[cluster][0])
    store.now += 30 * DAY
    store.put(key, [store.get(key)])
    summed = sum_up(checked(store, cluster), now=store.now, max_age=365 * DAY)
    assert summed.damages == () and "put back" in summed.notices[0]


def test_keys_of_another_kek_and_unknown_prefixes_are_notices(store: DictStore, cluster: str) -> None:
    store.put(layout.keys(cluster, 1, "0" * 16), [b"{}"])
    store.put(f"c/{cluster}/later/{new_hex()}", [b"of a later program"])
    summed = sum_up(checked(store, cluster), now=START, max_age=DAY)
    assert summed.damages == () and len(summed.notices) == 2


def test_ages_are_told_per_snapshot(made: Aged, store: DictStore, cluster: str) -> None:
    found = checked(store, cluster)
    rows = {row.snapshot: row for row in sum_up(found, now=START + 91 * DAY, max_age=90 * DAY).snapshots}
    first, _, last = made.snapshots[cluster]
    assert rows[first].oldest_scrub is not None and rows[first].overdue == tuple(
        sorted(found.packs_of(first))
    )
    assert set(rows[last].overdue) >= found.packs_of(first) & found.packs_of(last)
    assert rows[made.trashed[cluster]].in_trash
    store.now = START + 91 * DAY
    assert found.place.keys is not None
    scrubs.record(store, found.place.keys, found.packs_of(first), START + 90 * DAY)
    rows = {row.snapshot: row for row in sum_up(found, now=START + 91 * DAY, max_age=90 * DAY).snapshots}
    assert rows[first].oldest_scrub == START + 90 * DAY and rows[first].overdue == ()


def test_figures_say_what_deleting_a_snapshot_would_free(made: Aged, store: DictStore, cluster: str) -> None:
    found = check(store, KEK, cluster, workers=1, only_manifests=True)
    told = figures(found, now=START, max_age=DAY)
    truth = read_truth(store, cluster)
    for row in told.snapshots:
        left = store.fork()
        left.delete(layout.root(cluster, row.snapshot))
        after = figures(check(left, KEK, cluster, workers=1, only_manifests=True), now=START, max_age=DAY)
        freed = after.unreached_bytes - told.unreached_bytes + store.size(layout.root(cluster, row.snapshot))  # type: ignore[operator]
        assert row.own == freed > 0
        assert row.stored == row.own + row.shared
        lines = [line for named in truth.roots[row.snapshot]["nodes"] for line in truth.reader.lines(named)]
        assert row.live == sum(line["size"] for line in lines if line["t"] in ("file", "wal"))
        assert row.packs == len({line["id"] for line in lines if line["t"] == "pack"})
        held = sum(
            line["held"] * aged_repository.PAGE if "held" in line else line["size"]
            for line in lines
            if line["t"] in ("file", "wal")
        )
        assert row.fragmentation == held / row.live
    assert told.snapshots[0].fragmentation >= 1
    trashed = next(row for row in told.snapshots if row.in_trash)
    assert told.trash == trashed.own and trashed.snapshot == made.trashed[cluster]
    assert told.stored == sum(one.size for one in store.list(f"c/{cluster}")) and told.is_whole
    assert told.objects == len(list(store.list(f"c/{cluster}")))


def test_numbers_become_ranges() -> None:
    assert ranges([]) == ()
    assert ranges([0, 1, 2, 5, 7, 8]) == ((0, 2), (5, 5), (7, 8))
    assert FileTouched("a") == FileTouched("a", (), ())


def test_nothing_at_all_is_no_damage() -> None:
    assert damages(checked(DictStore(), new_uuid())) == []


@pytest.mark.parametrize("folder", ["packs", "maps", "manifests"])
@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("missing", lambda content: None),
        ("size", lambda content: content[:-1]),
        ("size", lambda content: content + b"x"),
        ("altered", lambda content: content[:-1] + b"x"),
    ],
)
def test_the_kind_of_damage_is_told(
    store: DictStore, cluster: str, folder: str, kind: str, spoil: Callable[[bytes], bytes | None]
) -> None:
    key = min(key for key in checked(store, cluster).reached() if f"/{folder}/" in key)
    spoilt = spoil(store.get(key))
    store.delete(key)
    if spoilt is not None:
        store.put(key, [spoilt])
    (damage,) = report(checked(store, cluster))
    assert (damage.kind, damage.key) == (kind, key)
