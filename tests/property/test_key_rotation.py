"""Whenever a rotation is killed, each cluster opens with the old or the new KEK; called again, with the new alone."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.domain.ids import new_uuid
from stillhouse.errors import InvalidInput, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import (
    KEY_BYTES,
    ClusterKeys,
    Kek,
    create_or_open,
    new_generation,
    open_keys,
    unwrap,
    wrap,
)
from stillhouse.repository.format.root import Root, RootCluster
from stillhouse.repository.objects import roots
from stillhouse.repository.upkeep.rotate import Rotated, rotate, shred
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.stores.crashing import Crashing, Killed

OLD, NEW, THIRD = (Kek(bytes([number]) * KEY_BYTES) for number in range(3))


class Vault:
    """Clusters with some generations each, and a snapshot sealed by every generation."""

    def __init__(self, generations: list[int]) -> None:
        self.store = memory_store()
        self.keys: dict[str, ClusterKeys] = {}
        self.snapshots: dict[str, str] = {}
        for number in generations:
            cluster = new_uuid()
            for generation in range(1, number + 1):
                if generation == 1:
                    create_or_open(self.store, OLD, cluster)
                else:
                    new_generation(self.store, OLD, cluster)
                self.keys[cluster] = open_keys(self.store, OLD, cluster)
                self._publish(cluster)

    def _publish(self, cluster: str) -> None:
        snapshot = new_uuid()
        root = Root(snapshot=snapshot, name="n", cluster=RootCluster(name="sales"), nodes=())
        assert roots.publish(self.store, self.keys[cluster], root, []) == root
        self.snapshots[snapshot] = cluster

    def opens(self, kek: Kek, cluster: str) -> bool:
        """All of the cluster's keys, and every snapshot of it."""
        try:
            keys = open_keys(self.store, kek, cluster)
        except InvalidInput:
            return False
        assert keys == self.keys[cluster]
        return all(
            roots.read(self.store, keys, snapshot) is not None
            for snapshot, owner in self.snapshots.items()
            if owner == cluster
        )

    def check_all_open(self, *keks: Kek) -> None:
        for cluster in self.keys:
            assert any(self.opens(kek, cluster) for kek in keks), cluster

    def check_none_opens(self, kek: Kek) -> None:
        assert not any(self.opens(kek, cluster) for cluster in self.keys)


def _killed(store: ObjectStore, at: int, after: bool, **options: Any) -> bool:
    try:
        rotate(Crashing(store, at, after=after), OLD, NEW, **options)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("after", [False, True])
def test_a_rotation_killed_between_any_two_calls_loses_nothing(after: bool) -> None:
    for at in count():
        vault = Vault([1, 3])
        was_killed = _killed(vault.store, at, after)
        vault.check_all_open(OLD, NEW)
        rotate(vault.store, OLD, NEW)
        vault.check_all_open(NEW)
        vault.check_none_opens(OLD)
        if not was_killed:
            assert at > 20, "every call of a whole rotation was tried"
            return


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.booleans()), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_killed_again_and_again_it_still_comes_to_its_end(
    generations: list[int], kills: list[tuple[int, bool, bool]]
) -> None:
    vault = Vault(generations)
    for at, after, keep_old in kills:
        _killed(vault.store, at, after, keep_old=keep_old)
        vault.check_all_open(OLD, NEW)
    rotate(vault.store, OLD, NEW)
    vault.check_all_open(NEW)
    vault.check_none_opens(OLD)


def test_the_old_kek_may_be_kept_until_the_service_has_the_new_one() -> None:
    vault = Vault([2])
    assert rotate(vault.store, OLD, NEW, keep_old=True) == Rotated(1, 2, 0, ())
    vault.check_all_open(OLD)
    vault.check_all_open(NEW)
    assert rotate(vault.store, OLD, NEW) == Rotated(1, 0, 2, ())
    vault.check_none_opens(OLD)
    assert rotate(vault.store, OLD, NEW) == Rotated(1, 0, 0, ())


def test_what_is_sealed_with_the_old_kek_meanwhile_is_wrapped_too() -> None:
    vault = Vault([1])
    late = new_uuid()

    class FirstCaptureMeanwhile(Crashing):
        def delete(self, key: str) -> None:
            vault.keys[late] = create_or_open(vault.store, OLD, late)
            super().delete(key)

    rotate(FirstCaptureMeanwhile(vault.store, 10_000, after=False), OLD, NEW)
    vault.check_all_open(NEW)
    vault.check_none_opens(OLD)


def test_a_generation_drawn_in_the_midst_of_a_rotation_is_found_at_the_next() -> None:
    vault = Vault([1])
    (cluster,) = vault.keys
    rotate(vault.store, OLD, NEW, keep_old=True)
    with pytest.raises(InvalidInput, match="wrapped by other KEKs"):
        new_generation(vault.store, OLD, cluster)
    # One that was quicker than the look above: neither KEK then opens all, and neither pretends to.
    secret = bytes(KEY_BYTES) + vault.keys[cluster].fingerprint_key
    wrap(vault.store, OLD, cluster, 2, secret)
    with pytest.raises(InvalidInput, match="generation 2"):
        open_keys(vault.store, NEW, cluster)
    rotate(vault.store, OLD, NEW)
    assert open_keys(vault.store, NEW, cluster).generations[2] == bytes(KEY_BYTES)


