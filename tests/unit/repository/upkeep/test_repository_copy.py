"""Copies into a second repository: only what it lacks, nothing damaged, killable anywhere."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stillhouse.clock import Clock, SystemClock
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import InvalidInput, RepositoryDamaged
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import Kek, create_or_open, new_generation, open_keys
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import findings, identity, roots
from stillhouse.repository.objects.faults import ALTERED, Fault
from stillhouse.repository.upkeep.copy import End, Outcome, copy_snapshots
from stillhouse.repository.upkeep.inventory import choose, newest_of, take_inventory
from stillhouse.storage.local import LocalStore
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.repositories.buckets import NODES, Bucket
from support.stores.counting import Counting
from support.stores.crashing import Crashing, Killed

SECOND_KEK = Kek(b"2" * 32)


@pytest.fixture(params=["memory", "local"])
def second(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """The target."""
    return memory_store() if request.param == "memory" else LocalStore(tmp_path / "second", SystemClock())


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "trees")


@pytest.fixture
def cluster() -> str:
    return new_uuid()


def copy(
    source: Bucket,
    target: ObjectStore,
    *names: str,
    read: ObjectStore | None = None,
    kek: Kek = SECOND_KEK,
    clock: Clock | None = None,
) -> list[Outcome]:
    """Copy these snapshots, or all; the source is read through `read`."""
    found = take_inventory(source.store, source.kek).snapshots
    chosen = [choose(found, name) for name in names] or newest_of(found, 100)
    return list(
        copy_snapshots(
            End(read or source.store, source.kek, identity.claim(source.store)),
            End(target, kek, identity.claim(target)),
            chosen,
            workers=2,
            clock=clock or SystemClock(),
            new_bar=lambda name, total: lambda done: None,
        )
    )


def reached(store: ObjectStore, cluster: str, root: dict[str, Any], kek: Kek) -> set[str]:
    """Keys of all that a snapshot needs, but its cluster's keys."""
    found = {layout.root(cluster, root["snapshot"])}
    folders: dict[str, Callable[[str, str], str]] = {"pack": layout.pack, "map": layout.map_}
    keys = open_keys(store, kek, cluster)
    for node in root["nodes"]:
        found.add(layout.manifest(cluster, node["manifest"]))
        for line in manifest.read(store, keys, Stored(node["manifest"], node["size"], node["hash"])):
            if line["t"] in ("pack", "map"):
                found.add(folders[line["t"]](cluster, line["id"]))
    return found


def contents(store: ObjectStore) -> dict[str, bytes]:
    return {stored.key: store.get(stored.key) for stored in store.list("c")}


def test_a_copy_restores_with_its_own_key_alone(
    bucket: Bucket, cluster: str, second: ObjectStore, tmp_path: Path
) -> None:
    create_or_open(bucket.store, bucket.kek, cluster)
    first = bucket.snapshot(cluster, "first")
    new_generation(bucket.store, bucket.kek, cluster)
    root = bucket.snapshot(cluster, "later", first)
    assert [(one.name, one.state) for one in copy(bucket, second, "later")] == [("later", "copied")]

    with pytest.raises(InvalidInput, match="another KEK"):
        open_keys(second, bucket.kek, cluster)
    keys = open_keys(second, SECOND_KEK, cluster)
    assert keys == open_keys(bucket.store, bucket.kek, cluster), "both generations, and the fingerprint key"
    assert roots.read(second, keys, root["snapshot"]) == Root.from_json("root", root)
    assert roots.read(second, keys, first["snapshot"]) is None
    for node in root["nodes"]:
        stored = Stored(node["manifest"], node["size"], node["hash"])
        place = tmp_path / "clone" / node["name"]
        fake_tree.rebuild(place, stored, second, keys)
        expected = fake_tree.tree(bucket.home(cluster, node["name"])) | {
            "global/pg_control": b"control" * 100,
            "recovery.signal": b"",
        }
        assert fake_tree.tree(place / "pgdata") == expected


def test_containers_are_the_same_bytes_and_nothing_else_is_there(
    bucket: Bucket, cluster: str, second: ObjectStore
) -> None:
    first = bucket.snapshot(cluster, "first")
    bucket.snapshot(cluster, "other")
    before = contents(bucket.store)
    copy(bucket, second, "first")
    wanted = reached(bucket.store, cluster, first, bucket.kek)
    copied = contents(second)
    assert {key: copied[key] for key in copied if "/keys/" not in key} == {key: before[key] for key in wanted}
    assert contents(bucket.store) == before, "no pin is left"
    assert identity.claim(second) != identity.claim(bucket.store)


