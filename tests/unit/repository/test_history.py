"""Costs follow what is new: a publication asks for a few objects, no matter how many snapshots there were before."""

from collections import Counter

import pytest

from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.objects import presence, roots
from stillhouse.repository.upkeep import reach
from support.repositories.history import History
from support.stores.counting import Counting
from support.stores.dict_store import DictStore

pytest_plugins = ["support.repositories.keyed_store"]


def publication(history: History) -> tuple[Counter[str], int]:
    """The requests of one publication, and how many objects its root reaches."""
    _, stored, root = history.prepare()
    counted = Counting(history.store)
    below = list(reach.reached(counted, history.keys, stored))
    assert roots.publish(counted, history.keys, root, below) is not None
    return counted.calls, len(below)


def test_a_publication_costs_the_same_after_a_long_history(store: DictStore, keys: ClusterKeys) -> None:
    history = History(store, keys, packs=20).grow(32)
    few, named_then = publication(history)
    many, named_now = publication(history.grow(512))
    assert named_then == named_now
    assert many.total() <= few.total() + named_now, (few, many)
    assert many["further pages"] <= 1 < 256 * 20 // 1000


def test_a_folder_is_listed_while_that_finds_enough(store: DictStore) -> None:
    wanted = [f"c/x/packs/{number:05}" for number in range(0, 5000, 10)]
    for number in range(5000):
        store.put(f"c/x/packs/{number:05}", [b"x"])
    counted = Counting(store)
    assert presence.find(counted, [*wanted, "c/x/packs/gone"]).keys() == {*wanted}
    assert counted.calls == {"list": 1, "further pages": 4, "stat": 1}
    counted.calls.clear()
    assert presence.find(counted, wanted[:20]).keys() == {*wanted[:20]}
    assert counted.calls.total() == 1
    counted.calls.clear()
    assert presence.find(counted, wanted[::20]).keys() == {*wanted[::20]}
    assert counted.calls == {"list": 1, "stat": 20} and len(wanted[::20]) == 25


@pytest.mark.parametrize("packs", [1, 40])
def test_an_object_that_is_gone_or_cut_is_found_by_a_publication(
    store: DictStore, keys: ClusterKeys, packs: int
) -> None:
    for lost in ("packs", "maps", "manifests"):
        for content in (None, b"cut"):
            _, stored, root = History(store, keys, packs=packs).prepare()
            below = list(reach.reached(store, keys, stored))
            key = next(key for key, _ in below if f"/{lost}/" in key)
            if content is None:
                store.delete(key)
            else:
                store.put(key, [content])
            with pytest.raises(RepositoryDamaged, match=key):
                roots.publish(store, keys, root, below)
            assert roots.look(store, keys, root.snapshot) is None
