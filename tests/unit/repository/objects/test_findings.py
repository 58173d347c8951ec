"""Records of known damage: how they are written, which of them hold, and how a finding ends."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.domain.object_kinds import Type
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, SnapshotTouched
from stillhouse.errors import StoreUnavailable
from stillhouse.repository.check.record import conclude, suspected
from stillhouse.repository.check.report import sum_up
from stillhouse.repository.check.structure import Checked, check
from stillhouse.repository.check.verify import Rate, longest_unread, verify
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.sealed import seal
from stillhouse.repository.objects import findings, losses, roots
from stillhouse.repository.objects.faults import ALTERED, MISSING, NOTHING, Fault
from stillhouse.repository.objects.findings import Findings
from stillhouse.repository.upkeep.collect import Collector
from stillhouse.storage.store import Chunk, StoredObject
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK, Aged
from support.stores.dict_store import START, DictStore

CLOCK = SystemClock()
DAY = timedelta(days=1)
ONE, TWO = (f"packs/{number:032x}" for number in (1, 2))
SNAPSHOT, OTHER = "s" * 36, "t" * 36


@pytest.fixture(scope="module")
def made() -> Aged:
    return aged_repository.make(11)


@pytest.fixture
def cluster(made: Aged) -> str:
    return made.clusters[0]


@pytest.fixture
def store(made: Aged) -> DictStore:
    return made.store.fork()


@pytest.fixture
def keys(made: Aged, cluster: str) -> ClusterKeys:
    return made.keys(cluster)


def fault(keys: ClusterKeys, key: str, parts: Sequence[int] | None = None, detail: str = "bad") -> Fault:
    return Fault(f"c/{keys.cluster}/{key}", ALTERED, detail, None if parts is None else frozenset(parts))


def records(store: DictStore) -> list[str]:
    return sorted(key for key in store.objects if "/findings/" in key)


def said(store: DictStore, keys: ClusterKeys) -> dict[str, frozenset[int | str] | None]:
    place = layout.all_of(str(keys.cluster))
    return {key.removeprefix(place): one.parts for key, one in findings.read(store, keys).faults.items()}


def cost(snapshot: str, *blocks: tuple[int, int]) -> SnapshotTouched:
    return SnapshotTouched(snapshot, "nightly", (NodeTouched("cn", (FileTouched("base/5/1", blocks),)),))


# -- records -----------------------------------------------------------------------------------------------------------


def test_nothing_is_known_where_nothing_was_found(store: DictStore, keys: ClusterKeys) -> None:
    assert findings.read(store, keys) == Findings(str(keys.cluster))
    findings.replace(store, keys, findings.read(store, keys), [], [], START)
    assert records(store) == []


def test_what_two_find_at_once_is_known_of_both(store: DictStore, keys: ClusterKeys) -> None:
    findings.note(store, keys, [fault(keys, ONE, [3])], START)
    before = findings.read(store, keys)
    findings.replace(store, keys, before, [fault(keys, ONE, [3]), fault(keys, TWO)], [], START)
    findings.replace(store, keys, before, [fault(keys, ONE, [5])], [cost(SNAPSHOT, (1, 2))], START)
    assert said(store, keys) == {ONE: frozenset({3, 5}), TWO: None}
    assert findings.read(store, keys).losses == (cost(SNAPSHOT, (1, 2)),)


def test_what_was_found_during_a_look_outlives_it(store: DictStore, keys: ClusterKeys) -> None:
    before = findings.read(store, keys)
    findings.note(store, keys, [fault(keys, ONE)], START)
    findings.replace(store, keys, before, [], [], START)
    assert said(store, keys) == {ONE: None}


def test_what_is_known_is_not_noted_again(store: DictStore, keys: ClusterKeys) -> None:
    assert findings.note(store, keys, [fault(keys, ONE, [3, 4])], START)
    assert not findings.note(store, keys, [fault(keys, ONE, [4])], START)
    assert findings.note(store, keys, [fault(keys, ONE, [5])], START)
    assert len(records(store)) == 2 and said(store, keys) == {ONE: frozenset({3, 4, 5})}


def test_a_fault_keeps_the_time_at_which_it_was_found_first(store: DictStore, keys: ClusterKeys) -> None:
    findings.note(store, keys, [fault(keys, ONE)], START)
    known = findings.read(store, keys)
    findings.replace(store, keys, known, [fault(keys, ONE), fault(keys, TWO)], [], START + DAY)
    found = {key.rpartition("/packs/")[2][-1]: time for key, time in findings.read(store, keys).found.items()}
    assert found == {"1": START, "2": START + DAY}


def test_a_listing_that_is_a_moment_old_still_shows_what_holds(store: DictStore, keys: ClusterKeys) -> None:
    """A listing taken while a record is replaced shows the old one or the new, never neither."""
    findings.note(store, keys, [fault(keys, ONE)], START)
    old = dict(store.objects)
    known = findings.read(store, keys)
    findings.replace(store, keys, known, [fault(keys, ONE)], [cost(SNAPSHOT, (1, 1))], START)
    assert {*records(store)} > {key for key in old if "/findings/" in key}
    findings.replace(store, keys, findings.read(store, keys), [], [], START + DAY)
    assert said(store, keys) == {} and len(records(store)) == 2
    findings.replace(store, keys, findings.read(store, keys), [], [], START + DAY)
    assert records(store) == []


def test_the_same_findings_are_written_once(store: DictStore, keys: ClusterKeys) -> None:
    for _ in range(4):
        known = findings.read(store, keys)
        findings.replace(store, keys, known, [fault(keys, ONE, [1])], [cost(SNAPSHOT, (1, 2))], START)
    (record,) = records(store)
    assert said(store, keys) == {ONE: frozenset({1})}
    assert record


def test_a_record_that_vanishes_while_it_is_read_was_replaced(store: DictStore, keys: ClusterKeys) -> None:
    findings.note(store, keys, [fault(keys, ONE)], START)
    known = findings.read(store, keys)

    class Racing(DictStore):
        """Somebody replaces all records between the listing and the reading."""

        def list(self, prefix: str) -> Iterator[StoredObject]:
            found = [*super().list(prefix)]
            if not self.raced:
                self.raced = True
                findings.replace(self, keys, known, [fault(keys, ONE), fault(keys, TWO)], [], START)
                for key in known.records:
                    self.delete(layout.findings(str(keys.cluster), key))
            yield from found

        raced = False

    assert said(Racing(store.objects), keys) == {ONE: None, TWO: None}


@pytest.mark.parametrize("damage", ["flipped", "forged", "newer"])
def test_a_record_that_does_not_open_says_nothing_and_is_left_alone(
    store: DictStore, keys: ClusterKeys, damage: str
) -> None:
    findings.note(store, keys, [fault(keys, ONE)], START)
    (key,) = records(store)
    if damage == "flipped":
        content = bytearray(store.get(key))
        content[100] ^= 1
        store.put(key, [content])
    else:
        head = b'{"t":"findings","format":1,"replaces":[],"worked_out":true}\n'
        body = head + (b'{"t":"Later"}\n' if damage == "newer" else b'{"t":"fault"}\n')
        store.put(key, seal(keys, Type.FINDINGS, key.rpartition("/")[2], body))
    assert said(store, keys) == {}
    findings.replace(store, keys, findings.read(store, keys), [fault(keys, TWO)], [], START)
    assert said(store, keys) == {TWO: None} and key in store.objects
    (told,) = [one for one in checked(store, keys).place.faults.by_key if "/findings/" in one]
    assert told == key, "a check says so"


def test_a_record_may_be_of_more_than_a_frame_holds(store: DictStore, keys: ClusterKeys) -> None:
    many = [fault(keys, f"packs/{number:032x}", range(100)) for number in range(9000)]
    wide = FileTouched("base/5/1", tuple((3 * n, 3 * n) for n in range(10_000)))
    files = (wide, *(FileTouched(f"base/5/{number}") for number in range(2, 1000)))
    findings.replace(
        store,
        keys,
        findings.read(store, keys),
        many,
        [SnapshotTouched(SNAPSHOT, "big", (NodeTouched("cn", files), NodeTouched("dn1", None)))],
        START,
    )
    known = findings.read(store, keys)
    assert known.faults == {one.key: one for one in many}
    (lost,) = known.losses
    assert lost.nodes is not None
    cn, dn1 = lost.nodes
    assert cn.files is not None and dn1.files is None
    assert len(cn.files) + cn.more == 999 and len(cn.files[0].blocks) + cn.files[0].more == 10_000


def test_costs_of_several_faults_are_told_once() -> None:
    one = SnapshotTouched(SNAPSHOT, "n", (NodeTouched("cn", (FileTouched("a", ((1, 3), (9, 9))),)),))
    two = SnapshotTouched(
        SNAPSHOT, "n", (NodeTouched("cn", (FileTouched("a", ((3, 4),)), FileTouched("b"))),)
    )
    three = SnapshotTouched(OTHER, "", None)
    assert losses.together([one, three, two]) == [
        SnapshotTouched(
            SNAPSHOT, "n", (NodeTouched("cn", (FileTouched("a", ((1, 4), (9, 9))), FileTouched("b"))),)
        ),
        three,
    ]
    whole = SnapshotTouched(SNAPSHOT, "n", (NodeTouched("cn", None),))
    assert losses.together([one, whole, two]) == [whole]


def test_only_what_a_restore_needs_is_costly(store: DictStore, keys: ClusterKeys) -> None:
    findings.note(store, keys, [fault(keys, ONE, []), fault(keys, TWO, [1])], START)
    known = findings.read(store, keys)
    assert [one.key for one in known.costly(known.keys)] == [f"c/{keys.cluster}/{TWO}"]
    assert known.costly([]) == []


# -- what a check makes of them ----------------------------------------------------------------------------------------


def checked(store: DictStore, keys: ClusterKeys) -> Checked:
    return check(store, KEK, str(keys.cluster), workers=1)


def look(store: DictStore, keys: ClusterKeys, *, whole: bool = True) -> Checked:
    found = checked(store, keys)
    if whole:
        verify(found, longest_unread(found, {}), rate=Rate(0, CLOCK), clock=CLOCK)
    sum_up(found, now=START, max_age=DAY)
    return found


def spoil(store: DictStore, key: str, at: int = 100) -> bytes:
    before = store.get(key)
    content = bytearray(before)
    content[at] ^= 1
    store.put(key, [content])
    return before


def a_pack(store: DictStore, keys: ClusterKeys) -> str:
    """A pack that several snapshots share."""
    found = checked(store, keys)
    shared = [one for one in found.packs if sum(one in node.packs for node in found.nodes) > 2]
    return layout.pack(str(keys.cluster), min(shared))


def test_what_a_verification_finds_is_written_down_with_what_it_costs(
    store: DictStore, keys: ClusterKeys
) -> None:
    key = a_pack(store, keys)
    spoil(store, key)
    found = look(store, keys)
    known = findings.read(store, keys)
    assert known.keys == {key} and known.is_worked_out
    assert known.faults[key] == found.place.faults.by_key[key]
    assert known.losses and {one.snapshot for one in known.losses} <= {*found.place.roots}
    assert all(
        file.blocks or file.bytes for one in known.losses for n in one.nodes or () for file in n.files or ()
    )


def test_a_check_that_reads_no_frames_still_tells_of_what_is_known(
    store: DictStore, keys: ClusterKeys
) -> None:
    key = a_pack(store, keys)
    spoil(store, key)
    look(store, keys)
    before = findings.read(store, keys)
    found = checked(store, keys)
    (damage,) = sum_up(found, now=START, max_age=DAY).damages
    assert damage.key == key and damage.touches
    assert findings.read(store, keys) == before


def test_a_pack_that_was_put_back_is_read_first_and_ends_its_finding(
    store: DictStore, keys: ClusterKeys
) -> None:
    key = a_pack(store, keys)
    before = spoil(store, key)
    look(store, keys)
    store.put(key, [before])
    assert findings.read(store, keys).keys == {key}
    found = look(store, keys, whole=False)
    assert findings.read(store, keys).keys == {key}, "its frames were not read"
    found = checked(store, keys)
    (first,) = suspected(found)
    assert layout.pack(str(keys.cluster), first.id) == key
    verify(found, [first], rate=Rate(0, CLOCK), clock=CLOCK)
    assert conclude(found, START) == []
    assert findings.read(store, keys).keys == frozenset()


@pytest.mark.parametrize("folder", ["packs", "maps", "manifests"])
def test_what_is_missing_is_known_until_it_is_there_again(
    store: DictStore, keys: ClusterKeys, folder: str
) -> None:
    found = checked(store, keys)
    key = min(one for one in found.reached() if f"/{folder}/" in one)
    before = store.get(key)
    store.delete(key)
    look(store, keys)
    assert findings.read(store, keys).faults[key].kind == MISSING
    look(store, keys)
    assert findings.read(store, keys).faults[key].kind == MISSING
    store.put(key, [before])
    look(store, keys)
    assert findings.read(store, keys).keys == frozenset()


def test_a_lost_root_is_known_and_costs_its_snapshot(store: DictStore, keys: ClusterKeys, made: Aged) -> None:
    snapshot = made.snapshots[str(keys.cluster)][0]
    before = spoil(store, layout.root(str(keys.cluster), snapshot))
    look(store, keys)
    (lost,) = findings.read(store, keys).losses
    assert (lost.snapshot, lost.nodes) == (snapshot, None)
    store.put(layout.root(str(keys.cluster), snapshot), [before])
    look(store, keys)
    assert findings.read(store, keys).losses == ()


def test_damage_that_costs_nothing_is_known_too(store: DictStore, keys: ClusterKeys) -> None:
    """A capture asks a base's packs for their fingerprints, and must know that it cannot have these."""
    key = a_pack(store, keys)
    spoil(store, key, at=90)  # of the first header, which is kept twice
    look(store, keys)
    known = findings.read(store, keys)
    assert known.faults[key].parts == NOTHING and known.losses == () and known.costly([key]) == []


