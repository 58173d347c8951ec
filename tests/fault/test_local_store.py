"""The directory store under power cuts, kill -9, crowds of writers and full disks."""

import errno
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stillhouse.clock import SystemClock
from stillhouse.errors import InvalidInput, StoreUnavailable
from stillhouse.storage.local import LEFTOVER_AGE, TEMPORARY, LocalStore


class FixedClock(SystemClock):
    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


class Disk:
    """What a power cut would leave of a directory tree: passes calls on and notes what was synced when."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._files: dict[int, int] = {}  # inode -> length on the disk
        self._names: set[Path] = set()  # directory entries on the disk
        self.appeared: list[Path] = []
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._noting_fsync)
        for call in ("link", "rename", "replace"):
            monkeypatch.setattr(os, call, self._noting_names(getattr(os, call)))

    def _noting_fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path, status = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names = {name for name in self._names if name.parent != path} | set(path.iterdir())
        else:
            self._files[status.st_ino] = status.st_size

    def _noting_names(self, call: Any) -> Any:
        def noting(source: Path, target: Path) -> None:
            status = source.stat()
            assert self._files.get(status.st_ino) == status.st_size, f"{target} appeared before its bytes"
            self.appeared.append(target)
            call(source, target)

        return noting

    def holds_name(self, path: Path) -> bool:
        inside = [path, *(parent for parent in path.parents if self._root in parent.parents)]
        return all(name in self._names for name in inside)

    def holds(self, path: Path) -> bool:
        status = path.stat()
        return self.holds_name(path) and self._files.get(status.st_ino) == status.st_size


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, SystemClock())


@pytest.fixture
def disk(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(root, monkeypatch)


def temporaries(root: Path) -> list[Path]:
    return list((root / TEMPORARY).iterdir())


def test_what_put_acknowledges_survives_a_power_cut(store: LocalStore, root: Path, disk: Disk) -> None:
    store.put("c/one/packs/p", [b"a" * 100_000, b"b"])
    assert disk.appeared == [root / "c/one/packs/p"]
    assert disk.holds(root / "c/one/packs/p")
    store.put("c/one/packs/p", [b"replaced"])
    assert len(disk.appeared) == 2
    assert disk.holds(root / "c/one/packs/p")


def test_what_create_acknowledges_survives_a_power_cut(store: LocalStore, root: Path, disk: Disk) -> None:
    assert store.create("c/one/roots/s", [b"root"])
    assert disk.appeared == [root / "c/one/roots/s"]
    assert disk.holds(root / "c/one/roots/s")


def test_a_folder_made_by_another_process_is_synced_too(store: LocalStore, root: Path, disk: Disk) -> None:
    (root / "c/one").mkdir(parents=True)
    store.put("c/one/object", [b"x"])
    assert disk.holds(root / "c/one/object")


def test_a_loser_answers_only_when_the_winner_would_survive(
    store: LocalStore, root: Path, disk: Disk
) -> None:
    """A winner may be between its link and its sync; what the loser was told must not be undone."""
    (root / "roots").mkdir()
    (root / "roots/s").write_bytes(b"theirs")
    assert not store.create("roots/s", [b"ours"])
    assert disk.holds_name(root / "roots/s")


def test_a_delete_survives_a_power_cut(store: LocalStore, root: Path, disk: Disk) -> None:
    store.put("keys/1", [b"secret"])
    store.delete("keys/1")
    assert not disk.holds_name(root / "keys/1")


def test_a_repeated_delete_makes_the_first_one_durable(store: LocalStore, root: Path, disk: Disk) -> None:
    store.put("keys/1", [b"secret"])
    (root / "keys/1").unlink()  # a process that died before its sync
    assert disk.holds_name(root / "keys/1")
    store.delete("keys/1")
    assert not disk.holds_name(root / "keys/1")


def test_nothing_appears_when_the_disk_refuses_to_sync(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        store.put("a", [b"x"])
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        store.create("b", [b"x"])
    assert list(store.list("")) == []
    assert temporaries(root) == []


def test_a_write_that_the_system_takes_in_pieces_is_whole(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.writev

    def some(descriptor: int, buffers: list[memoryview]) -> int:
        return real(descriptor, [buffers[0][: random.randint(1, 5)]])

    monkeypatch.setattr(os, "writev", some)
    store.put("a", [b"0123456789", b"", b"abc", b"d" * 50])
    assert store.get("a") == b"0123456789abc" + b"d" * 50


CREATOR = """
import sys
from pathlib import Path
from stillhouse.clock import SystemClock
from stillhouse.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]), SystemClock())
print("ready", flush=True)
sys.stdin.readline()
print(store.create("c/one/roots/s", [sys.argv[2].encode()]), flush=True)
"""


def test_one_of_sixteen_creating_processes_wins(store: LocalStore, root: Path) -> None:
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, str(root), f"writer {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(16)
    ]
    for creator in creators:
        assert creator.stdout
        assert creator.stdout.readline() == "ready\n"
    for creator in creators:
        assert creator.stdin
        creator.stdin.write("go\n")
        creator.stdin.flush()
    answers = [creator.communicate()[0].strip() for creator in creators]
    assert sorted(answers) == ["False"] * 15 + ["True"]
    assert store.get("c/one/roots/s") == f"writer {answers.index('True')}".encode()
    assert temporaries(root) == []


# Objects say what they are: a hash, then what it is the hash of.
ENDLESS_WRITER = """
import secrets, sys
from hashlib import sha256
from pathlib import Path
from stillhouse.clock import SystemClock
from stillhouse.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]), SystemClock())
for number in range(10**9):
    content = secrets.token_bytes(256 * 1024)
    chunks = [sha256(content).digest(), content]
    store.put("replaced", chunks)
    assert store.create(f"{sys.argv[2]}/{number}", chunks)
    print(number, flush=True)
