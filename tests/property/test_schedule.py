"""Cron texts against a model that asks of every minute, one by one, whether a text means it."""

import calendar
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stillhouse.domain.schedule import Cron, parse
from stillhouse.errors import InvalidInput

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WINDOW = 70  # days
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


# --- the model: written from the rules, looking at one moment, and never counting ahead ------------------------------


def number(text: str, names: list[str]) -> int:
    return names.index(text) + 1 if text in names else int(text)


def in_list(text: str, value: int, low: int, high: int, names: list[str]) -> bool:
    return any(in_part(part, value, low, high, names) for part in text.split(","))


def in_part(part: str, value: int, low: int, high: int, names: list[str]) -> bool:
    body, _, step = part.partition("/")
    first, _, last = ("", "", "") if body in ("*", "") else body.partition("-")
    begin = number(first, names) if first else low
    end = number(last, names) if last else (begin if first and not step else high)
    wraps = end < begin
    if not (begin <= value <= end or (wraps and (value >= begin or value <= end))):
        return False
    distance = value - begin if value >= begin else value - begin + high - low + 1
    return distance % int(step or 1) == 0


def is_the_day(day: date, of_month: str, of_week: str) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    weekday = (day.weekday() + 1) % 7 + 1
    if of_month == "?":
        if "#" in of_week:
            name, nth = of_week.split("#")
            return weekday == number(name, WEEKDAYS) and (day.day - 1) // 7 + 1 == int(nth)
        if of_week == "L":
            return weekday == 7
        if of_week.endswith("L"):
            return weekday == number(of_week[:-1], WEEKDAYS) and day.day + 7 > length
        return in_list(of_week, weekday, 1, 7, WEEKDAYS)
    if of_month.endswith("W") or of_month.startswith("L"):
        bare = of_month.removesuffix("W")
        target = length - int(bare[2:] or 0) if bare.startswith("L") else int(bare)
        if not 1 <= target <= length:
            return False
        return day.day == (nearest(day.replace(day=target)) if of_month.endswith("W") else target)
    return in_list(of_month, day.day, 1, 31, [])


def nearest(target: date) -> int:
    """Of the weekdays in the same month, that with the least distance."""
    month = [
        target.replace(day=1) + DAY * n for n in range(calendar.monthrange(target.year, target.month)[1])
    ]
    return min((abs((day - target).days), day.day) for day in month if day.weekday() < 5)[1]


def minutes_of_model(text: str, begin: datetime, days: int) -> list[datetime]:
    _, minute, hour, of_month, month, of_week, *year = text.split()
    found = []
    for day in (begin.date() + DAY * n for n in range(days)):
        if not (
            in_list(month, day.month, 1, 12, MONTHS)
            and is_the_day(day, of_month, of_week)
            and (not year or in_list(year[0], day.year, 1970, 2099, []))
        ):
            continue
        hours = [h for h in range(24) if in_list(hour, h, 0, 23, [])]
        minutes = [m for m in range(60) if in_list(minute, m, 0, 59, [])]
        found += [datetime(day.year, day.month, day.day, h, m, tzinfo=UTC) for h in hours for m in minutes]
    return [moment for moment in found if moment > begin]


# --- texts ------------------------------------------------------------------------------------------------------------


def member(low: int, high: int, names: list[str]) -> st.SearchStrategy[str]:
    value = st.integers(low, high).map(lambda n: names[n - 1] if names and n % 2 else str(n))
    step = st.integers(1, high).map(str)
    return st.one_of(
        value,
        st.builds("{}-{}".format, value, value),
        st.builds("{}/{}".format, value, step),
        st.builds("{}-{}/{}".format, value, value, step),
        st.builds("*/{}".format, step),
        st.builds("/{}".format, step),
        st.just("*"),
    )


