"""Root follows nobody's links: files that an account may put into its directory, and what becomes of them."""

import os
import pickle
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import FileRefused, InternalError
from stillhouse.node.capture.packing import Batch, PageRun, WholeFile
from stillhouse.node.capture.packing_process import PackerPlan, PackingProcess
from stillhouse.node.restore.rebuild import RestoreTask, restore
from stillhouse.postgres.files.tree import Tree, read_outside, remove_tree, shown
from stillhouse.postgres.host import server
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import Skipped
from stillhouse.postgres.wal.feed import wal_tree
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.clone.replay import ReplayLog
from support.data_directories import fake_tree
from support.data_directories.fake_tree import FACTS, PAGE
from support.data_directories.plants import DEEP, LINK, ROOTS, Secret, holds, make_secret, needs_root, plant

ACCOUNT = 65534  # nobody's; it needs no entry
TABLESPACE = FACTS.tablespace_directory


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return make_secret(tmp_path, TABLESPACE)


@pytest.fixture
def pgdata(tmp_path: Path) -> Path:
    """A node's data directory as PostgreSQL would leave it, the account's own."""
    made = tmp_path / "node" / "pgdata"
    fake_tree.make(made, seed=3, small_files=5)
    (made / "pg_tblspc").mkdir()
    give(made.parent)
    return made


def give(top: Path) -> None:
    if os.geteuid() == 0:
        for directory, _, names in os.walk(top):
            os.chown(directory, ACCOUNT, ACCOUNT)
            for name in names:
                os.chown(Path(directory, name), ACCOUNT, ACCOUNT, follow_symlinks=False)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "repository"))


@pytest.fixture
def keys(store: ObjectStore) -> ClusterKeys:
    return create_or_open(store, Kek(bytes(32)), new_uuid())


def node_of(pgdata: Path) -> Node:
    return Node("n", "cn", Role.CN, "127.0.0.1", 8000, str(pgdata.parent), str(pgdata.parent))


# --- captures ---------------------------------------------------------------------------------------------


@needs_root
def test_what_is_not_the_accounts_own_is_skipped_by_name_and_the_rest_is_whole(
    pgdata: Path, secret: Secret, store: ObjectStore, keys: ClusterKeys, tmp_path: Path
) -> None:
    whole = fake_tree.tree(pgdata)
    told = plant(pgdata, secret, "base/5")
    stored, _, copy = fake_tree.capture(pgdata, store, keys)
    assert copy._reader.skipped.reasons == told
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    restored = tmp_path / "clone" / "pgdata"
    found = fake_tree.tree(restored)
    assert {path: found.get(path) for path in whole} == whole
    assert holds(restored, secret.content) == []
    assert [path for path in restored.rglob("*") if path.is_symlink()] == []


@needs_root
@pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])
@pytest.mark.parametrize("path", ["base/5/30001", "pg_xact/0001"])
def test_a_file_swapped_after_it_was_listed_is_caught_when_it_is_opened(
    pgdata: Path, secret: Secret, store: ObjectStore, keys: ClusterKeys, path: str, in_processes: bool
) -> None:
    plan = PackerPlan(LocalReader(pgdata, TABLESPACE), store, keys, PAGE, 1, checksums=False)
    assert path in {entry.path for entry in plan.reader.list()}
    (pgdata / path).unlink()
    (pgdata / path).symlink_to(secret.file)
    runs = (PageRun(0, path, np.arange(1, dtype=np.uint32), 0),)
    batch = Batch(runs=runs) if path.startswith("base") else Batch(files=(WholeFile(0, path, 1),))
    if in_processes:
        process = PackingProcess().begin(plan, lambda pack: None)
        packed = process.pack(batch)
        process.end()
    else:
        packed = plan.packer(lambda pack: None).pack(batch)
    assert packed.skipped == [(path, LINK)]
    assert packed.bytes_read == 0
    assert [run.placed for run in packed.runs] + [file.extents for file in packed.files] == [None]


@needs_root
def test_a_directory_swapped_after_it_was_listed_leads_nowhere(pgdata: Path, secret: Secret) -> None:
    """The very path that was read before: by what is held open, or anew by another process."""
    reader = LocalReader(pgdata, TABLESPACE)
    paths = [entry.path for entry in reader.list() if entry.path.startswith("base/5/")]
    (pgdata / "base/5").rename(pgdata / "base/6")
    for path in paths:
        (secret.place / path.rpartition("/")[2]).write_bytes(secret.content)
    (pgdata / "base/5").symlink_to(secret.place)
    assert secret.content not in reader.content(paths[0])
    again = pickle.loads(pickle.dumps(reader))
    with pytest.raises(FileRefused, match="base/5 is a symbolic link"):
        again.open(paths[0])


