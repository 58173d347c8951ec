"""Files that appear whole or not at all, durable on return."""

import os
from pathlib import Path

import pytest

from stillhouse import atomic_file


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files and directories that were synced, in order."""
    names: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return names


def test_a_file_is_synced_before_its_directory(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    (tmp_path / "plan.json.new").write_text("left by a process that was killed")
    atomic_file.replace(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert synced == ["plan.json.new", tmp_path.name]
    assert [one.name for one in tmp_path.iterdir()] == ["plan.json"]


def test_the_first_of_two_creators_wins(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "key"
    assert atomic_file.create(path, b"first")
    assert not atomic_file.create(path, b"second")
    assert path.read_bytes() == b"first"
    assert [name == tmp_path.name for name in synced] == [False, True, False, True]
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_the_repositorys_id_is_durable_once_it_is_remembered(tmp_path: Path, synced: list[str]) -> None:
    """A power cut that lost it would let the next start take an unmounted disk for a new repository."""
    assert atomic_file.drawn_once(tmp_path / "repository.id", lambda: "f" * 32) == "f" * 32
    assert synced == ["repository.id.new", tmp_path.name]