def members(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    return st.lists(member(low, high, names or []), min_size=1, max_size=3).map(",".join)


weekday = st.sampled_from([*WEEKDAYS, *"1234567"])
days_of_month = st.one_of(
    members(1, 31),
    st.just("L"),
    st.just("LW"),
    st.integers(0, 30).map("L-{}".format),
    st.integers(0, 30).map("L-{}W".format),
    st.integers(1, 31).map("{}W".format),
)
days_of_week = st.one_of(
    members(1, 7, WEEKDAYS),
    st.just("L"),
    weekday.map("{}L".format),
    st.builds("{}#{}".format, weekday, st.integers(1, 5)),
)
both_days = st.one_of(days_of_month.map(lambda d: (d, "?")), days_of_week.map(lambda d: ("?", d)))
years = st.sampled_from(["", "", "*", "2026", "2026-2028", "2027/2", "2000,2026"])
texts = st.builds(
    lambda minute, hour, days, month, year: f"0 {minute} {hour} {days[0]} {month} {days[1]} {year}".strip(),
    members(0, 59),
    members(0, 23),
    both_days,
    members(1, 12, MONTHS),
    years,
)
moments = st.integers(0, 3 * 365 * 86400).map(lambda n: BEGINNING + timedelta(seconds=n))


@settings(max_examples=80, deadline=None)
@given(texts, moments)
def test_runs_are_those_minutes_that_the_text_means(text: str, begin: datetime) -> None:
    schedule = parse(text)
    expected = minutes_of_model(text, begin, WINDOW)
    assume(len(expected) < 20_000)
    moment = begin
    for wanted in expected[:50]:
        found = schedule.next_after(moment)
        assert found == wanted
        moment = found
    if not expected:
        found = schedule.next_after(begin)
        assert (
            found is None or found >= datetime(begin.year, begin.month, begin.day, tzinfo=UTC) + DAY * WINDOW
        )


@settings(max_examples=80, deadline=None)
@given(texts, moments, st.integers(0, 40 * 24 * 60))
def test_the_latest_run_is_the_last_of_those_that_were_due(text: str, begin: datetime, minutes: int) -> None:
    until = begin + MINUTE * minutes
    due = [moment for moment in minutes_of_model(text, begin, 42) if moment <= until]
    assert parse(text).latest(begin, until) == (due[-1] if due else None)


@settings(max_examples=80, deadline=None)
@given(texts, moments)
def test_no_two_runs_are_closer_than_the_least_gap(text: str, begin: datetime) -> None:
    schedule = parse(text)
    assert isinstance(schedule, Cron)
    least = schedule.least_gap()
    due = minutes_of_model(text, begin, WINDOW)
    assert all(later - earlier >= least for earlier, later in pairwise(due))


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789*?,-/LW# MONJANT:Z", max_size=30) | st.text(max_size=30))
def test_any_text_is_understood_or_refused_as_such(text: str) -> None:
    try:
        schedule = parse(text)
    except InvalidInput:
        return
    schedule.next_after(BEGINNING)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("0 0 2/8 ? * *", 8),
        ("0 0 0/5 ? * *", 4),  # 20:00, then midnight
        ("0 0 1,23 ? * *", 2),
        ("0 0 1,23 ? * 1", 22),  # no day follows another
        ("0 0 1,23 ? * 1,7", 2),
        ("0 0 1,23 31 * ?", 22),
        ("0 0 1,23 1,31 * ?", 2),  # over the end of a month
        ("0 30 2 ? * *", 24),
        ("0 0 2 ? * 1", 24),
        ("0 0 1,23 28,29 2 ? 2027", 22),  # no leap year
    ],
)
def test_the_least_gap_is_one_that_there_is(text: str, hours: int) -> None:
    schedule = parse(text)
    assert isinstance(schedule, Cron)
    assert schedule.least_gap() == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("0 0 2 ? * 1", ["2026-11-29T02:00:00", "2026-12-06T02:00:00"]),  # 1 is Sunday
        (
            "0 7 2/8 ? * 2,3,4,5,6,7",
            ["2026-11-25T18:07:00", "2026-11-26T02:07:00", "2026-11-26T10:07:00"],
        ),
        ("0 8 6 4 * ?", ["2026-12-04T06:08:00", "2027-01-04T06:08:00"]),
        ("30 15 10 ? * MON-FRI", ["2026-11-26T10:15:30", "2026-11-27T10:15:30", "2026-11-30T10:15:30"]),
        ("0 0 0 L * ?", ["2026-11-30T00:00:00", "2026-12-31T00:00:00"]),
        ("0 0 0 LW * ?", ["2026-11-30T00:00:00", "2026-12-31T00:00:00", "2027-01-29T00:00:00"]),
        ("0 0 0 15W * ?", ["2026-12-15T00:00:00", "2027-01-15T00:00:00", "2027-02-15T00:00:00"]),
        (
            "0 0 0 1W 8 ?",
            ["2027-08-02T00:00:00", "2028-08-01T00:00:00"],
        ),  # the 1st of August 2027 is a Sunday
        ("0 0 0 ? * 6#3", ["2026-12-18T00:00:00", "2027-01-15T00:00:00"]),
        ("0 0 0 ? * 6L", ["2026-11-27T00:00:00", "2026-12-25T00:00:00"]),
        ("0 0 0 29 2 ?", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
        ("0 0 0 31 * ?", ["2026-12-31T00:00:00", "2027-01-31T00:00:00", "2027-03-31T00:00:00"]),
        ("0 0 22-2 ? * *", ["2026-11-25T22:00:00", "2026-11-25T23:00:00", "2026-11-26T00:00:00"]),
        ("0 0 12 1 jan ? 2027-2028", ["2027-01-01T12:00:00", "2028-01-01T12:00:00", None]),
        ("2026-11-25T15:00:00", ["2026-11-25T15:00:00", None]),
        ("2026-11-25T15:00:00Z", ["2026-11-25T15:00:00", None]),
    ],
)
def test_a_text_means_what_its_users_expect(text: str, runs: list[str | None]) -> None:
    moment = datetime(2026, 11, 25, 14, 0, 0, 500_000, tzinfo=UTC)
    for wanted in runs:
        found = parse(text).next_after(moment)
        assert found == (None if wanted is None else datetime.fromisoformat(wanted + "+00:00"))
        moment = found or moment


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "expected is a cron text"),
        ("0 0 2 ? *", "expected is a cron text"),
        ("0 0 2 ? * 1 2027 1", "expected is a cron text"),
        ("60 0 2 ? * 1", "field second"),
        ("0 -1 2 ? * 1", "field minute"),
        ("0 0 24 ? * 1", "field hour"),
        ("0 0 2 32 * ?", "field day of month"),
        ("0 0 2 0W * ?", "field day of month"),
        ("0 0 2 1W,15W * ?", "field day of month"),
        ("0 0 2 L-31 * ?", "at most 30 days"),
        ("0 0 2 1 13 ?", "field month"),
        ("0 0 2 1 MON ?", "field month"),
        ("0 0 2 ? * 8", "field day of week"),
        ("0 0 2 ? * 0", "field day of week"),
        ("0 0 2 ? * 6#6", "field day of week"),
        ("0 0 2 ? * 1 1969", "field year"),
        ("0 0 2 ? * 1 2028-2027", "range of years"),
        ("0 0 2 * * *", "must be '?'"),
        ("0 0 2 ? * ?", "must be '?'"),
        ("? 0 2 ? * 1", "field second"),
        ("0 0/0 2 ? * 1", "a step of the field minute"),
        ("0 0/60 2 ? * 1", "a step of the field minute"),
        ("0 0, 2 ? * 1", "field minute"),
        ("0 1-2-3 2 ? * 1", "field minute"),
        ("0 0 2 ? * ١", "ASCII"),
        ("0 0 2 ? * 1" + " " * 200, "at most 120"),
        ("2026-02-30T00:00:00", "no such time"),
        ("2026-13-01T00:00:00", "no such time"),
        ("2026-11-25T15:00", "expected is a cron text"),
        ("@daily", "expected is a cron text"),
    ],
)
def test_a_text_that_means_nothing_is_refused_by_its_field(text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=r"^backup_strategy: ") as refusal:
        parse(text)
    assert named in refusal.value.message