def test_only_what_is_lacking_is_moved(bucket: Bucket, cluster: str, second: ObjectStore) -> None:
    first = bucket.snapshot(cluster, "first")
    later = bucket.snapshot(cluster, "later", first)
    copy(bucket, second, "first")
    fresh = reached(bucket.store, cluster, later, bucket.kek) - reached(
        bucket.store, cluster, first, bucket.kek
    )
    fresh.remove(layout.root(cluster, later["snapshot"]))
    writes = Counting(second)
    (outcome,) = copy(bucket, writes, "later")
    assert outcome.objects == len(fresh)
    assert outcome.bytes == sum(bucket.store.size(key) or 0 for key in fresh)
    root_and_keys = 2
    assert writes.calls["create"] == len(fresh) + root_and_keys + 1, "and the identity"
    assert writes.calls["put"] == writes.calls["delete"] == 1, "the pin"


def test_a_second_copy_moves_nothing_and_writes_nothing(
    bucket: Bucket, cluster: str, second: ObjectStore
) -> None:
    bucket.snapshot(cluster, "first")
    copy(bucket, second)
    before = contents(second)
    reads, writes = Counting(bucket.store), Counting(second)
    (outcome,) = copy(bucket, writes, read=reads)
    assert (outcome.state, outcome.objects, outcome.bytes) == ("there", 0, 0)
    assert writes.calls == {"get": 2, "size": 1, "create": 1, "list": 1}, "the identity, the root, findings"
    assert reads.calls == {"list": 1, "get": 2, "size": 2}, "the keys and the root"
    assert contents(second) == before


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies", ["source", "target"])
def test_a_copy_killed_between_any_two_calls_is_gone_on_with(
    bucket: Bucket, cluster: str, dies: str, after: bool
) -> None:
    first = bucket.snapshot(cluster, "first")
    later = bucket.snapshot(cluster, "later", first)
    wanted = {root["snapshot"]: reached(bucket.store, cluster, root, bucket.kek) for root in (first, later)}
    for at in count(2):  # the first two are the identity's
        target = memory_store()
        identity.claim(target)
        dying = Crashing(target if dies == "target" else bucket.store, at, after=after)
        try:
            if dies == "target":
                copy(bucket, dying)
            else:
                copy(bucket, target, read=dying)
        except Killed:
            there = set(contents(target))
            for snapshot, needed in wanted.items():
                if layout.root(cluster, snapshot) in there:
                    assert needed <= there, "a root names what is not there"
        else:
            assert at > 20, "every call was tried"
            return
        copy(bucket, target)
        # A pin whose copy died after the root is left: it is stale by then, and a collection's to remove.
        there = {key for key in contents(target) if "/keys/" not in key and "/pins/" not in key}
        assert there == wanted[first["snapshot"]] | wanted[later["snapshot"]]


