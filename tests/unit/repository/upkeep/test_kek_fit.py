"""A key that does not fit is refused, and none is made beside a repository that holds anything."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stillhouse.bootstrap import host
from stillhouse.bootstrap.service import open_control
from stillhouse.catalog import clusters
from stillhouse.catalog.schema import tables
from stillhouse.cli.main import app
from stillhouse.cli.terminal import command
from stillhouse.clock import SystemClock
from stillhouse.config import Settings
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.upkeep.rebuild_catalog import rows_of, write
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import InvalidInput, RepositoryDamaged, StoreUnavailable
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, create_or_open, read_kek, write_kek
from stillhouse.repository.objects import identity
from stillhouse.repository.upkeep import rotate as rotation
from stillhouse.repository.upkeep.inventory import take_inventory
from stillhouse.repository.upkeep.kek_fit import kek_of_service
from stillhouse.storage.local import LocalStore
from support.processes.service import COMMAND
from support.repositories.buckets import Bucket

OTHER = Kek(b"o" * 32)
LOCATION = "the repository"


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "trees", LocalStore(tmp_path / "bucket", SystemClock()))


@pytest.fixture
def kek_file(tmp_path: Path) -> Path:
    return tmp_path / "kek"


def opened(bucket: Bucket, kek_file: Path, *known: str) -> tuple[Kek, bool]:
    return kek_of_service(bucket.store, LOCATION, kek_file, known)


# -- what fits -----------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_where_there_is_nothing(bucket: Bucket, kek_file: Path) -> None:
    kek, is_new = opened(bucket, kek_file, new_uuid())
    assert is_new and read_kek(kek_file) == kek
    assert opened(bucket, kek_file) == (kek, False)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_none_is_made_beside_what_is_sealed(bucket: Bucket, kek_file: Path, is_known: bool) -> None:
    """This holds even where the catalog is lost: the repository itself shows that it is not empty."""
    cluster = new_uuid()
    bucket.snapshot(cluster, "first")
    with pytest.raises(InvalidInput) as refused:
        opened(bucket, kek_file, *([cluster] if is_known else []))
    said = str(refused.value)
    assert str(kek_file) in said and bucket.kek.id in said and LOCATION in said
    assert "put a copy of that key there" in said and not kek_file.exists()


@pytest.mark.parametrize("left", ["roots", "packs", "tombstone alone"])
def test_none_is_made_beside_anything_of_a_cluster(bucket: Bucket, kek_file: Path, left: str) -> None:
    """Keys that are lost as well do not make the rest nothing."""
    cluster = new_uuid()
    key = layout.pack(cluster, "0" * 32) if left == "packs" else layout.root(cluster, new_uuid())
    bucket.store.put(key, [b"noise"])
    with pytest.raises(InvalidInput, match="no key-encryption key"):
        opened(bucket, kek_file)
    assert not kek_file.exists()


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_a_well_formed_key_that_opens_nothing_is_refused(
    bucket: Bucket, kek_file: Path, is_known: bool
) -> None:
    cluster = new_uuid()
    bucket.snapshot(cluster, "first")
    write_kek(OTHER, kek_file)
    with pytest.raises(InvalidInput) as refused:
        opened(bucket, kek_file, *([cluster] if is_known else []))
    said = str(refused.value)
    assert OTHER.id in said and bucket.kek.id in said and str(kek_file) in said and cluster in said


def test_a_key_must_open_all_that_the_service_works_with(bucket: Bucket, kek_file: Path) -> None:
    mine, theirs = new_uuid(), new_uuid()
    bucket.snapshot(mine, "first")
    create_or_open(bucket.store, OTHER, theirs)
    write_kek(bucket.kek, kek_file)
    with pytest.raises(InvalidInput, match=OTHER.id):
        opened(bucket, kek_file, mine, theirs)
    assert opened(bucket, kek_file, mine) == (bucket.kek, False), "the other is another service's"
    assert opened(bucket, kek_file) == (bucket.kek, False)


def test_during_a_rotation_the_key_that_opens_every_generation_fits(bucket: Bucket, kek_file: Path) -> None:
    cluster = new_uuid()
    bucket.snapshot(cluster, "first")
    rotation.rotate(bucket.store, bucket.kek, OTHER, keep_old=True)
    for kek in (bucket.kek, OTHER):
        kek_file.unlink(missing_ok=True)
        write_kek(kek, kek_file)
        assert opened(bucket, kek_file, cluster)[0] == kek
    rotation.rotate(bucket.store, bucket.kek, OTHER)
    kek_file.unlink()
    write_kek(bucket.kek, kek_file)
    with pytest.raises(InvalidInput, match="rotated"):
        opened(bucket, kek_file, cluster)


def test_a_cluster_without_keys_gets_none_where_anything_of_it_is_left(bucket: Bucket) -> None:
    """New ones would take the place of those that are lost, and open nothing."""
    cluster = new_uuid()
    bucket.snapshot(cluster, "first")
    for stored in list(bucket.store.list(layout.keys_of(cluster))):
        bucket.store.delete(stored.key)
    with pytest.raises(RepositoryDamaged, match="no keys"):
        create_or_open(bucket.store, bucket.kek, cluster)
    assert [*bucket.store.list(layout.keys_of(cluster))] == []


# -- the service ---------------------------------------------------------------------------------------------------


@contextmanager
def flow_context(settings: Settings) -> Iterator[FlowContext]:
    with open_control(settings) as control:
        yield host.open_flow_context(control)


def serving(data: Path, **more: object) -> Settings:
    return Settings(data=data, **more)  # type: ignore[arg-type]


@pytest.fixture
def data(data_root: Path, tmp_path: Path) -> Path:
    """A place that the servers' account can reach."""
    place = data_root / f"kek-{tmp_path.name}"
    place.mkdir(mode=0o755)
    return place


