"""Of the runs that wait, which is taken, which goes on waiting, which is skipped; and what schedules are refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.domain.schedule import parse
from stillhouse.domain.snapshot_policies import Outcome, Run, Situation, check_schedule, decide
from stillhouse.errors import InvalidInput

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FREE = Situation(blocked="", automated_ended=None, automated_runs=False)
BUSY = replace(FREE, blocked="the cluster is busy: REBOOTING")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def run(name: str, *, minutes_ago: float = 0, is_full: bool = False, is_once: bool = False) -> Run:
    due = NOW - MINUTE * minutes_ago
    return Run("cluster", name, name, "0 0 12 ? * *", due, due, is_full, is_once)


def outcomes(*runs: Run, situation: Situation = FREE, now: datetime = NOW) -> dict[str, str]:
    return {each.run.policy_id: each.outcome.value for each in decide(runs, situation, now)}


def reasons(*runs: Run, situation: Situation = FREE, now: datetime = NOW) -> dict[str, str]:
    return {each.run.policy_id: each.reason for each in decide(runs, situation, now)}


def test_a_run_on_a_free_cluster_is_taken() -> None:
    assert outcomes(run("nightly")) == {"nightly": "taken"}


def test_a_run_on_a_busy_cluster_waits_an_hour_and_no_longer() -> None:
    assert outcomes(run("nightly", minutes_ago=60), situation=BUSY) == {"nightly": "waiting"}
    late = run("nightly", minutes_ago=60.1)
    assert outcomes(late, situation=BUSY) == {"nightly": "skipped"}
    assert reasons(late, situation=BUSY) == {"nightly": BUSY.blocked}


def test_a_run_missed_long_ago_is_taken_when_nothing_is_in_its_way() -> None:
    assert outcomes(run("nightly", minutes_ago=60 * 24 * 300)) == {"nightly": "taken"}


def test_full_comes_before_incremental_and_the_other_is_skipped() -> None:
    both = [run("a-increment"), run("b-full", is_full=True)]
    assert outcomes(*both) == {"b-full": "taken", "a-increment": "skipped"}
    assert "4 hours later" in reasons(*both)["a-increment"]


def test_one_off_comes_before_periodic_even_if_that_is_full() -> None:
    both = [run("a-full", is_full=True), run("b-once", is_once=True)]
    assert outcomes(*both) == {"b-once": "taken", "a-full": "skipped"}


def test_of_two_one_off_runs_the_second_waits() -> None:
    both = [run("one", is_once=True), run("other", is_once=True, minutes_ago=1)]
    assert outcomes(*both) == {"other": "taken", "one": "waiting"}


@pytest.mark.parametrize(
    ("ended_hours_ago", "outcome"),
    [(4, "taken"), (3.5, "waiting"), (3, "waiting"), (2.9, "skipped"), (0, "skipped")],
)
def test_a_periodic_run_keeps_four_hours_from_the_automated_one_before_it(
    ended_hours_ago: float, outcome: str
) -> None:
    rested = replace(FREE, automated_ended=NOW - HOUR * ended_hours_ago)
    assert outcomes(run("nightly"), situation=rested) == {"nightly": outcome}
    assert outcomes(run("once", is_once=True), situation=rested) == {"once": "taken"}


def test_a_one_off_run_waits_for_the_automated_one_at_work_and_a_periodic_one_is_skipped() -> None:
    at_work = replace(FREE, blocked="the cluster is busy: SNAPSHOTTING", automated_runs=True)
    both = [run("once", is_once=True), run("nightly")]
    assert outcomes(*both, situation=at_work) == {"once": "waiting", "nightly": "skipped"}


def test_an_end_in_the_future_was_of_a_wrong_clock_and_keeps_nobody_waiting() -> None:
    ahead = replace(FREE, automated_ended=NOW + timedelta(days=1000))
    assert outcomes(run("nightly"), situation=ahead) == {"nightly": "taken"}


def test_each_decision_but_taking_has_its_reason() -> None:
    runs = [run("one"), run("two", is_full=True), run("three", is_once=True), run("four", minutes_ago=300)]
    for decision in [*decide(runs, FREE, NOW), *decide(runs, BUSY, NOW)]:
        assert bool(decision.reason) == (decision.outcome is not Outcome.TAKEN)


@pytest.mark.parametrize("text", ["0 0 2 ? * 1", "0 0 0/4 ? * *", "2026-11-25T12:00:01", "0 0 1,23 ? * 1"])
def test_a_schedule_that_keeps_the_rules_passes(text: str) -> None:
    check_schedule(parse(text), NOW)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("0 0/30 * ? * *", "4 hours apart"),
        ("0,1 0 2 ? * *", "4 hours apart"),
        ("0 0 1,23 ? * *", "4 hours apart"),
        ("2026-11-25T12:00:00", "never run"),
        ("0 0 2 30 2 ?", "never run"),
        ("0 0 2 ? * 1 2020", "never run"),
    ],
)
def test_a_schedule_that_never_runs_or_too_often_is_refused(text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        check_schedule(parse(text), NOW)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("0 2 * * *", "0 0 2 * * ?"),
        ("30 2 * * 1-5", "0 30 2 ? * 2-6"),
        ("0 2 * * 0", "0 0 2 ? * 1"),
        ("0 2 * * mon,7", "0 0 2 ? * MON,1"),
        ("0 0 2 * * *", "0 0 2 * * ?"),
        ("0 0 2 * * MON", "0 0 2 ? * MON"),
        ("0 0 2 ? * ?", "0 0 2 * * ?"),
        ("@weekly", "0 0 0 ? * SUN"),
        ("0 99 2 * * ?", "0 0 2 * * ?"),
        ("every night", "0 0 2 * * ?"),
        ("9" * 500, "0 0 2 * * ?"),
    ],
)
def test_a_wrong_cron_text_is_answered_with_the_nearest_that_is_right(wrong: str, right: str) -> None:
    """Unix's five fields count days of the week from Sunday as 0; here Sunday is 1, as in Quartz."""
    with pytest.raises(InvalidInput) as refused:
        parse(wrong)
    assert f"for example '{right}'" in refused.value.hint
    parse(right)
