"""A new data directory becomes the installation's by the catalog and the KEK, and by nothing else."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillhouse.catalog.installation import identity
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import Place, place_of
from stillhouse.control.upkeep import host_files
from stillhouse.errors import CatalogNotOurs, InvalidInput
from stillhouse.repository.format.cipher_keys import Kek, read_kek
from stillhouse.sealing import KEY_FILE, key_in
from stillhouse.workers.jobs import Repository
from support.servers.catalog_server import fresh_postgres_database

NOW = datetime(2026, 11, 30, tzinfo=UTC)
KEK = Kek(b"k" * 32)
REPOSITORY = Repository("s3://bucket", "f" * 32, KEK, timedelta())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_of(fresh_postgres_database(), tmp_path)


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    with closing(Database(place.url)) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def lost(database: Database, place: Place, tmp_path: Path) -> Path:
    """The data directory of a service that has served."""
    data = tmp_path / "lost"
    data.mkdir()
    identity.join(database, place, data, NOW)
    host_files.keep(database, data, REPOSITORY)
    return data


@pytest.fixture
def new(tmp_path: Path) -> Path:
    data = tmp_path / "new"
    data.mkdir()
    return data


def test_the_new_directory_has_the_same_key_repository_and_installation(
    database: Database, place: Place, lost: Path, new: Path
) -> None:
    host_files.bring_back(database, new, lambda: KEK)
    assert key_in(new) == key_in(lost)
    assert (new / "repository.id").read_text() == REPOSITORY.id
    assert identity.join(database, place, new, NOW) == (lost / "installation").read_text()
    assert {path.stat().st_mode & 0o777 for path in new.iterdir()} == {0o600}


def test_it_goes_on_after_a_kill_between_two_files(database: Database, lost: Path, new: Path) -> None:
    host_files.bring_back(database, new, lambda: KEK)
    (new / "installation").unlink()  # it is written last
    host_files.bring_back(database, new, lambda: KEK)
    assert (new / "installation").read_text() == (lost / "installation").read_text()


def test_no_other_key_opens_it_and_nothing_is_written(database: Database, lost: Path, new: Path) -> None:
    with pytest.raises(CatalogNotOurs, match=f"sealed under {KEK.id}"):
        host_files.bring_back(database, new, lambda: Kek(b"x" * 32))
    with pytest.raises(InvalidInput, match="no key-encryption key at"):
        host_files.bring_back(database, new, lambda: read_kek(new / "kek"))
    assert [*new.iterdir()] == []


def test_a_directory_with_a_key_of_its_own_is_refused(database: Database, lost: Path, new: Path) -> None:
    own = key_in(new)
    with pytest.raises(CatalogNotOurs, match="of its own"):
        host_files.bring_back(database, new, lambda: KEK)
    assert key_in(new) == own
    assert [path.name for path in new.iterdir()] == [KEY_FILE]


def test_a_catalog_that_nothing_was_kept_in_leaves_the_directory_alone(
    database: Database, place: Place, tmp_path: Path, new: Path
) -> None:
    host_files.bring_back(database, new, lambda: KEK)
    identity.join(database, place, tmp_path, NOW)
    host_files.bring_back(database, new, lambda: KEK)
    assert [*new.iterdir()] == []


def test_after_a_rotation_the_new_kek_opens_it(database: Database, lost: Path, new: Path) -> None:
    rotated = Kek(b"r" * 32)
    host_files.keep(database, lost, Repository("s3://bucket", REPOSITORY.id, rotated, timedelta()))
    with pytest.raises(CatalogNotOurs):
        host_files.bring_back(database, new, lambda: KEK)
    host_files.bring_back(database, new, lambda: rotated)
    assert key_in(new) == key_in(lost)


def test_a_service_with_another_repository_is_refused(database: Database, lost: Path) -> None:
    with pytest.raises(CatalogNotOurs, match=f"in repository {REPOSITORY.id}"):
        host_files.keep(database, lost, Repository("s3://other", "e" * 32, KEK, timedelta()))
