"""One service holds a catalog on PostgreSQL; it notices when it holds it no longer, and whether another does."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from stillhouse.catalog.installation import hold as holding
from stillhouse.catalog.installation import identity
from stillhouse.catalog.installation.hold import Hold, Told, held, opened
from stillhouse.catalog.schema.calls import Calls, call
from stillhouse.catalog.schema.database import Database
from stillhouse.errors import CatalogInUse
from support.servers.catalog_server import fresh_postgres_database

SECONDS = 60
END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :low"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
).bindparams(low=holding._LOCK & 0xFFFF_FFFF)

END_ALL = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE 'stillhouse %'"
)
END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE 'stillhouse %' AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(holding, "_PATIENCE_SECONDS", 0.5)
    opened = Database(fresh_postgres_database())
    opened.migrate()
    with opened.transaction() as transaction:
        identity.claim(transaction, "0a1b2c3d", datetime(2026, 11, 30, tzinfo=UTC))
    yield opened
    opened.close()


class Heard:
    def __init__(self) -> None:
        self.words: queue.Queue[str] = queue.Queue()

    def told(self, on_lost: Callable[[], None] = lambda: None) -> Told:
        def lost() -> None:
            on_lost()
            self.words.put("lost")

        return Told(lost, lambda: self.words.put("regained"), lambda by: self.words.put(f"taken by {by}"))

    def next(self) -> str:
        return self.words.get(timeout=SECONDS)


def hold_it(database: Database) -> None:
    with held(database):
        pass


def end_session(database: Database) -> None:
    """End the session that holds, as a server does that an operator tells to."""
    with database.reading() as reading:
        assert reading.execute(END).scalars().all() == [True]


def test_a_second_service_is_refused_by_the_first_one_s_name(database: Database) -> None:
    with held(database), pytest.raises(CatalogInUse, match=r"another service .*: stillhouse .* pid \d+"):
        hold_it(database)
    with held(database):
        pass


def test_a_standby_waits_through_the_end_of_its_session_and_takes_the_first_one_s_place(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, taken = threading.Semaphore(0), threading.Event()
    asked = Hold._has_locked

    def counted(hold: Hold, session: Any) -> bool:
        found = asked(hold, session)
        tried.release()
        return found

    def stand_by() -> None:
        with opened(database) as hold:
            assert hold.await_turn()
            taken.set()

    monkeypatch.setattr(holding, "_STANDBY_SECONDS", 0.05)
    with held(database):
        monkeypatch.setattr(Hold, "_has_locked", counted)
        standby = threading.Thread(target=stand_by)
        standby.start()
        assert tried.acquire(timeout=SECONDS)
        with database.reading() as reading:
            assert reading.execute(END_OTHERS).scalars().all()
        assert all(tried.acquire(timeout=SECONDS) for _ in range(3))
        assert not taken.is_set()
    assert taken.wait(SECONDS)
    standby.join(SECONDS)


def test_who_waits_for_its_turn_ends_when_it_is_told_to_and_when_it_has_something_else_to_do(
    database: Database,
) -> None:
    with held(database), opened(database) as waiting:
        assert not waiting.await_turn(lambda: True)
        assert "stillhouse" in waiting.leader
        ended: queue.Queue[bool] = queue.Queue()
        thread = threading.Thread(target=lambda: ended.put(waiting.await_turn()))
        thread.start()
        waiting.end()
        assert ended.get(timeout=SECONDS) is False
        thread.join(SECONDS)


def test_who_led_before_an_outage_leads_after_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waits could be first, and the other would end for nothing."""
    monkeypatch.setattr(holding, "_STANDBY_SECONDS", 0.01)
    monkeypatch.setattr(holding, "_GRACE_SECONDS", SECONDS)
    heard, taken = Heard(), threading.Event()
    with held(database) as leader, opened(database) as waiting:
        assert leader is not None

        def let_the_other_come_back() -> None:
            while not waiting._asks_from:
                time.sleep(0.01)

        def take() -> None:
            if waiting.await_turn():
                taken.set()

        leader.watch(heard.told(on_lost=let_the_other_come_back))
        thread = threading.Thread(target=take)
        thread.start()
        with database.reading() as reading:
            reading.execute(END_ALL)
        assert [heard.next(), heard.next()] == ["lost", "regained"]
        assert not taken.is_set()
        waiting.end()
        thread.join(SECONDS)