@needs_root
@pytest.mark.parametrize("name", ["global/pg_control", "pg_wal/000000010000000000000001"])
def test_neither_control_file_nor_wal_is_read_through_a_link(pgdata: Path, secret: Secret, name: str) -> None:
    (pgdata / name).symlink_to(secret.file)
    reader = LocalReader(pgdata, TABLESPACE)
    with pytest.raises(FileRefused, match=f"{name} is a symbolic link"):
        wal_tree(pgdata, None).open(name) if "wal" in name else reader.content(name)


@needs_root
def test_a_data_directory_that_is_a_link_or_anothers_is_refused(pgdata: Path, secret: Secret) -> None:
    pgdata.rename(pgdata.with_name("aside"))
    pgdata.symlink_to(secret.place)
    with pytest.raises(FileRefused, match="pgdata is a symbolic link"):
        LocalReader(pgdata, TABLESPACE)
    pgdata.unlink()
    secret.place.rename(pgdata)
    with pytest.raises(FileRefused, match=re.escape(ROOTS)):
        LocalReader(pgdata, TABLESPACE, owner=ACCOUNT)


@needs_root
@pytest.mark.parametrize("path", ["pg_wal", "pg_tblspc/16500", "logs"])
def test_links_of_postgresql_are_followed_to_what_is_the_accounts_and_not_further(
    pgdata: Path, secret: Secret, path: str
) -> None:
    elsewhere = pgdata.parent / "elsewhere"
    inside = elsewhere / TABLESPACE / "5" if path.startswith("pg_tblspc") else elsewhere
    inside.mkdir(parents=True)
    (inside / "16384").write_bytes(b"mine")
    (inside / "16385").symlink_to(secret.file)
    give(elsewhere)
    if path == "pg_wal":
        (pgdata / path).rmdir()
    (pgdata / path).symlink_to(elsewhere)
    reader = LocalReader(pgdata, TABLESPACE, log_directory="./logs")
    listed = [entry for entry in reader.list() if entry.path.startswith(path)]
    assert listed[0].path == path and listed[0].size is None
    file = f"{path}/{inside.relative_to(elsewhere)}/16384".replace("/./", "/")
    if path == "pg_wal":
        assert len(listed) == 1
        os.close(wal_tree(pgdata, None).open("pg_wal/16384"))
    else:
        assert [entry.path for entry in listed if entry.size is not None] == [file]
        assert reader.skipped.reasons == {file.replace("16384", "16385"): LINK}
        assert reader.content(file) == b"mine"


@needs_root
def test_an_allowed_link_that_was_swapped_is_judged_by_where_it_leads_now(
    pgdata: Path, secret: Secret
) -> None:
    """A link in the middle of its target counts too: O_NOFOLLOW looks only at the last name of a path."""
    way = pgdata.parent / "way"
    (way / "place").mkdir(parents=True)
    (secret.place / "place").mkdir()
    give(way)
    (pgdata / "pg_tblspc/16500").symlink_to(way / "place")
    way.rename(pgdata.parent / "aside")
    way.symlink_to(secret.place)
    reader = LocalReader(pgdata, TABLESPACE)
    assert [entry.path for entry in reader.list() if "16500" in entry.path] == []
    assert reader.skipped.reasons == {"pg_tblspc/16500": ROOTS}


@needs_root
def test_what_the_kernel_keeps_from_an_account_is_not_read_for_it(pgdata: Path) -> None:
    """procfs has files that bear an account's uid, and that root alone may read, or that never end."""
    with subprocess.Popen(["sleep", "60"], user=ACCOUNT) as process:
        try:
            (pgdata / "log").symlink_to(f"/proc/{process.pid}")
            reader = LocalReader(pgdata, TABLESPACE)
            assert [entry.path for entry in reader.list() if entry.path.startswith("log")] == []
            assert reader.skipped.reasons == {"log": "in the kernel's procfs"}
            with pytest.raises(FileRefused, match="in the kernel's procfs"):
                read_outside(Path(f"/proc/{process.pid}/stack"), ACCOUNT)
        finally:
            process.kill()


def test_what_is_skipped_is_counted_once_each_and_named_within_bounds() -> None:
    skipped = Skipped()
    for number in range(300):
        skipped.add(f"{number:03}", LINK)
        skipped.add("000", LINK)
    assert skipped.count == 300
    assert list(skipped.reasons) == [f"{number:03}" for number in range(100)]


def test_names_are_shown_whatever_bytes_they_hold() -> None:
    assert shown(os.fsdecode(b"base/\xff\xfe")) == r"base/\xff\xfe"
    assert len(shown("x" * 5000)) == 503