"""


def is_whole(content: bytes) -> bool:
    return content[:32] == sha256(content[32:]).digest() and len(content) == 32 + 256 * 1024


def test_kill_9_leaves_whole_objects_or_none(store: LocalStore, root: Path) -> None:
    acknowledged = set()
    for life in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", ENDLESS_WRITER, str(root), f"life-{life}"],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout
            for _ in range(2):
                acknowledged.add(f"life-{life}/{int(writer.stdout.readline())}")
            time.sleep(random.uniform(0, 0.01))  # anywhere within the next writes
            writer.kill()
        visible = {found.key: found.size for found in store.list("")}
        assert acknowledged <= visible.keys()
        for key, size in visible.items():
            assert size == store.size(key)
            assert is_whole(store.get(key)), key


def test_old_leftovers_of_the_killed_go_and_young_ones_stay(root: Path) -> None:
    now = datetime.now(UTC)
    store = LocalStore(root, FixedClock(now))
    store.put("kept", [b"x"])
    for name, age in (("old", LEFTOVER_AGE + timedelta(minutes=1)), ("young", LEFTOVER_AGE / 2)):
        leftover = root / TEMPORARY / name
        leftover.write_bytes(b"half")
        os.utime(leftover, times=((now - age).timestamp(),) * 2)
    assert [found.key for found in store.list("")] == ["kept"]
    reopened = LocalStore(root, FixedClock(now))
    assert [path.name for path in temporaries(root)] == ["young"]
    assert reopened.get("kept") == b"x"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "tiny"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk of its own to fill")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a disk to fill: {done.stderr}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_told_and_leaves_nothing(tiny_disk: Path) -> None:
    store = LocalStore(tiny_disk / "store", SystemClock())
    store.put("kept", [b"old"])
    too_much = [b"x" * 65536] * 64
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        store.put("kept", too_much)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        store.create("new", too_much)
    assert [found.key for found in store.list("")] == ["kept"]
    assert store.get("kept") == b"old"
    assert temporaries(tiny_disk / "store") == []
    assert store.create("new", [b"x" * 1000])


def test_an_unmounted_store_is_unavailable_and_never_empty(store: LocalStore, root: Path) -> None:
    store.put("a", [b"x"])
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    for call in (
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.size("a"),
        lambda: list(store.list("")),
        lambda: store.put("b/c", [b"x"]),
        lambda: store.create("b/c", [b"x"]),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert list(root.iterdir()) == []


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = LocalStore(tmp_path / "new/store", SystemClock())
        store.put("c/put", [b"x"])
        store.create("c/created", [b"x"])
    finally:
        os.umask(before)
    for path in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_name_cannot_be_an_object_and_a_folder(store: LocalStore) -> None:
    store.put("c/one", [b"x"])
    for refused in (
        lambda: store.put("c/one/below", [b"x"]),
        lambda: store.create("c/one/below", [b"x"]),
        lambda: store.put("c", [b"x"]),
        lambda: store.create("c", [b"x"]),
    ):
        with pytest.raises(InvalidInput, match="both an object and a folder"):
            refused()
    store.delete("c")
    assert [found.key for found in store.list("")] == ["c/one"]


def test_foreign_files_are_not_objects(store: LocalStore, root: Path) -> None:
    for name in ("lost+found", "UPPER", ".hidden"):
        (root / name).write_bytes(b"x")
    store.put("a", [b"x"])
    assert [found.key for found in store.list("")] == ["a"]
