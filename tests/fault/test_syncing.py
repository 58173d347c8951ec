"""A restored tree is on the disk before it is put in place."""

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.node.restore import rebuild, syncing
from stillhouse.node.restore.syncing import SyncedTree
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.storage.object_stores import memory_store
from support.data_directories import fake_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fake_tree.make(tmp_path / "home", seed=2, small_files=3)
    (tmp_path / "home/link").symlink_to("PG_VERSION")
    return tmp_path / "home"


def synced_paths(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    seen: set[Path] = set()
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        seen.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    return seen


def test_a_kernel_that_keeps_errors_to_itself_is_asked_for_every_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_KERNEL_THAT_TELLS", (999, 0))
    seen = synced_paths(monkeypatch)
    with closing(SyncedTree(root)) as tree:
        tree.sync()
    assert seen == {root, *(path for path in root.rglob("*") if not path.is_symlink())}


def test_a_failure_to_sync_is_an_error() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        syncing.sync_file_system(-1)


def test_a_tree_is_synced_whole_before_it_is_put_in_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "clone/pgdata"
    steps: list[str] = []
    sync_file_system, sync = syncing.sync_file_system, syncing.sync

    def all_at_once(descriptor: int) -> None:
        assert (tmp_path / "clone/pgdata.restoring/PG_VERSION").exists(), "after the last file"
        assert not final.exists()
        sync_file_system(descriptor)
        steps.append("tree")

    def one(path: Path) -> None:
        assert final.exists()
        sync(path)
        steps.append(path.name)

    monkeypatch.setattr(syncing, "sync_file_system", all_at_once)
    monkeypatch.setattr(rebuild, "sync", one)
    store = memory_store()
    keys = create_or_open(store, Kek(bytes(32)), new_uuid())
    stored, _, _ = fake_tree.capture(root, store, keys)
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    assert steps == ["tree", "clone"]