@needs_root
def test_configuration_elsewhere_is_read_where_it_is_the_accounts_own(pgdata: Path, secret: Secret) -> None:
    conf = pgdata.parent / "main.conf"
    conf.write_text("port = 1")
    give(pgdata.parent)
    (pgdata.parent / "linked.conf").symlink_to(conf)
    assert read_outside(pgdata.parent / "linked.conf", ACCOUNT) == b"port = 1"
    conf.unlink()
    plants: list[tuple[Callable[[], None], str]] = [
        (lambda: conf.symlink_to(secret.file), ROOTS),
        (lambda: conf.symlink_to("/dev/zero"), "a device"),
        (lambda: os.mkfifo(conf), "a named pipe"),
        (lambda: os.link(secret.file, conf), ROOTS),
    ]
    for make, reason in plants:
        make()
        with pytest.raises(FileRefused, match=re.escape(reason)):
            read_outside(conf, ACCOUNT)
        conf.unlink()
    with pytest.raises(FileNotFoundError):
        read_outside(conf, ACCOUNT)


# --- what the service reads and writes of a node ----------------------------------------------------------


@needs_root
def test_what_is_written_replaces_a_link_and_belongs_to_the_account(pgdata: Path, secret: Secret) -> None:
    (pgdata / "pg_hba.conf").symlink_to(secret.file)
    os.link(secret.file, pgdata / "pg_ident.conf")
    tree = Tree(pgdata.parent)
    for name in ("pg_hba.conf", "pg_ident.conf"):
        tree.replace(f"pgdata/{name}", b"rules")
        status = (pgdata / name).lstat()
        assert (pgdata / name).read_bytes() == b"rules"
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (ACCOUNT, ACCOUNT, 0o600)
    assert secret.file.read_bytes() == secret.content
    assert secret.file.stat().st_uid == 0
    assert [path.name for path in pgdata.iterdir() if path.name.endswith(".new")] == []


def test_what_a_killed_replace_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    old, young, other = (tmp_path / f"{name}.new" for name in ("x.0123abcd", "x.4567abcd", "x.conf.0123abcd"))
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (1, 1))
    Tree(tmp_path, owner=os.getuid()).replace("x", b"rules")
    assert {path.name for path in tmp_path.iterdir()} == {"x", young.name, other.name}


@needs_root
@pytest.mark.parametrize(
    "act", [lambda tree: tree.replace("pgdata/x", b""), lambda tree: tree.remove("pgdata/x")]
)
def test_nothing_is_written_or_removed_where_a_linked_directory_leads(
    pgdata: Path, secret: Secret, act: Callable[[Tree], None]
) -> None:
    (secret.place / "x").write_bytes(secret.content)
    before = fake_tree.tree(secret.place)
    pgdata.rename(pgdata.with_name("aside"))
    pgdata.symlink_to(secret.place)
    with pytest.raises(FileRefused):
        act(Tree(pgdata.parent))
    assert fake_tree.tree(secret.place) == before


@needs_root
@pytest.mark.parametrize("what", ["link", "pipe", "directory", "large", "many digits"])
def test_a_lock_file_that_is_not_one_names_no_server(pgdata: Path, secret: Secret, what: str) -> None:
    lock = pgdata / "postmaster.pid"
    if what == "link":
        secret.file.write_text(str(os.getpid()))
        lock.symlink_to(secret.file)
    elif what == "pipe":
        os.mkfifo(lock)
    elif what == "directory":
        lock.mkdir()
    elif what == "many digits":
        lock.write_text("9" * 1000)
    else:
        lock.touch()
        os.truncate(lock, 1 << 40)
    give(pgdata)
    assert server.process_id(node_of(pgdata)) is None


def test_no_file_that_is_read_at_once_fills_the_memory(pgdata: Path) -> None:
    assert Tree(pgdata).read("PG_VERSION", 3) == b"18\n"
    os.truncate(pgdata / "PG_VERSION", 1 << 40)
    with pytest.raises(FileRefused, match="PG_VERSION is larger than 3 bytes"):
        Tree(pgdata).read("PG_VERSION", 3)


@needs_root
@pytest.mark.parametrize("what", ["link", "hard link", "pipe"])
def test_a_log_that_is_not_the_accounts_is_not_read(pgdata: Path, secret: Secret, what: str) -> None:
    log = pgdata.parent / "server.log"
    if what == "link":
        log.symlink_to(secret.file)
    elif what == "hard link":
        os.link(secret.file, log)
    else:
        os.mkfifo(log)
    with pytest.raises(FileRefused):
        ReplayLog(log)
    error = server._not_started(node_of(pgdata), 0)
    assert secret.content.decode() not in str(error)
    assert "server.log is" in str(error)