@pytest.mark.parametrize("folder", ["packs", "maps", "manifests", "roots"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_is_damaged_is_named_and_not_passed_on(
    bucket: Bucket, cluster: str, folder: str, damage: str
) -> None:
    bad, target = bucket.snapshot(cluster, "bad"), memory_store()
    bucket.snapshot(cluster, "good")
    found = take_inventory(bucket.store, bucket.kek).snapshots
    key = min(key for key in reached(bucket.store, cluster, bad, bucket.kek) if f"/{folder}/" in key)
    body = bytearray(bucket.store.get(key))
    body[len(body) // 2] ^= 1
    bucket.store.put(key, [bytes(body) if damage == "flipped" else bytes(body[:-1])])
    if damage == "gone":
        bucket.store.delete(key)
    ends = (
        End(bucket.store, bucket.kek, identity.claim(bucket.store)),
        End(target, SECOND_KEK, identity.claim(target)),
    )
    outcomes = list(
        copy_snapshots(
            *ends, found, workers=2, clock=SystemClock(), new_bar=lambda name, total: lambda done: None
        )
    )
    assert [(one.name, one.state) for one in outcomes] == [("bad", "failed"), ("good", "copied")]
    assert key in outcomes[0].reason
    assert target.size(key) is None
    assert target.size(layout.root(cluster, bad["snapshot"])) is None
    assert not any(target.list(f"c/{cluster}/pins")) and not any(bucket.store.list(f"c/{cluster}/pins"))


def test_a_tombstone_in_the_target_stands(bucket: Bucket, cluster: str, second: ObjectStore) -> None:
    root = bucket.snapshot(cluster, "first")
    copy(bucket, second, "first")
    keys = open_keys(second, SECOND_KEK, cluster)
    second.delete(layout.root(cluster, root["snapshot"]))
    roots.bury(second, keys, root["snapshot"], 0, "purged", "now")
    (outcome,) = copy(bucket, second, "first")
    assert outcome.state == "buried"
    assert roots.read(second, keys, root["snapshot"]) is None


def test_a_tombstone_that_comes_in_the_midst_of_the_copy_stands_too(bucket: Bucket, cluster: str) -> None:
    root, target = bucket.snapshot(cluster, "first"), memory_store()

    class Buried(Counting):
        def create(self, key: str, chunks: Any) -> bool:
            if "/roots/" in key:
                keys = open_keys(target, SECOND_KEK, cluster)
                roots.bury(target, keys, root["snapshot"], 0, "purged", "now")
            return super().create(key, chunks)

    (outcome,) = copy(bucket, Buried(target), "first")
    assert outcome.state == "buried"


def test_what_was_purged_in_the_midst_of_the_copy_is_not_published(bucket: Bucket, cluster: str) -> None:
    root, target = bucket.snapshot(cluster, "first"), memory_store()

    class Purged(Counting):
        def put(self, key: str, chunks: Any) -> None:
            super().put(key, chunks)
            bucket.store.delete(layout.root(cluster, root["snapshot"]))
            roots.bury(bucket.store, bucket.keys(cluster), root["snapshot"], 0, "purged", "now")

    (outcome,) = copy(bucket, target, "first", read=Purged(bucket.store))
    assert outcome.state == "failed"
    assert target.size(layout.root(cluster, root["snapshot"])) is None


def test_what_lies_in_the_target_is_never_taken_for_what_it_is_not(bucket: Bucket, cluster: str) -> None:
    root, target = bucket.snapshot(cluster, "first"), memory_store()
    pack = min(key for key in reached(bucket.store, cluster, root, bucket.kek) if "/packs/" in key)
    target.put(pack, [b"short"])
    (outcome,) = copy(bucket, target, "first")
    assert outcome.state == "failed" and pack in outcome.reason
    assert target.get(pack) == b"short", "containers are immutable"


def test_nothing_in_the_target_names_what_is_not_there(bucket: Bucket, cluster: str) -> None:
    bucket.snapshot(cluster, "first")
    order: list[str] = []

    class Watched(Counting):
        def create(self, key: str, chunks: Any) -> bool:
            created = super().create(key, chunks)
            if "/" in key:
                order.append(key.split("/")[-2])
            return created

    copy(bucket, Watched(memory_store()), "first")
    kinds = ["packs", "maps", "manifests", "roots"]
    order = [kind for kind in order if kind in kinds]
    assert order == sorted(order, key=kinds.index)
    assert set(order) == set(kinds)


def test_a_long_copy_shows_again_and_again_that_it_goes_on(bucket: Bucket, cluster: str) -> None:
    class MinuteByMinute(SystemClock):
        minutes = 0

        def monotonic(self) -> float:
            self.minutes += 1
            return self.minutes * 60.0

    bucket.snapshot(cluster, "first")
    reads, writes = Counting(bucket.store), Counting(memory_store())
    copy(bucket, writes, "first", read=reads, clock=MinuteByMinute())
    assert reads.calls["put"] > 2 and writes.calls["put"] > 2
    assert reads.calls["delete"] == writes.calls["delete"] == 1


def test_while_it_copies_both_repositories_are_pinned(bucket: Bucket, cluster: str) -> None:
    root, target = bucket.snapshot(cluster, "first"), memory_store()
    seen: list[tuple[int, int]] = []

    def pins(store: ObjectStore) -> int:
        return len(list(store.list(f"c/{cluster}/pins")))

    class Watched(Counting):
        def create(self, key: str, chunks: Any) -> bool:
            if "/packs/" in key or "/roots/" in key:
                seen.append((pins(bucket.store), pins(target)))
            return super().create(key, chunks)

    copy(bucket, Watched(target), "first")
    assert len(seen) > len(root["nodes"]) == len(NODES)
    assert set(seen) == {(1, 1)}


def test_keys_of_another_kek_in_the_target_are_refused(
    bucket: Bucket, cluster: str, second: ObjectStore
) -> None:
    bucket.snapshot(cluster, "first")
    copy(bucket, second)
    bucket.snapshot(cluster, "later")
    before = contents(second)
    (_, outcome) = copy(bucket, second, kek=Kek(b"3" * 32))
    assert outcome.state == "failed" and "another KEK" in outcome.reason
    assert contents(second) == before


def test_a_cluster_of_other_keys_in_the_target_is_refused(bucket: Bucket, cluster: str) -> None:
    bucket.snapshot(cluster, "first")
    target = memory_store()
    create_or_open(target, SECOND_KEK, cluster)
    (outcome,) = copy(bucket, target)
    assert outcome.state == "failed" and "other keys" in outcome.reason


def test_a_repository_is_not_copied_into_itself(bucket: Bucket, cluster: str) -> None:
    bucket.snapshot(cluster, "first")
    with pytest.raises(InvalidInput, match="same repository"):
        copy(bucket, bucket.store)


def test_the_newest_of_each_cluster_are_chosen_without_the_trash(bucket: Bucket) -> None:
    for cluster in (new_uuid(), new_uuid()):
        for name in ("one", "two", "three", "four"):
            root = bucket.snapshot(cluster, name)
        roots.mark_trash(bucket.store, bucket.keys(cluster), root["snapshot"], "2026-11-21T00:00:00+00:00")
    found = take_inventory(bucket.store, bucket.kek).snapshots
    assert [one.name for one in newest_of(found, 2)] == ["two", "three"] * 2
    with pytest.raises(InvalidInput, match="2 snapshots are named three"):
        choose(found, "three")
    with pytest.raises(RepositoryDamaged):
        open_keys(memory_store(), bucket.kek, cluster)


def spoil(store: ObjectStore, key: str) -> bytes:
    before = store.get(key)
    store.put(key, [before[:100] + bytes([before[100] ^ 1]) + before[101:]])
    return before


def test_what_a_copy_meets_damaged_is_known_in_the_source_and_not_in_the_target(
    bucket: Bucket, cluster: str, second: ObjectStore
) -> None:
    root = bucket.snapshot(cluster, "first")
    keys = bucket.keys(cluster)
    pack = min(key for key in reached(bucket.store, cluster, root, bucket.kek) if "/packs/" in key)
    spoil(bucket.store, pack)
    (outcome,) = copy(bucket, second, "first")
    assert outcome.state == "failed" and pack in outcome.reason
    known = findings.read(bucket.store, keys)
    assert known.keys == {pack} and known.faults[pack].parts, "and which of its frames"
    assert not known.is_worked_out
    assert [*second.list(layout.findings_of(cluster))] == []
    (found,) = take_inventory(bucket.store, bucket.kek).snapshots
    assert found.lost is None, "what it costs, a check will work out"


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_known_to_be_damaged_in_the_target_is_written_anew(
    bucket: Bucket, cluster: str, second: ObjectStore, is_there: bool
) -> None:
    """The right bytes are at hand, and proved."""
    first = bucket.snapshot(cluster, "first")
    copy(bucket, second, "first")
    keys = open_keys(second, SECOND_KEK, cluster)
    pack = min(key for key in reached(second, cluster, first, SECOND_KEK) if "/packs/" in key)
    before = spoil(second, pack)
    findings.note(second, keys, [Fault(pack, ALTERED, "does not open")], SystemClock().now())
    wanted = "first" if is_there else bucket.snapshot(cluster, "later", first)["name"]
    (outcome,) = copy(bucket, second, wanted)
    assert outcome.state == ("mended" if is_there else "copied")
    assert second.get(pack) == before and findings.read(second, keys).keys == frozenset()
    (outcome,) = copy(bucket, second, wanted)
    assert (outcome.state, outcome.objects) == ("there", 0)


def test_nothing_is_published_in_a_target_that_cannot_be_mended(
    bucket: Bucket, cluster: str, second: ObjectStore
) -> None:
    first = bucket.snapshot(cluster, "first")
    copy(bucket, second, "first")
    later = bucket.snapshot(cluster, "later", first)
    keys = open_keys(second, SECOND_KEK, cluster)
    pack = min(key for key in reached(second, cluster, first, SECOND_KEK) if "/packs/" in key)
    findings.note(second, keys, [Fault(pack, ALTERED, "does not open")], SystemClock().now())
    spoil(bucket.store, pack)
    (outcome,) = copy(bucket, second, "later")
    assert outcome.state == "failed" and roots.read(second, keys, later["snapshot"]) is None
    assert findings.read(second, keys).keys == {pack}
