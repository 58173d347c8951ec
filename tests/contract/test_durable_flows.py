"""What every flow may rely on, on SQLite and on PostgreSQL."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.durable.at_work import AtWork, Load
from stillhouse.durable.flows import FlowInterrupted, Flows, StepRunner
from stillhouse.errors import CatalogUnavailable, CutFailed, InternalError, ShuttingDown, SnapshotUnknown
from support.servers.catalog_server import fresh_database

DEADLINE_SECONDS = 60

Launch = Callable[..., Flows]


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine looks once in an hour unless it is told, so every test here shows that it is told."""
    monkeypatch.setattr("stillhouse.durable.engine_looks.SELDOM_SECONDS", 3600.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def launch(database: Database) -> Iterator[Launch]:
    running: list[Flows] = []

    def start(**flows: Callable[[StepRunner, str], Any]) -> Flows:
        started = Flows(database.url, after_commit)
        for name, flow in flows.items():
            started.register(name, flow)
        started.launch()
        running.append(started)
        return started

    yield start
    for flows in running:
        flows.shutdown(within_seconds=10)


def _run(database: Database, flows: Flows, name: str, subject: str) -> Any:
    with database.transaction() as transaction:
        flow_id = flows.enqueue(transaction, name, subject)
    return flows.result(flow_id, DEADLINE_SECONDS)


def test_a_flow_returns_what_its_steps_gave(database: Database, launch: Launch) -> None:
    def flow(run: StepRunner, subject: str) -> dict[str, Any]:
        pair = run.step("pair", lambda: [subject, 2**60])
        return {"pair": pair, "none": run.step("none", lambda: None)}

    assert _run(database, launch(flow=flow), "flow", "s") == {"pair": ["s", 2**60], "none": None}


def test_a_flow_that_comes_no_further_grows_quiet_with_its_parent_until_a_pulse(
    database: Database, launch: Launch
) -> None:
    begun, go_on, pulses = threading.Event(), threading.Event(), []

    def parent(run: StepRunner, subject: str) -> Any:
        return run.wait(run.start_child("child", f"{subject}/1"))

    def child(run: StepRunner, subject: str) -> Any:
        def wait() -> None:
            pulses.append(flows.pulse())
            begun.set()
            go_on.wait(DEADLINE_SECONDS)

        run.step("wait", wait)

    flows = launch(parent=parent, child=child)
    with database.transaction() as transaction:
        flow_id = flows.enqueue(transaction, "parent", "s")
    assert begun.wait(DEADLINE_SECONDS)

    def quiet() -> dict[tuple[str, str], float]:
        return {(one.name, one.subject): one.quiet_seconds for one in flows.at_work()}

    _until(lambda: min(quiet().values()) > 0.2)
    assert quiet().keys() == {("parent", "s"), ("child", "s/1")}
    load = flows.load()
    assert (load.running, load.queued, load.lost) == ({"parent": 1, "child": 1}, {}, {})
    from_another_thread = threading.Thread(target=pulses[0])
    from_another_thread.start()
    from_another_thread.join()
    assert max(quiet().values()) < 0.2
    go_on.set()
    flows.result(flow_id, DEADLINE_SECONDS)
    _until(lambda: not flows.at_work())


def test_a_foreign_error_is_told_without_the_statement_of_the_database(
    database: Database, launch: Launch
) -> None:
    def flow(run: StepRunner, subject: str) -> None:
        def write() -> None:
            with database.transaction() as transaction:
                transaction.execute(text("INSERT INTO sh_clusters (id) VALUES (:id)"), {"id": "s3cret"})

        run.step("write", write)

    with pytest.raises(InternalError) as told:
        _run(database, launch(flow=flow), "flow", "s")
    assert "IntegrityError" in told.value.message and "sh_clusters" in told.value.message
    assert "INSERT" not in told.value.message and "s3cret" not in told.value.message


def test_flows_that_wait_are_counted_and_the_engine_is_stuck_when_they_wait_for_long(
    database: Database, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = Flows(database.url, after_commit, others=["later"])
    flows.prepare()
    with database.transaction() as transaction:
        flows.enqueue(transaction, "later", "s")
    load = flows.load()
    flows._client.destroy()
    assert load.queued == {"later": 1} and load.oldest_queued_seconds < 60 and not load.why_stuck
    assert "none is taken" in Load({"later": 1}, {}, {}, 61.0, 64).why_stuck
    assert not Load({"later": 1}, {"slow": 64}, {}, 61.0, 64).why_stuck, "there is no room for it"


def test_a_flow_that_is_at_work_nowhere_is_lost(
    database: Database, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def flow(run: StepRunner, subject: str) -> None:
        begun.set()
        go_on.wait(DEADLINE_SECONDS)

    flows = launch(flow=flow)
    with database.transaction() as transaction:
        flow_id = flows.enqueue(transaction, "flow", "s")
    assert begun.wait(DEADLINE_SECONDS)
    monkeypatch.setattr("stillhouse.durable.at_work._SETTLED_SECONDS", -1.0)
    assert not flows.load().lost
    flows._at_work = AtWork()  # its thread is gone
    assert flows.load().lost == {"flow": 1} and "at work nowhere" in flows.load().why_stuck
    go_on.set()
    flows.result(flow_id, DEADLINE_SECONDS)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_row_and_flow_are_committed_or_rolled_back_together(database: Database, launch: Launch) -> None:
    started: list[str] = []
    flows = launch(flow=lambda run, subject: started.append(subject))
    with database.transaction() as transaction:
        transaction.execute(text("CREATE TABLE app (subject TEXT)"))
    insert = text("INSERT INTO app VALUES (:subject)")

    with pytest.raises(RuntimeError), database.transaction() as transaction:  # noqa: PT012
        transaction.execute(insert, {"subject": "rolled back"})
        flows.enqueue(transaction, "flow", "rolled back")
        raise RuntimeError
    with database.transaction() as transaction:
        transaction.execute(insert, {"subject": "committed"})
        flow_id = flows.enqueue(transaction, "flow", "committed")
        assert started == []
    flows.result(flow_id, DEADLINE_SECONDS)

    assert started == ["committed"]
    with database.reading() as reading:
        assert reading.execute(text("SELECT subject FROM app")).scalars().all() == ["committed"]


def test_children_run_beside_each_other_and_give_results_or_errors(
    database: Database, launch: Launch
) -> None:
    together = threading.Barrier(3)

    def child(run: StepRunner, name: str) -> str:
        run.step("meet", lambda: together.wait(DEADLINE_SECONDS))
        if name == "bad":
            raise CutFailed("a session held the lock", hint="end it")
        return name.upper()

    def parent(run: StepRunner, subject: str) -> list[Any]:
        good, bad, other = (run.start_child("child", name) for name in ("good", "bad", "other"))
        try:
            run.wait(bad)
        except CutFailed as error:
            failure = [error.message, error.hint]
        return [run.wait(good), failure, run.wait(other)]

    result = _run(database, launch(parent=parent, child=child), "parent", "s")
    assert result == ["GOOD", ["a session held the lock", "end it"], "OTHER"]


def test_flows_beyond_those_that_may_be_at_work_begin_when_others_end(
    database: Database, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.durable.flows._AT_ONCE", 2)
    flows = launch(flow=lambda run, subject: run.step("work", lambda: subject))
    with database.transaction() as transaction:
        ids = [flows.enqueue(transaction, "flow", str(number)) for number in range(7)]
    assert [flows.result(flow_id, DEADLINE_SECONDS) for flow_id in ids] == [str(n) for n in range(7)]


def test_a_flow_that_another_process_has_enqueued_begins_at_the_next_look(
    database: Database, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillhouse.durable.engine_looks.SELDOM_SECONDS", 0.1)
    flows = launch(flow=lambda run, subject: subject)
    command = Flows(database.url, after_commit, others=["flow"])
    with database.transaction() as transaction:
        flow_id = command.enqueue(transaction, "flow", "s")
    assert flows.result(flow_id, DEADLINE_SECONDS) == "s"


def test_no_thread_of_the_engine_looks_at_its_tables_of_its_own_accord(
    database: Database, launch: Launch
) -> None:
    """The threads are told by their names: a new version of the engine may have others, which look."""
    before = set(threading.enumerate())
    _run(database, launch(flow=lambda run, subject: subject), "flow", "s")
    since = set(threading.enumerate()) - before
    found = {re.sub(r"^Thread-\d+ \((.*)\)$|_\d+$", r"\1", one.name) for one in since}
    assert (
        found
        <= {
            "queue-flows",  # looks when told, or seldom
            "queue-_dbos_internal_queue",
            "_stop_when_told",  # waits for the end
            "dynamic_scheduler_loop",  # looks once a second in the first minute, then once a day
            "run_notification_listener",  # looks in memory for flows that wait for messages, of which there are none
            "run_notifier",
            "_run_event_loop",
            "dbos-executor-",
        }
    )


@pytest.mark.long
def test_more_waiting_parents_than_the_queue_admits_do_not_starve_their_children(
    database: Database, launch: Launch
) -> None:
    def parent(run: StepRunner, subject: str) -> Any:
        return run.wait(run.start_child("child", subject))

    flows = launch(parent=parent, child=lambda run, subject: subject)
    with database.transaction() as transaction:
        ids = [flows.enqueue(transaction, "parent", str(number)) for number in range(80)]
    assert [flows.result(flow_id, DEADLINE_SECONDS) for flow_id in ids] == [str(n) for n in range(80)]


def test_an_error_of_the_tree_reaches_whoever_asks_for_the_result(database: Database, launch: Launch) -> None:
    def flow(run: StepRunner, subject: str) -> None:
        def fail() -> None:
            raise SnapshotUnknown(f"no {subject}", hint="look again")

        run.step("fail", fail)

    with pytest.raises(SnapshotUnknown) as failure:
        _run(database, launch(flow=flow), "flow", "s")
    assert (failure.value.message, failure.value.hint) == ("no s", "look again")


def test_a_foreign_error_is_an_internal_error_within_the_flow_already(
    database: Database, launch: Launch
) -> None:
    def flow(run: StepRunner, subject: str) -> str:
        try:
            run.step("divide", lambda: 1 // 0)
        except InternalError as error:
            return error.message
        return "no error"

    result = _run(database, launch(flow=flow), "flow", "s")
    assert result == "divide: ZeroDivisionError: integer division or modulo by zero"


def test_a_failed_step_is_not_run_again_and_the_flow_may_go_on(database: Database, launch: Launch) -> None:
    runs: list[str] = []

    def flow(run: StepRunner, subject: str) -> int:
        def fail() -> None:
            runs.append(subject)
            raise CutFailed("no")

        with pytest.raises(CutFailed):
            run.step("fail", fail)
        return run.step("compensate", lambda: len(runs))

    assert _run(database, launch(flow=flow), "flow", "s") == 1


def test_a_step_without_which_rows_stay_as_they_are_waits_for_the_catalog(
    database: Database, launch: Launch
) -> None:
    tries = iter((CatalogUnavailable("away"), CatalogUnavailable("still away")))

    def note() -> str:
        if away := next(tries, None):
            raise away
        return "noted"

    flows = launch(flow=lambda run, subject: run.surely("note", note))
    assert _run(database, flows, "flow", "s") == "noted"


def test_such_a_step_goes_on_at_the_next_launch_when_the_service_ends_first(database: Database) -> None:
    tried, is_back = threading.Event(), threading.Event()

    def note() -> str:
        tried.set()
        if not is_back.is_set():
            raise CatalogUnavailable("away")
        return "noted"

    first, second = Flows(database.url, after_commit), Flows(database.url, after_commit)
    for flows in (first, second):
        flows.register("flow", lambda run, subject: run.surely("note", note))
    first.launch()
    with database.transaction() as transaction:
        flow_id = first.enqueue(transaction, "flow", "s")
    assert tried.wait(DEADLINE_SECONDS)
    assert first.shutdown(within_seconds=DEADLINE_SECONDS)
    is_back.set()
    second.launch()
    try:
        assert second.result(flow_id, DEADLINE_SECONDS) == "noted"
    finally:
        second.shutdown(within_seconds=10)


def test_a_flow_whose_step_cannot_be_recorded_has_not_failed_and_goes_on_at_the_next_launch(
    database: Database,
) -> None:
    """It was taken for ended, by an error that no flow of ours catches, so its rows stayed as they were for ever."""
    schema = "dbos." if "postgresql" in database.url else ""

    def rename(before: str, after: str) -> None:
        with database.transaction() as transaction:
            transaction.execute(text(f"ALTER TABLE {schema}{before} RENAME TO {after}"))

    runs: list[str] = []

    def work() -> int:
        runs.append("work")
        if len(runs) == 1:
            rename("operation_outputs", "lost_outputs")
        return len(runs)

    first, second = Flows(database.url, after_commit), Flows(database.url, after_commit)
    for flows in (first, second):
        flows.register("flow", lambda run, subject: run.step("work", work))
    first.launch()
    with database.transaction() as transaction:
        flow_id = first.enqueue(transaction, "flow", "s")
    _until(lambda: bool(runs) and not first.at_work())
    rename("lost_outputs", "operation_outputs")
    assert not first._has_ended(flow_id)
    first.shutdown(within_seconds=10)
    second.launch()
    try:
        assert second.result(flow_id, DEADLINE_SECONDS) == 2
    finally:
        second.shutdown(within_seconds=10)


def test_a_flow_interrupted_by_shutdown_goes_on_at_the_next_launch(database: Database) -> None:
    steps: list[str] = []
    release = threading.Event()

    def work(name: str) -> str:
        steps.append(name)
        return name

    def flow(run: StepRunner, subject: str) -> str:
        run.step("first", work, "first")
        run.wait(run.start_child("forever", subject))
        return run.step("last", work, "last")

    def forever(run: StepRunner, subject: str) -> None:
        run.step("hold", hold)

    def hold() -> None:
        while not release.is_set():
            first.check_running()
            time.sleep(0.01)

    first = Flows(database.url, after_commit)
    first.register("flow", flow)
    first.register("forever", forever)
    first.launch()
    with database.transaction() as transaction:
        flow_id = first.enqueue(transaction, "flow", "s")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while "first" not in steps and time.monotonic() < deadline:
        time.sleep(0.01)
    assert first.shutdown(within_seconds=DEADLINE_SECONDS), "waits and checked steps end at once"
    assert steps == ["first"]
    with pytest.raises(ShuttingDown), database.transaction() as transaction:
        first.enqueue(transaction, "flow", "late")
    with pytest.raises(FlowInterrupted):
        first.check_running()

    release.set()
    second = Flows(database.url, after_commit)
    second.register("flow", flow)
    second.register("forever", forever)
    second.launch()
    try:
        assert second.result(flow_id, DEADLINE_SECONDS) == "last"
    finally:
        second.shutdown(within_seconds=10)
    assert steps == ["first", "last"]


def test_a_name_nobody_registered_cannot_be_enqueued(database: Database, launch: Launch) -> None:
    flows = launch()
    with pytest.raises(LookupError), database.transaction() as transaction:
        flows.enqueue(transaction, "unheard", "s")


def test_the_engine_leaves_sqlite_in_wal_mode(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as database:
        database.migrate()
        flows = Flows(database.url, after_commit)
        flows.launch()
        try:
            with database.reading() as reading:
                assert reading.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        finally:
            flows.shutdown(within_seconds=10)


def test_records_of_flows_go_some_time_after_their_end_with_their_childrens(
    database: Database, launch: Launch
) -> None:
    going_on, at_work = threading.Event(), threading.Event()

    def child(run: StepRunner, subject: str) -> None:
        run.step("work", lambda: None)

    def parent(run: StepRunner, subject: str) -> None:
        run.wait(run.start_child("child", subject))

    def long(run: StepRunner, subject: str) -> None:
        run.wait(run.start_child("child", subject))
        at_work.set()
        run.step("hold", lambda: going_on.wait(DEADLINE_SECONDS))

    flows = launch(parent=parent, child=child, long=long)
    with database.transaction() as transaction:
        running = flows.enqueue(transaction, "long", "r")
    assert at_work.wait(DEADLINE_SECONDS)
    _run(database, flows, "parent", "s")
    assert flows.forget_ended(datetime.now(UTC) - timedelta(days=1)) == 0, "nothing is old enough"
    later = datetime.now(UTC) + timedelta(seconds=5)
    assert flows.forget_ended(later) == 1, "the parent; the running flow's child stays with it"
    with database.reading() as reading:
        left = reading.execute(text(f"SELECT name, status FROM {_status_table(database)} ORDER BY name"))
        assert [tuple(row) for row in left] == [("child", "SUCCESS"), ("long", "PENDING")]
    going_on.set()
    flows.result(running, DEADLINE_SECONDS)
    assert flows.forget_ended(datetime.now(UTC) + timedelta(seconds=5)) == 1
    with database.reading() as reading:
        for table in ("workflow_status", "operation_outputs"):
            found = reading.execute(text(f"SELECT count(*) FROM {_status_table(database, table)}"))
            assert found.scalar_one() == 0, table


def test_a_child_that_ends_is_not_asked_for(
    database: Database, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's records are read only for a child from before a crash."""
    asked: list[str] = []
    has_ended = Flows._has_ended

    def noted(self: Flows, flow_id: str) -> bool:
        asked.append(threading.current_thread().name)
        return has_ended(self, flow_id)

    def parent(run: StepRunner, subject: str) -> None:
        monkeypatch.setattr(Flows, "_has_ended", noted)
        run.wait(run.start_child("child", subject))
        monkeypatch.setattr(Flows, "_has_ended", has_ended)

    flows = launch(parent=parent, child=lambda run, _: run.step("work", lambda: time.sleep(0.3)))
    _run(database, flows, "parent", "s")
    here = threading.current_thread().name  # the test itself asks for the parent
    assert [each for each in asked if each != here] == []


def _status_table(database: Database, table: str = "workflow_status") -> str:
    return table if database.url.startswith("sqlite") else f"dbos.{table}"


def test_while_paused_no_flow_begins_and_none_is_accepted(database: Database, launch: Launch) -> None:
    begun = threading.Event()

    def flow(run: StepRunner, subject: str) -> str:
        begun.set()
        return subject

    flows = launch(flow=flow)
    with database.transaction() as transaction:
        flow_id = flows.enqueue(transaction, "flow", "s")
        flows.pause()
    with pytest.raises(CatalogUnavailable, match="lost its hold"), database.transaction() as transaction:
        flows.enqueue(transaction, "flow", "t")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not flows.at_work():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not begun.wait(0.5)
    flows.go_on()
    assert flows.result(flow_id, DEADLINE_SECONDS) == "s"