def test_keys_that_differ_between_two_keks_are_both_kept() -> None:
    vault = Vault([1])
    (cluster,) = vault.keys
    wrap(vault.store, NEW, cluster, 1, bytes(2 * KEY_BYTES))
    with pytest.raises(RepositoryDamaged, match="other keys"):
        rotate(vault.store, OLD, NEW)
    assert unwrap(vault.store, NEW, cluster, 1) == bytes(2 * KEY_BYTES)
    vault.check_all_open(OLD)


@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_nothing_is_removed_while_the_new_object_does_not_open(damage: bytes) -> None:
    vault = Vault([2, 1])
    rotate(vault.store, OLD, NEW, keep_old=True)
    cluster = max(vault.keys)
    vault.store.put(layout.keys(cluster, 1, NEW.id), [damage])
    with pytest.raises(RepositoryDamaged, match=NEW.id):
        rotate(vault.store, OLD, NEW)
    vault.check_all_open(OLD)


def test_the_new_object_is_proved_again_right_before_the_old_one_goes() -> None:
    vault = Vault([1, 1])
    second = max(vault.keys)

    class LosingStore(Crashing):
        def delete(self, key: str) -> None:
            vault.store.put(layout.keys(second, 1, NEW.id), [b"{}"])
            super().delete(key)

    with pytest.raises(RepositoryDamaged, match=NEW.id):
        rotate(LosingStore(vault.store, 10_000, after=False), OLD, NEW)
    assert unwrap(vault.store, OLD, second, 1)


def test_clusters_of_another_kek_are_left_alone_and_told() -> None:
    vault = Vault([1])
    foreign = new_uuid()
    create_or_open(vault.store, THIRD, foreign)
    assert rotate(vault.store, OLD, NEW).foreign == (foreign,)
    assert open_keys(vault.store, THIRD, foreign)


def test_a_cluster_that_is_sealed_by_others_in_part_is_refused() -> None:
    vault = Vault([1])
    (cluster,) = vault.keys
    wrap(vault.store, THIRD, cluster, 2, bytes(2 * KEY_BYTES))
    with pytest.raises(RepositoryDamaged, match="neither KEK"):
        rotate(vault.store, OLD, NEW)
    assert unwrap(vault.store, OLD, cluster, 1)


def test_the_new_kek_must_be_another() -> None:
    with pytest.raises(InvalidInput, match="is the old one"):
        rotate(memory_store(), OLD, OLD)


def test_a_new_generation_seals_what_is_new_and_leaves_the_rest_readable() -> None:
    vault = Vault([1])
    (cluster,), (snapshot,) = vault.keys, vault.snapshots
    before = vault.keys[cluster]
    assert new_generation(vault.store, OLD, cluster) == 2
    after = open_keys(vault.store, OLD, cluster)
    assert after.fingerprint_key == before.fingerprint_key, "fingerprints stay comparable"
    assert after.generations[1] == before.generations[1] != after.generations[2]
    assert roots.read(vault.store, after, snapshot) is not None
    # A capture that opened its keys before goes on with them, and what it writes is readable ever after.
    late = Root(snapshot=new_uuid(), name="late", nodes=())
    roots.publish(vault.store, before, late, [])
    assert roots.read(vault.store, after, late.snapshot) == late
    fresh = Root(snapshot=new_uuid(), name="fresh", nodes=())
    roots.publish(vault.store, after, fresh, [])
    with pytest.raises(RepositoryDamaged, match="generation 2"):
        roots.read(vault.store, before, fresh.snapshot)


def test_a_shredded_cluster_never_opens_again_and_the_others_do() -> None:
    vault = Vault([2, 1])
    shredded, kept = vault.keys
    vault.store.put(f"c/{shredded}/later/x", [b"?"])
    everything = {stored.key: vault.store.get(stored.key) for stored in vault.store.list("")}
    assert shred(vault.store, OLD, shredded, "sales") == 4
    left = {stored.key for stored in vault.store.list("")}
    assert {key for key in left if shredded in key} == {f"c/{shredded}/later/x"}, "it is not ours to remove"
    assert {key for key in everything if kept in key} <= left
    # Even with the KEK and every container at hand.
    for key, stored in everything.items():
        if f"{shredded}/roots" in key:
            vault.store.put(key, [stored])
    with pytest.raises(RepositoryDamaged, match="shredded"):
        open_keys(vault.store, OLD, shredded)
    assert vault.opens(OLD, kept)


def test_only_who_knows_the_clusters_name_shreds_it() -> None:
    vault = Vault([1])
    (cluster,) = vault.keys
    for kek, name in ((OLD, "sale"), (OLD, cluster), (THIRD, "sales")):
        with pytest.raises(InvalidInput):
            shred(vault.store, kek, cluster, name)
    with pytest.raises(InvalidInput, match="holds nothing"):
        shred(vault.store, OLD, new_uuid(), "sales")
    vault.check_all_open(OLD)
    nameless = new_uuid()
    create_or_open(vault.store, OLD, nameless)
    assert shred(vault.store, OLD, nameless, nameless) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_shredding_that_is_killed_is_ended_by_the_next(after: bool) -> None:
    for at in count():
        vault = Vault([2])
        (cluster,) = vault.keys
        try:
            shred(Crashing(vault.store, at, after=after), OLD, cluster, "sales")
        except Killed:
            if any(vault.store.list(layout.all_of(cluster))):
                shred(vault.store, OLD, cluster, "sales")
            assert not any(vault.store.list(layout.all_of(cluster)))
        else:
            assert at > 8
            return