def test_a_finding_ends_with_its_pack(store: DictStore, keys: ClusterKeys, made: Aged) -> None:
    """Its snapshots are purged, and a collection has removed it."""
    cluster = str(keys.cluster)
    key = a_pack(store, keys)
    spoil(store, key)
    look(store, keys)
    for snapshot in made.snapshots[cluster]:
        roots.mark_trash(store, keys, snapshot, "2026-03-02T00:00:00Z")
    store.delete(next(one for one in store.objects if one.startswith(layout.pins_of(cluster))))
    for _ in range(3):
        store.now += 10 * DAY
        Collector(store, keys, CLOCK, Rules(DAY, DAY)).collect()
    assert key not in store.objects
    known = findings.read(store, keys)
    assert known.keys == frozenset() and known.losses == ()


def test_a_collection_keeps_what_is_known(store: DictStore, keys: ClusterKeys) -> None:
    key = a_pack(store, keys)
    spoil(store, key)
    look(store, keys)
    before = findings.read(store, keys)
    store.delete(next(one for one in store.objects if one.startswith(layout.pins_of(str(keys.cluster)))))
    for _ in range(3):
        store.now += 10 * DAY
        Collector(store, keys, CLOCK, Rules(DAY, 1000 * DAY)).collect()
    assert key in store.objects and findings.read(store, keys) == before


def test_where_nothing_can_be_written_the_report_says_so(store: DictStore, keys: ClusterKeys) -> None:
    key = a_pack(store, keys)
    spoil(store, key)

    class ReadOnly(DictStore):
        def put(self, key: str, chunks: Sequence[Chunk]) -> None:
            raise StoreUnavailable("read-only")

    found = checked(ReadOnly(store.objects), keys)
    verify(found, longest_unread(found, {}), rate=Rate(0, CLOCK), clock=CLOCK)
    report = sum_up(found, now=START, max_age=DAY)
    assert [one.key for one in report.damages] == [key]
    assert any("could not be written down" in notice for notice in report.notices)
    assert records(store) == []
