"""Schedules of policies: cron texts in the form of Quartz, and one-off times. Pure, and all in UTC.

A cron text has six or seven fields: second, minute, hour, day of month, month, day of week (1 or SUN to 7 or SAT),
and optionally year (1970 to 2099). Each is `*`, or a list of values, ranges (which may wrap: `22-2`) and steps (`2/8`,
`*/5`). Exactly one of the two day fields is `?`. A day of month may also be `L` (the last), `L-3` (three before it),
`15W` (the weekday nearest to the 15th within its month), `LW` or `L-3W`. A day of week may also be `L` (Saturday), `6L`
(the month's last Friday) or `6#3` (its third). A month that lacks the day has no run. Source: Quartz 2.3,
CronExpression.
"""

import calendar
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise, product

from stillhouse.errors import InvalidInput

LONGEST_TEXT = 120

_DAY = timedelta(days=1)
_FIRST_YEAR, _LAST_YEAR = 1970, 2099
_ONCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?", re.ASCII)
_PART = re.compile(
    r"(?:(?P<all>\*)|(?P<first>[0-9]{1,4}|[A-Z]{3})(?:-(?P<last>[0-9]{1,4}|[A-Z]{3}))?)?(?:/(?P<step>[0-9]{1,4}))?"
)
_FROM_LAST = re.compile(r"L(?:-(?P<before>[0-9]{1,2}))?(?P<weekday>W)?")
_NEAREST = re.compile(r"(?P<day>[0-9]{1,2})W")
_LAST_OF_WEEK = re.compile(r"(?P<day>[1-7]|[A-Z]{3})L")
_NTH_OF_WEEK = re.compile(r"(?P<day>[1-7]|[A-Z]{3})#(?P<nth>[1-5])")

# The days of one month on which a schedule runs, ascending.
Days = Callable[[int, int], list[int]]


@dataclass(frozen=True)
class Once:
    """A single run at a given second."""

    moment: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        return self.moment if self.moment > moment else None

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        return self.moment if after < self.moment <= until else None


@dataclass(frozen=True)
class Cron:
    """A repeated run. `times` are seconds since midnight, ascending."""

    times: tuple[int, ...]
    days: Days = field(repr=False)
    months: frozenset[int]
    years: frozenset[int]

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first run later than `moment`, or `None` if there are no more runs."""
        for day in self._days_from(moment.date()):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            index = bisect_right(self.times, (moment - midnight) // timedelta(seconds=1))
            if index < len(self.times):
                return midnight + timedelta(seconds=self.times[index])
        return None

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last run at or before `until`, or `None` if it is not later than `after`."""
        for day in self._days_back_from(until.date(), after.date()):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            index = bisect_right(self.times, (until - midnight) // timedelta(seconds=1))
            if index:
                found = midnight + timedelta(seconds=self.times[index - 1])
                return found if found > after else None
        return None

    def least_gap(self) -> timedelta:
        """Return the shortest time between two successive runs, but at most a day."""
        within = min((later - earlier for earlier, later in pairwise(self.times)), default=None)
        over_midnight = self.times[0] + 24 * 3600 - self.times[-1]
        if within is not None and within <= over_midnight:
            return timedelta(seconds=within)
        all_days = self._days_from(date(_FIRST_YEAR, 1, 1))
        if any(later - earlier == _DAY for earlier, later in pairwise(all_days)):
            return timedelta(seconds=over_midnight)
        return _DAY if within is None else timedelta(seconds=within)

    def _days_from(self, first: date) -> Iterator[date]:
        for year in range(max(first.year, _FIRST_YEAR), _LAST_YEAR + 1):
            for month in range(1, 13):
                if (year, month) >= (first.year, first.month):
                    yield from (day for day in self._days_of(year, month) if day >= first)

    def _days_back_from(self, last: date, first: date) -> Iterator[date]:
        for year in range(min(last.year, _LAST_YEAR), first.year - 1, -1):
            for month in range(12, 0, -1):
                if (first.year, first.month) <= (year, month) <= (last.year, last.month):
                    yield from (day for day in reversed(self._days_of(year, month)) if day <= last)

    def _days_of(self, year: int, month: int) -> list[date]:
        if year not in self.years or month not in self.months:
            return []
        return [date(year, month, day) for day in self.days(year, month)]


Schedule = Cron | Once


@lru_cache(maxsize=4096)
def parse(text: str) -> Schedule:
    """Parse the schedule of a policy. Raises InvalidInput, which names the field, its rule, and one that is right."""
    try:
        return _parse(text)
    except InvalidInput as error:
        raise InvalidInput(error.message, hint=f"for example {_corrected(text)}") from None


def _parse(text: str) -> Schedule:
    _demand(
        len(text) <= LONGEST_TEXT and text.isascii(), f"at most {LONGEST_TEXT} ASCII characters are expected"
    )
    if _ONCE.fullmatch(text):
        return Once(_moment(text))
    fields = text.upper().split()
    _demand(
        len(fields) in (6, 7),
        "expected is a cron text of the fields second, minute, hour, day of month, month, day of week and perhaps "
        "year, or a time such as 2026-11-30T02:00:00",
    )
    seconds, minutes, hours = (
        sorted(_values(rule, text)) for rule, text in zip(_CLOCK, fields[:3], strict=True)
    )
    return Cron(
        times=tuple(
            hour * 3600 + minute * 60 + second for hour, minute, second in product(hours, minutes, seconds)
        ),
        days=_days(fields[3], fields[5]),
        months=_values(_MONTH, fields[4]),
        years=_values(_YEAR, fields[6] if len(fields) == 7 else "*"),
    )


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)


