"""The engine's clock: SQLite tells milliseconds to every connection, however old it is and whatever Python runs it."""

import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, exc, text

from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.sqlite_time import supply_to_all_connections

# As the engine's migrations have it under Python 3.12 and newer (dbos 3.4, `_migration.py`).
TABLE = "CREATE TABLE flows (id TEXT, created INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000))"
NOW = "SELECT CAST(unixepoch('subsec') * 1000 AS BIGINT)"


def old_connection() -> sqlite3.Connection:
    """As of SQLite 3.40, which takes 'subsec' for no modifier and answers NULL."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.create_function("unixepoch", 1, lambda modifier: None)
    return connection


def test_an_old_sqlite_knows_milliseconds_in_an_engine_that_others_open() -> None:
    supply_to_all_connections()
    engine = create_engine("sqlite://", creator=old_connection)
    with engine.begin() as connection:
        connection.execute(text(TABLE))
        before = int(time.time() * 1000)
        connection.execute(text("INSERT INTO flows (id) VALUES ('a')"))
        (created,) = connection.execute(text("SELECT created FROM flows")).one()
        (now,) = connection.execute(text(NOW)).one()
        assert before <= created <= now <= time.time() * 1000 + 1
        with pytest.raises(exc.OperationalError):
            connection.execute(text("SELECT unixepoch('now')")).one()
    engine.dispose()


def test_the_catalogs_connections_know_it_whatever_sqlite_there_is(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    with database.transaction() as transaction:
        transaction.execute(text(TABLE))
        transaction.execute(text("INSERT INTO flows (id) VALUES ('a')"))
        (created,) = transaction.execute(text("SELECT created FROM flows")).one()
    assert abs(created - time.time() * 1000) < 60_000
    database.close()


def test_a_sqlite_that_knows_it_by_itself_is_left_alone() -> None:
    supply_to_all_connections()

    def own() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.create_function("unixepoch", 1, lambda modifier: 7.125)
        return connection

    engine = create_engine("sqlite://", creator=own)
    with engine.connect() as connection:
        assert connection.execute(text(NOW)).scalar_one() == 7125
    engine.dispose()
