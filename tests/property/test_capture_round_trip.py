"""Whatever a data directory holds, its restore holds byte for byte; and nothing is named before it is durable."""

from pathlib import Path

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.storage.object_stores import memory_store
from support.data_directories import fake_tree
from support.stores.counting import Counting

KEK = Kek(bytes(32))


@pytest.mark.parametrize("seed", range(6))
def test_a_directory_comes_back_byte_for_byte(tmp_path: Path, seed: int) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, seed)
    store = memory_store()
    keys = create_or_open(store, KEK, new_uuid())
    stored, _, copy = fake_tree.capture(home, store, keys, workers=1 + seed % 3)
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    found = fake_tree.tree(tmp_path / "clone" / "pgdata")
    expected = fake_tree.tree(home)
    expected["global/pg_control"] = b"control" * 100
    expected["recovery.signal"] = b""
    assert found == expected
    assert copy.tally.rotten == 0


def test_a_restore_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, 1)
    store = memory_store()
    keys = create_or_open(store, KEK, new_uuid())
    stored, _, _ = fake_tree.capture(home, store, keys)
    (tmp_path / "clone" / "pgdata.restoring" / "base").mkdir(parents=True)
    (tmp_path / "clone" / "pgdata.restoring" / "left").write_text("over")
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    assert "left" not in fake_tree.tree(tmp_path / "clone" / "pgdata")


def test_every_damaged_pack_is_found(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, 2)
    store = memory_store()
    keys = create_or_open(store, KEK, new_uuid())
    stored, ledger, _ = fake_tree.capture(home, store, keys)
    for number, pack in enumerate(ledger.packs.values()):
        key = f"c/{keys.cluster}/packs/{pack.id}"
        whole = store.get(key)
        damaged = bytearray(whole)
        damaged[100 + number] ^= 1
        store.put(key, [damaged])
        with pytest.raises(RepositoryDamaged, match=pack.id):
            fake_tree.rebuild(tmp_path / f"clone{number}", stored, store, keys)
        store.put(key, [whole])


def test_small_files_cost_few_requests(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, 3, small_files=2000)
    counted = Counting(memory_store())
    keys = create_or_open(counted.store, KEK, new_uuid())
    fake_tree.capture(home, counted, keys)
    assert counted.calls["create"] < 30, "packs, maps and one manifest, not an object per file"