def test_calls_are_heard_by_who_holds_and_by_who_waits_and_again_after_a_broken_session(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "_STANDBY_SECONDS", 0.05)
    heard: queue.Queue[str] = queue.Queue()
    leaders, followers = Calls(), Calls()
    leaders.on("work", lambda about: heard.put(f"leader {about}"))
    followers.on("work", lambda about: heard.put(f"follower {about}"))

    def both(about: str) -> None:
        with database.transaction() as transaction:
            call(transaction, "work", about)
        assert {heard.get(timeout=SECONDS), heard.get(timeout=SECONDS)} == {
            f"leader {about}",
            f"follower {about}",
        }

    with opened(database, leaders) as leader, opened(database, followers) as follower:
        leader.demand()
        told = Heard()
        leader.watch(told.told())
        waiting = threading.Thread(target=follower.await_turn)
        waiting.start()
        both("first")
        before = followers.access_version()
        with database.reading() as reading:
            assert reading.execute(END_OTHERS).scalars().all() == [True]
        while followers.access_version() in (None, before):
            time.sleep(0.01)
        both("second")
        with database.transaction() as transaction:
            call(transaction, "work", "never")
            transaction.rollback()
        follower.end()
        waiting.join(SECONDS)
    assert leaders.access_version() is None and heard.empty()


def test_a_hold_that_is_lost_comes_back_where_no_other_service_was(database: Database) -> None:
    heard = Heard()
    with held(database) as hold:
        assert hold is not None
        hold.watch(heard.told())
        end_session(database)
        assert [heard.next(), heard.next()] == ["lost", "regained"]
        with pytest.raises(CatalogInUse):
            hold_it(database)
        end_session(database)
        assert [heard.next(), heard.next()] == ["lost", "regained"]


def test_a_hold_that_another_service_has_taken_meanwhile_is_told_with_its_name(database: Database) -> None:
    heard, others = Heard(), []

    def take() -> None:
        other = Hold(database)
        other.demand()
        other.watch(Heard().told())
        others.append(other)

    with held(database) as hold:
        assert hold is not None
        hold.watch(heard.told(on_lost=take))
        end_session(database)
        assert heard.next() == "lost"
        assert heard.next() == f"taken by {others[0]._name}"
    others[0].close()


def test_a_service_that_worked_and_ended_meanwhile_has_taken_it_too(database: Database) -> None:
    heard = Heard()

    def take_and_leave() -> None:
        with held(database) as other:
            assert other is not None
            other.watch(Heard().told())

    with held(database) as hold:
        assert hold is not None
        hold.watch(heard.told(on_lost=take_and_leave))
        end_session(database)
        assert heard.next() == "lost"
        assert heard.next().startswith("taken by stillhouse ")


def test_who_holds_gives_a_silent_session_up_before_the_server_does(database: Database) -> None:
    """The server counts from the last packet it had; the holder from its next ping, which is some seconds later."""
    with opened(database) as hold:
        here = hold._driver().info.get_parameters()
        keepalives = [
            int(hold._ask(hold._session, f"SELECT current_setting('tcp_keepalives_{name}')") or 0)
            for name in ("idle", "interval", "count")
        ]
    assert holding._PING_SECONDS + int(here["tcp_user_timeout"]) / 1000 <= 15
    # Over a socket of one host the server shows none.
    assert keepalives in ([0, 0, 0], [10, 5, 3])