def with_a_snapshot(settings: Settings, tmp_path: Path) -> Bucket:
    """In the repository and in the catalog, as the service leaves it."""
    with flow_context(settings) as place:
        made = Bucket(tmp_path / "trees", place.vault.store, place.vault.repository.kek)
        made.snapshot(new_uuid(), "first")
    return made


def test_the_first_start_makes_a_key_and_says_where_and_that_it_must_be_copied(data: Path) -> None:
    with capture_logs() as said, flow_context(serving(data)) as place:
        kek = place.vault.repository.kek
    (told,) = [line for line in said if "key-encryption key" in line["event"]]
    assert (told["file"], told["key_id"]) == (str(data / "kek"), kek.id) and "copy it" in told["event"]
    with capture_logs() as said, flow_context(serving(data)) as place:
        assert place.vault.repository.kek == kek
    assert [line for line in said if "key-encryption key" in line["event"]] == []


def test_a_start_without_the_key_or_with_another_is_refused_and_makes_none(
    data: Path, tmp_path: Path
) -> None:
    made = with_a_snapshot(serving(data), tmp_path)
    right = (data / "kek").read_text()
    (data / "kek").unlink()
    with pytest.raises(InvalidInput, match=made.kek.id), flow_context(serving(data)):
        pass
    assert not (data / "kek").exists()
    (data / "kek").write_text(OTHER.secret.hex())
    with pytest.raises(InvalidInput, match=OTHER.id), flow_context(serving(data)):
        pass
    (data / "kek").write_text(right)
    with flow_context(serving(data)) as place:
        assert place.vault.repository.kek == made.kek


def test_a_key_file_elsewhere_that_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    """A container whose volume for the key was forgotten starts like this."""
    elsewhere = tmp_path / "volume" / "kek"
    elsewhere.parent.mkdir()
    settings = serving(data, kek_file=elsewhere)
    with_a_snapshot(settings, tmp_path)
    elsewhere.unlink()
    with pytest.raises(InvalidInput, match=str(elsewhere)), flow_context(settings):
        pass
    assert not elsewhere.exists() and not (data / "kek").exists()


def test_an_unmounted_repository_is_not_one_that_holds_nothing(data: Path, tmp_path: Path) -> None:
    with_a_snapshot(serving(data), tmp_path)
    (data / "kek").unlink()
    (data / "repository").rename(data / "elsewhere")
    with pytest.raises(StoreUnavailable, match="not there"), flow_context(serving(data)):
        pass
    assert not (data / "kek").exists()


def test_a_key_is_asked_to_open_what_the_catalog_knows(data: Path, tmp_path: Path) -> None:
    """A cluster that it does not know may be another service's; a deleted one counts for snapshots that are left."""
    with flow_context(serving(data)) as place:
        known = new_uuid()
        create_or_open(place.vault.store, OTHER, known)
        Bucket(tmp_path / "trees", place.vault.store, place.vault.repository.kek).snapshot(new_uuid(), "mine")
    with flow_context(serving(data)) as place:
        inventory = take_inventory(place.vault.store, OTHER, [known])
        assert inventory.unreadable == []
        Bucket(tmp_path / "more", place.vault.store, OTHER).snapshot(known, "theirs")
        found = take_inventory(place.vault.store, OTHER, [known])
        write(place.control, rows_of(found, SystemClock().now(), lambda cluster: ()))
    with pytest.raises(InvalidInput, match=known), flow_context(serving(data)):
        pass
    with open_control(serving(data)) as control, control.database.transaction() as transaction:
        transaction.execute(tables.snapshots.update().values(status=SnapshotStatus.UNAVAILABLE))
        assert clusters.in_need_of_keys(transaction) == [], "its cluster is a deleted one"
    with flow_context(serving(data)):
        pass