def test_a_log_without_end_is_read_in_parts(pgdata: Path) -> None:
    log = pgdata.parent / "server.log"
    log.touch()
    give(pgdata.parent)
    replay = ReplayLog(log)
    os.truncate(log, 1 << 40)
    assert replay.look(1) is None
    assert len(str(server._not_started(node_of(pgdata), 0))) < 2 << 20


# --- removal ----------------------------------------------------------------------------------------------


def test_a_removed_directory_takes_nothing_with_it_that_its_links_lead_to(
    pgdata: Path, secret: Secret
) -> None:
    for name in ("file", "place"):
        (pgdata / name).symlink_to(getattr(secret, name))
    remove_tree(pgdata)
    assert not pgdata.exists()
    assert secret.file.read_bytes() == secret.content
    remove_tree(pgdata)
    pgdata.symlink_to(secret.place)
    remove_tree(pgdata)
    assert secret.file.read_bytes() == secret.content


@pytest.fixture
def deepest(tmp_path: Path) -> Iterator[Path]:
    """A directory so deep that recursive programs fail in it, pytest's own removal included."""
    top = tmp_path / "top"
    top.mkdir()
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=descriptor)
        below = os.open("deeper", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    yield top
    subprocess.run(["rm", "-rf", top], check=True)


def test_a_directory_of_any_depth_is_read_to_some_depth_and_removed_whole(deepest: Path) -> None:
    reader = LocalReader(deepest, TABLESPACE)
    assert len(list(reader.list())) == 64
    assert reader.skipped.count == 1
    remove_tree(deepest)
    assert not deepest.exists()


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="cannot be removed"):
        remove_tree(Path("/proc/self"))


# --- restores ---------------------------------------------------------------------------------------------


@needs_root
def test_a_restore_gives_the_account_what_it_made_itself_and_nothing_that_was_planted(
    pgdata: Path, secret: Secret, store: ObjectStore, keys: ClusterKeys, tmp_path: Path
) -> None:
    """Nobody but root can enter before all is there, even if the account owned the place before."""
    (pgdata / "base/5/30001").chmod(0o6755)
    stored, _, _ = fake_tree.capture(pgdata, store, keys)
    captured = {line["path"]: line for line in manifest.read(store, keys, stored) if line["t"] == "file"}
    assert captured["base/5/30001"]["mode"] == 0o755
    home = tmp_path / "clone"
    home.mkdir()
    (home / "tablespaces").symlink_to(secret.place)
    (home / "pgdata").symlink_to(secret.place)
    give(home)
    seen: list[tuple[int, int]] = []

    def look(done: int) -> None:
        seen.append((home.stat().st_uid, home.stat().st_mode & 0o777))
        building = home / "pgdata.restoring"
        if len(seen) == 1:
            (building / "link").symlink_to(secret.file)
            (building / "directory").symlink_to(secret.place)
            os.link(secret.file, building / "hard")

    node = Node("n", "cn", Role.CN, "127.0.0.1", 8000, str(home), str(home))
    restore(RestoreTask(node, stored, 0, (ACCOUNT, ACCOUNT), 2), store, keys, look)
    assert set(seen) == {(0, 0o700)}
    assert {secret.file.stat().st_uid, secret.place.stat().st_uid} == {0}
    assert secret.place.stat().st_mode & 0o777 == 0o700
    planted = {"link", "directory", "hard"}
    made = [home, *(path for path in home.rglob("*") if path.name not in planted)]
    assert {path.lstat().st_uid for path in made} == {ACCOUNT}
    assert (home / "pgdata/base/5/30001").stat().st_mode & 0o7777 == 0o755


@needs_root
def test_a_snapshot_from_before_with_a_set_user_id_file_yields_none(
    pgdata: Path, store: ObjectStore, keys: ClusterKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is given away such a file is root's."""
    (pgdata / "pg_xact/0001").chmod(0o6755)
    monkeypatch.setattr("stillhouse.postgres.readers.local._PERMISSIONS", 0o7777)
    stored, _, _ = fake_tree.capture(pgdata, store, keys)
    assert {"mode": 0o6755, "path": "pg_xact/0001"}.items() <= next(
        line for line in manifest.read(store, keys, stored) if line.get("path") == "pg_xact/0001"
    ).items()
    fake_tree.rebuild(tmp_path / "clone", stored, store, keys)
    assert (tmp_path / "clone/pgdata/pg_xact/0001").stat().st_mode & 0o7777 == 0o755


def test_planted_directories_are_deeper_than_is_read() -> None:
    assert DEEP > 64
