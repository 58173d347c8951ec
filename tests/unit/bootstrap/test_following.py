"""Who may follow: a service of the leader's own make, and no other."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from stillhouse.bootstrap.catalog import open_catalog
from stillhouse.bootstrap.following import can_follow
from stillhouse.bootstrap.service import open_service
from stillhouse.catalog.installation import identity, news
from stillhouse.catalog.installation.hold import held, opened
from stillhouse.catalog.installation.identity import State
from stillhouse.catalog.schema.database import Database
from stillhouse.config import Settings
from stillhouse.control.replicas.following import Told
from stillhouse.domain.reports.capacity import Host
from stillhouse.durable.engine_tables import ENGINE
from stillhouse.errors import CatalogInUse, CatalogNotOurs, InvalidInput
from support.servers.catalog_server import fresh_postgres_database

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TOLD = Told(Host("x86_64", 2, 8, 100, 64), {"node": "silent"}, {"cluster": "host"}, {"project": 7})


@pytest.fixture
def database() -> Iterator[Database]:
    opened = Database(fresh_postgres_database())
    yield opened
    opened.close()


def tell(database: Database, made_by: str) -> None:
    with database.transaction() as transaction:
        news.tell(transaction, made_by, TOLD.to_document(), NOW)


def set_schema(database: Database, version: str) -> None:
    with database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_migrations SET version_num = :version"), {"version": version})


def test_a_catalog_is_followed_once_a_leader_of_the_same_make_is_at_work(database: Database) -> None:
    assert not can_follow(database), "it is empty"
    database.migrate()
    assert not can_follow(database), "no leader has launched its engine"
    tell(database, "dbos 0.0.1")
    assert not can_follow(database)
    tell(database, ENGINE)
    assert can_follow(database)


def test_an_older_schema_is_not_followed_and_not_changed_and_a_newer_one_is_refused(
    database: Database,
) -> None:
    database.migrate()
    tell(database, ENGINE)
    set_schema(database, "0019")
    assert not can_follow(database)
    with database.reading() as reading:
        assert reading.execute(text("SELECT version_num FROM sh_migrations")).scalar() == "0019"
    set_schema(database, "9999")
    with pytest.raises(CatalogNotOurs, match=r"knows \d{4} at most"):
        can_follow(database)


def test_a_catalog_that_does_not_answer_is_not_followed_yet() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    assert not can_follow(away)
    away.close()


def test_news_are_read_as_they_were_told_and_are_numbered(database: Database) -> None:
    database.migrate()
    with database.reading() as reading:
        assert (news.number(reading), news.find(reading)) == (0, None)
    for number in (1, 2):
        tell(database, ENGINE)
        with database.reading() as reading:
            found = news.find(reading)
            assert found is not None and news.number(reading) == found.number == number
            assert Told.of_document(found.told) == TOLD


def test_a_catalog_that_has_moved_is_followed_no_longer(database: Database) -> None:
    database.migrate()
    with database.transaction() as transaction:
        identity.claim(transaction, "0a1b2c3d", NOW)
        identity.check_here(transaction)
        identity.set_state(transaction, State.MOVED, "elsewhere")
        with pytest.raises(CatalogNotOurs, match="has moved to elsewhere"):
            identity.check_here(transaction)


def test_a_catalog_is_not_moved_under_a_replica_that_waits(database: Database) -> None:
    with opened(database) as waiting:
        with pytest.raises(CatalogInUse, match="other services are on this catalog: stillhouse "):
            held(database).__enter__()
        assert waiting.leader == ""
    with held(database):
        pass


def test_a_command_of_a_newer_version_changes_no_schema_under_a_service(
    database: Database, tmp_path: Path
) -> None:
    database.migrate()
    set_schema(database, "0019")
    settings = Settings(data=tmp_path, catalog=database.url)
    with opened(database) as hold:
        hold.demand()
        with pytest.raises(CatalogInUse, match="another service works on this catalog"):
            open_catalog(settings).__enter__()


@pytest.mark.parametrize("flag", ["replica", "standby"])
def test_a_catalog_in_a_file_has_one_service(flag: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, **{flag: True})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=f"--{flag} is for a catalog on PostgreSQL"):
        open_service(settings).__enter__()