@pytest.mark.parametrize("kek", [OTHER.secret.hex(), ""], ids=["another", "missing"])
def test_the_command_to_serve_ends_with_what_is_wrong(data: Path, tmp_path: Path, kek: str) -> None:
    made = with_a_snapshot(serving(data), tmp_path)
    (data / "kek").unlink()
    if kek:
        (data / "kek").write_text(kek)
    done = subprocess.run(
        [*COMMAND, "serve", "--data", data, "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(data / "kek") in done.stderr and made.kek.id in done.stderr
    assert kek == "" or OTHER.id in done.stderr
    assert (data / "kek").exists() == bool(kek)


# -- the commands --------------------------------------------------------------------------------------------------


@pytest.fixture
def run(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    identity.claim(bucket.store)
    bucket.snapshot(new_uuid(), "first")
    write_kek(bucket.kek, tmp_path / "kek")
    write_kek(OTHER, tmp_path / "other")
    monkeypatch.setenv("STILLHOUSE_REPOSITORY", str(tmp_path / "bucket"))
    monkeypatch.setenv("STILLHOUSE_KEK_FILE", str(tmp_path / "kek"))

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(command.os, "_exit", leave)  # type: ignore[attr-defined]

    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            app(["repo", *map(str, words)], result_action="return_value")
        except SystemExit as ended:
            code = int(str(ended.code or 0))
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["verify"],
        ["stats"],
        ["collect"],
        ["snapshots"],
        ["restore", "--snapshot", "first", "--into", "{place}/into"],
        ["rebuild-catalog", "--data", "{place}/rebuilt"],
        ["copy", "--to", "{place}/second", "--to-kek-file", "{place}/second-kek", "--all"],
        ["key", "rotate", "--new-kek-file", "{place}/new"],
        ["key", "new-generation"],
        ["shred", "--cluster", "{cluster}", "--yes-i-am-sure", "sales"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_refuses_a_key_that_does_not_fit(
    run: Callable[..., tuple[int, str]], bucket: Bucket, tmp_path: Path, words: list[str]
) -> None:
    (cluster,) = {found.cluster for found in take_inventory(bucket.store, bucket.kek).snapshots}
    before = {stored.key for stored in bucket.store.list("")}
    files = sorted(tmp_path.iterdir())
    words = [word.format(place=tmp_path, cluster=cluster) for word in words]
    code, said = run(*words, "--kek-file", tmp_path / "other")
    assert code == 1 and OTHER.id in said and bucket.kek.id in said, said
    assert {stored.key for stored in bucket.store.list("")} == before
    assert sorted(tmp_path.iterdir()) == files, "nothing is made, no key, no place"


def test_whether_a_key_fits_can_be_asked(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, said = run("key", "check", "--kek-file", tmp_path / "other")
    assert code == 1 and f"KEK {OTHER.id} does not open every cluster" in said
    assert run("key", "check")[0] == 0


def test_no_key_is_made_for_a_second_repository_that_holds_copies(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    copy = ("copy", "--to", tmp_path / "second", "--to-kek-file", tmp_path / "second-kek", "--all")
    assert run(*copy)[0] == 0
    right = read_kek(tmp_path / "second-kek")
    (tmp_path / "second-kek").unlink()
    code, said = run(*copy)
    assert code == 1 and right.id in said and not (tmp_path / "second-kek").exists()
    write_kek(OTHER, tmp_path / "second-kek")
    code, said = run(*copy)
    assert code == 1 and OTHER.id in said and right.id in said


def test_no_key_is_made_in_the_place_of_one_that_a_rotation_has_begun_with(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    rotate = ("key", "rotate", "--new-kek-file", tmp_path / "new")
    assert run(*rotate, "--keep-old")[0] == 0
    begun_with = read_kek(tmp_path / "new")
    (tmp_path / "new").unlink()
    code, said = run(*rotate)
    assert code == 1 and begun_with.id in said and not (tmp_path / "new").exists()
    write_kek(begun_with, tmp_path / "new")
    assert run(*rotate)[0] == 0
