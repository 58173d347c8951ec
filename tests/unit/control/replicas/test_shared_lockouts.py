"""Lock-outs of replicas: one count over all of them, in the catalog, asked only about callers who have failed."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from stillhouse.catalog.installation.hold import Hold, opened
from stillhouse.catalog.schema.calls import Calls
from stillhouse.catalog.schema.database import Database
from stillhouse.clock import SystemClock
from stillhouse.control.lockout import TRIES
from stillhouse.control.replicas import shared_lockouts
from stillhouse.control.replicas.shared_lockouts import FailuresHeard, SharedLockouts
from support.servers.catalog_server import fresh_postgres_database

HOLDER = ("A" * 20, "10.0.0.1")
ELSEWHERE = ("A" * 20, "10.0.0.2")


class At(SystemClock):
    """A moment, in seconds after the first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=self._seconds)


class Replica:
    """One process on the catalog, as far as lock-outs go. It hears calls when it is told to."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.database = Database(url)
        stack.callback(self.database.close)
        calls = Calls()
        self.hold: Hold = stack.enter_context(opened(self.database, calls))
        self.lockouts = SharedLockouts(self.database, FailuresHeard(self.database, calls), "key")
        self.queries = 0
        event.listen(self.database._engine, "before_cursor_execute", self._count)

    def hear(self) -> None:
        assert self.hold._has_locked(self.hold._session) is not None

    def _count(self, *_: Any) -> None:
        self.queries += 1


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    url = fresh_postgres_database()
    with ExitStack() as stack:
        first = Database(url)
        first.migrate()
        first.close()
        yield Replica(url, stack), Replica(url, stack)


def test_failures_at_two_replicas_are_one_row_of_failures(pair: tuple[Replica, Replica]) -> None:
    for number in range(TRIES):
        assert not pair[0].lockouts.is_locked(HOLDER, At(0))
        pair[number % 2].lockouts.failed(HOLDER, At(0))
    for each in pair:
        each.hear()
        assert each.lockouts.is_locked(HOLDER, At(299)) and not each.lockouts.is_locked(HOLDER, At(300))
        assert not each.lockouts.is_locked(ELSEWHERE, At(0))


def test_a_success_at_either_or_five_quiet_minutes_end_the_row(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    for _ in range(TRIES - 1):
        one.lockouts.failed(HOLDER, At(0))
    two.hear()
    two.lockouts.succeeded(HOLDER)
    for _ in range(TRIES - 1):
        one.lockouts.failed(HOLDER, At(1))
    two.lockouts.failed(HOLDER, At(302))
    two.hear()
    assert not one.lockouts.is_locked(HOLDER, At(302)) and not two.lockouts.is_locked(HOLDER, At(302))


def test_an_ordinary_request_asks_the_catalog_nothing_while_calls_are_heard(
    pair: tuple[Replica, Replica],
) -> None:
    one, two = pair
    for each in pair:  # they learn once of the rows from before
        each.lockouts.is_locked(HOLDER, At(0))
    one.lockouts.failed(ELSEWHERE, At(0))
    two.hear()
    before = two.queries
    for _ in range(5):
        assert not two.lockouts.is_locked(HOLDER, At(0))
        two.lockouts.succeeded(HOLDER)
    assert two.queries == before
    assert not two.lockouts.is_locked(ELSEWHERE, At(0))
    assert two.queries > before


def test_a_replica_that_hears_nothing_asks_about_everybody_and_learns_of_what_it_missed(
    pair: tuple[Replica, Replica],
) -> None:
    one, two = pair
    two.lockouts.is_locked(HOLDER, At(0))
    two.hold._drop()
    for _ in range(TRIES):
        one.lockouts.failed(HOLDER, At(0))
    assert two.lockouts.is_locked(HOLDER, At(0))
    two.hold._session = two.hold._open()
    assert two.lockouts.is_locked(HOLDER, At(0))
    before = two.queries
    assert not two.lockouts.is_locked(ELSEWHERE, At(0)) and two.queries == before


def test_rows_are_bounded_and_the_oldest_go_first(
    pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lockouts, "REMEMBERED", 10)
    one, _ = pair
    for number in range(15):
        one.lockouts.failed((f"key-{number}", ""), At(number))
    count = text("SELECT count(*) FROM sh_lockouts")
    with one.database.reading() as reading:
        assert reading.execute(count).scalar() == 10
    one.lockouts.failed(("key-14", ""), At(400))
    with one.database.reading() as reading:
        assert reading.execute(count).scalar() == 1
