"""Values of the catalog are remembered until anybody commits, and no longer."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.remembered import Remembered


def test_the_version_changes_with_every_commit_of_this_and_of_another_service(tmp_path: Path) -> None:
    ours, theirs = Database.in_directory(tmp_path), Database.in_directory(tmp_path)
    ours.migrate()
    seen = [ours.version()]
    for writer in (ours, theirs, ours):
        assert ours.version() == seen[-1]
        with writer.transaction() as transaction:
            transaction.execute(text("CREATE TABLE IF NOT EXISTS t (a INTEGER)"))
            transaction.execute(text("INSERT INTO t VALUES (1)"))
            assert ours.version() == seen[-1], "not committed yet"
        seen.append(ours.version())
    assert None not in seen
    assert len(set(seen)) == 4
    ours.close()
    theirs.close()


def test_a_catalog_in_memory_and_one_that_is_gone_have_no_version(tmp_path: Path) -> None:
    assert Database("sqlite://").version() is None
    gone = Database(f"sqlite:///{tmp_path}/no/such/directory/catalog.sqlite")
    assert gone.version() is None


def test_a_value_is_read_once_for_a_version_and_anew_for_the_next() -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(1)
        return len(reads)

    remembered: Remembered[int] = Remembered()
    assert [remembered.find(7, "key", read) for _ in range(3)] == [1, 1, 1]
    assert [remembered.find(8, "key", read) for _ in range(2)] == [2, 2]
    assert remembered.find(8, "another", read) == 3
    assert remembered.find(None, "key", read) == 4, "without a version nothing is remembered"


def test_a_value_that_is_not_there_is_looked_for_each_time() -> None:
    remembered: Remembered[datetime] = Remembered()
    answers = [None, datetime(2030, 1, 1, tzinfo=UTC)]
    assert remembered.find(1, "key", lambda: answers[0]) is None
    assert remembered.find(1, "key", lambda: answers[1]) == answers[1]


def test_a_value_read_while_another_version_came_is_not_given_for_that_one() -> None:
    remembered: Remembered[str] = Remembered()

    def slow() -> str:
        assert remembered.find(2, "key", lambda: "new") == "new"  # meanwhile, by another thread
        return "old"

    assert remembered.find(1, "key", slow) == "old"
    assert remembered.find(2, "key", lambda: "new, read again") != "old"


def test_it_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhouse.catalog.schema.remembered._MOST", 10)
    remembered: Remembered[int] = Remembered()
    for number in range(100):
        remembered.find(1, str(number), lambda number=number: number)  # type: ignore[misc]
    assert len(remembered._values) <= 10
