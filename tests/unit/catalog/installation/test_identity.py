"""A data directory and a catalog that do not belong together are told apart before anything is done."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from stillhouse.catalog.installation import identity
from stillhouse.catalog.installation.identity import State
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import Place, place_of
from stillhouse.errors import CatalogNotOurs
from support.servers.catalog_server import fresh_postgres_database

NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    on_server = getattr(request, "param", "postgresql") == "postgresql"
    return place_of(fresh_postgres_database() if on_server else "", tmp_path)


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    opened = Database(place.url)
    opened.migrate()
    yield opened
    opened.close()


both = pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)


@both
def test_a_new_directory_and_a_new_catalog_are_one_installation_from_then_on(
    database: Database, place: Place, tmp_path: Path
) -> None:
    first = identity.join(database, place, tmp_path, NOW)
    assert len(first) == 8
    assert identity.join(database, place, tmp_path, NOW) == first


@both
def test_a_catalog_of_a_version_before_takes_the_directory_s_id(
    database: Database, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "installation").write_text("0a1b2c3d")
    assert identity.join(database, place, tmp_path, NOW) == "0a1b2c3d"


@both
def test_another_installation_is_refused_by_name(database: Database, place: Place, tmp_path: Path) -> None:
    ours = identity.join(database, place, tmp_path, NOW)
    (tmp_path / "installation").write_text("ffffffff")
    with pytest.raises(
        CatalogNotOurs, match=f"belongs to installation {ours}.* that of installation ffffffff"
    ):
        identity.join(database, place, tmp_path, NOW)


def test_a_new_directory_does_not_work_on_a_catalog_that_has_one(
    database: Database, place: Place, tmp_path: Path
) -> None:
    identity.join(database, place, tmp_path, NOW)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(CatalogNotOurs, match="a new one"):
        identity.join(database, place, other, NOW)


def test_an_empty_database_does_not_pass_for_the_catalog_of_a_directory_that_has_one(
    database: Database, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "catalog.sqlite").touch()
    with pytest.raises(CatalogNotOurs, match=r"is empty.*catalog.sqlite.*catalog move"):
        identity.join(database, place, tmp_path, NOW)


def test_a_forgotten_setting_does_not_make_a_new_file_the_catalog(
    database: Database, place: Place, tmp_path: Path
) -> None:
    identity.join(database, place, tmp_path, NOW)
    file = place_of("", tmp_path)
    beside = Database(file.url)
    beside.migrate()
    with pytest.raises(CatalogNotOurs, match=f"is {place.shown.partition('?')[0]}"):
        identity.join(beside, file, tmp_path, NOW)
    beside.close()


@both
@pytest.mark.parametrize(
    ("state", "why"), [(State.MOVED, "has moved to elsewhere"), (State.ARRIVING, "has not ended")]
)
def test_a_catalog_that_moves_is_refused_by_name(
    database: Database, place: Place, tmp_path: Path, state: State, why: str
) -> None:
    identity.join(database, place, tmp_path, NOW)
    with database.transaction() as transaction:
        identity.set_state(transaction, state, "elsewhere")
    with pytest.raises(CatalogNotOurs, match=why):
        identity.join(database, place, tmp_path, NOW)


@both
def test_a_catalog_of_a_newer_version_is_refused_by_name(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_migrations SET version_num = '9999'"))
    with pytest.raises(CatalogNotOurs, match="schema 9999, and this version of Stillhouse knows"):
        database.migrate()
