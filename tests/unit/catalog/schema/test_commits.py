"""What waits for a commit is done after it, once, and never without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from support.servers.catalog_server import fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as opened:
        opened.migrate()
        yield opened


def test_acts_are_done_when_others_can_see_the_change_and_write(database: Database) -> None:
    done: list[str] = []

    def act() -> None:
        with database.transaction() as transaction:  # would wait for ever if the first still held the catalog
            done.append(transaction.exec_driver_sql("SELECT x FROM told").scalar_one())

    with database.transaction() as transaction:
        transaction.exec_driver_sql("CREATE TABLE told (x TEXT)")
    with database.transaction() as transaction:
        transaction.exec_driver_sql("INSERT INTO told VALUES ('committed')")
        after_commit(transaction, act)
        assert done == []
    assert done == ["committed"]


def test_acts_of_a_transaction_that_was_rolled_back_are_never_done(database: Database) -> None:
    done: list[str] = []
    with pytest.raises(RuntimeError), database.transaction() as transaction:  # noqa: PT012
        after_commit(transaction, lambda: done.append("rolled back"))
        raise RuntimeError
    with database.transaction() as transaction:  # by the same connection
        after_commit(transaction, lambda: done.append("committed"))
    assert done == ["committed"]