_CLOCK = (_Field("second", 0, 59), _Field("minute", 0, 59), _Field("hour", 0, 23))
_DAY_OF_MONTH = _Field("day of month", 1, 31)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTH = _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)})
_DAY_OF_WEEK = _Field("day of week", 1, 7, {name: number for number, name in enumerate(_WEEKDAYS, 1)})
_YEAR = _Field("year", _FIRST_YEAR, _LAST_YEAR)


def _values(rule: _Field, text: str) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _part(rule, part))


def _part(rule: _Field, part: str) -> list[int]:
    """Return the values of one member of a list: `*`, a value or a range, each with an optional step."""
    matched = _PART.fullmatch(part) if part else None
    _demand(matched is not None, f"the field {rule.name} is malformed")
    assert matched is not None
    step = 1 if matched["step"] is None else int(matched["step"])
    _demand(1 <= step <= rule.high, f"a step of the field {rule.name} must be between 1 and {rule.high}")
    first = rule.low if matched["first"] is None else _value(rule, matched["first"])
    if matched["last"] is not None:
        last = _value(rule, matched["last"])
    else:
        last = first if matched["first"] and matched["step"] is None else rule.high
    if first <= last:
        return list(range(first, last + 1, step))
    _demand(rule is not _YEAR, "a range of years must not run backwards")
    span = rule.high - rule.low + 1
    return [(value - rule.low) % span + rule.low for value in range(first, last + span + 1, step)]


def _value(rule: _Field, text: str) -> int:
    value = rule.names.get(text, int(text) if text.isdigit() else -1)
    _demand(
        rule.low <= value <= rule.high, f"the field {rule.name} must be between {rule.low} and {rule.high}"
    )
    return value


def _days(of_month: str, of_week: str) -> Days:
    _demand((of_month == "?") != (of_week == "?"), "exactly one of day of month and day of week must be '?'")
    return _days_of_week(of_week) if of_month == "?" else _days_of_month(of_month)


def _days_of_month(text: str) -> Days:
    if matched := _FROM_LAST.fullmatch(text):
        before = int(matched["before"] or 0)
        _demand(before <= 30, "the last day of a month can be stepped back from by at most 30 days")
        is_nearest = matched["weekday"] is not None
        return lambda year, month: _one(year, month, _length(year, month) - before, is_nearest=is_nearest)
    if matched := _NEAREST.fullmatch(text):
        day = _value(_DAY_OF_MONTH, matched["day"])
        return lambda year, month: _one(year, month, day, is_nearest=True)
    days = sorted(_values(_DAY_OF_MONTH, text))
    return lambda year, month: [day for day in days if day <= _length(year, month)]


def _days_of_week(text: str) -> Days:
    if matched := _LAST_OF_WEEK.fullmatch(text):
        last = _value(_DAY_OF_WEEK, matched["day"])
        return lambda year, month: _weekdays(year, month, {last})[-1:]
    if matched := _NTH_OF_WEEK.fullmatch(text):
        day, nth = _value(_DAY_OF_WEEK, matched["day"]), int(matched["nth"])
        return lambda year, month: _weekdays(year, month, {day})[nth - 1 : nth]
    days = _values(_DAY_OF_WEEK, "7" if text == "L" else text)
    return lambda year, month: _weekdays(year, month, days)


def _weekdays(year: int, month: int, wanted: frozenset[int] | set[int]) -> list[int]:
    """Return the days of the month that fall on these weekdays, which are numbered as in Quartz."""
    return [day for day in range(1, _length(year, month) + 1) if _weekday(year, month, day) in wanted]


def _one(year: int, month: int, day: int, *, is_nearest: bool) -> list[int]:
    length = _length(year, month)
    if not 1 <= day <= length:
        return []
    weekday = _weekday(year, month, day) if is_nearest else 0
    if weekday == 7:
        return [day - 1 if day > 1 else day + 2]
    if weekday == 1:
        return [day + 1 if day < length else day - 2]
    return [day]


def _weekday(year: int, month: int, day: int) -> int:
    return date(year, month, day).isoweekday() % 7 + 1


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput("backup_strategy: there is no such time") from None


_EVERY_DAY = "'0 0 2 * * ?', every day at 02:00 UTC"
_WORDS = {
    "@hourly": "0 0 * * * ?",
    "@daily": "0 0 0 * * ?",
    "@midnight": "0 0 0 * * ?",
    "@weekly": "0 0 0 ? * SUN",
    "@monthly": "0 0 0 1 * ?",
}


def _corrected(text: str) -> str:
    """Return the nearest text that is right, quoted: for a cron text as Unix has it, or another of one common slip."""
    fields = text.upper().split() if len(text) <= LONGEST_TEXT else []
    if len(fields) == 5:  # of Unix: no second, Sunday is 0 or 7, and both days may be given
        fields = ["0", *fields[:4], re.sub(r"(?<![#/])\d", lambda day: str(int(day[0]) % 7 + 1), fields[4])]
    near = _WORDS.get(text.strip().lower(), "")
    if len(fields) in (6, 7):
        if fields[3] == fields[5] == "?":
            fields[3] = "*"
        elif fields[5] == "*":
            fields[5] = "?"
        elif fields[3] == "*" and fields[5] != "?":
            fields[3] = "?"
        near = " ".join(fields)
    try:
        _parse(near)
    except InvalidInput:
        return _EVERY_DAY
    return f"'{near}'"


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidInput(f"backup_strategy: {message}")
