"""Whatever a data directory holds, its restore holds byte for byte; and nothing is named before it is durable."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import RepositoryDamaged, RestoreFailed
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.format.root import Root
from stillhouse.repository.objects import roots
from stillhouse.storage.local import LocalStore
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import Chunk
from support.data_directories import fake_tree

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


def test_another_major_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, 1)
    store = memory_store()
    keys = create_or_open(store, KEK, new_uuid())
    stored, _, _ = fake_tree.capture(home, store, keys)
    monkeypatch.setattr(fake_tree, "FACTS", replace(fake_tree.FACTS, version_num=150020))
    older, _, _ = fake_tree.capture(home, store, keys)
    with pytest.raises(RestoreFailed, match="PostgreSQL 15"):
        fake_tree.rebuild(tmp_path / "clone", older, store, keys)
    assert not (tmp_path / "clone" / "pgdata").exists()
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)


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
    counted = _Counted()
    keys = create_or_open(counted.store, KEK, new_uuid())
    fake_tree.capture(home, counted, keys)  # type: ignore[arg-type]
    assert counted.created < 30, "packs, maps and one manifest, not an object per file"


class _Counted:
    def __init__(self) -> None:
        self.store = memory_store()
        self.created = 0

    def create(self, key: str, chunks: list[Chunk]) -> bool:
        self.created += 1
        return self.store.create(key, chunks)


def test_nothing_names_what_is_not_durable_and_the_root_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    fake_tree.make(home, 4)
    store = LocalStore(tmp_path / "repository", SystemClock())
    keys = create_or_open(store, KEK, new_uuid())
    seen: list[tuple[str, str]] = []  # what happened to which inode or name, in order

    def recorded(name: str, of: Callable[..., str]) -> None:
        original = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            seen.append((name, of(*arguments)))
            return result

        monkeypatch.setattr(os, name, call)

    recorded("fsync", lambda descriptor: str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    recorded("link", lambda source, target, *rest: f"{source} {target}")
    stored, ledger, _ = fake_tree.capture(home, store, keys)
    snapshot = new_uuid()
    cluster = f"c/{keys.cluster}"
    reached = [(f"{cluster}/packs/{pack.id}", pack.size) for pack in ledger.packs.values()]
    reached.append((f"{cluster}/manifests/{stored.id}", stored.size))
    assert roots.publish(store, keys, Root(snapshot=snapshot, nodes=()), reached)

    synced: set[str] = set()
    appeared: list[str] = []
    for what, who in seen:
        if what == "fsync":
            synced.add(who)
            continue
        source, target = who.split(" ")
        assert any(path.endswith(Path(source).name) for path in synced), (
            f"{target} appeared before its bytes were durable"
        )
        appeared.append(target.rpartition(f"{cluster}/")[2])
        synced.discard(str(Path(target).parent))
    kinds = [name.split("/")[0] for name in appeared]
    assert set(kinds) == {"packs", "maps", "manifests", "roots"}
    assert kinds[-1] == "roots"
    assert kinds[-2] == "manifests"
    assert appeared[-1] == f"roots/{snapshot}"
    # Each map's packs were there before it: a map names only what had appeared.
    assert max(i for i, kind in enumerate(kinds) if kind == "packs") < len(kinds) - 2
    assert seen[-1][0] == "fsync", "the root's directory is synced after it appeared"
