"""Times on the terminal have one form, with the offset of their zone."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from stillhouse.cli.terminal import times
from stillhouse.errors import InvalidInput

NOW = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    monkeypatch.setattr(times, "_zone", [None])
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29T20:30:00",
        "2026-11-29T20:30:00Z",
        "2026-11-29T20:30:00+00:00",
        "2026-11-29T21:30:00.5+0100",
    ],
)
def test_a_time_is_shown_in_the_local_zone_or_in_utc(text: str) -> None:
    assert times.shown(text) == "2026-11-30 02:00:00 +05:30"
    times.use_utc()
    assert times.shown(text) == "2026-11-29 20:30:00 +00:00"


@pytest.mark.parametrize("text", ["nightly", "2026-11-29", "2026-11-29T20:30:00 was it", ""])
def test_any_other_text_stays(text: str) -> None:
    assert times.shown(text) == text


def test_a_begin_is_an_age_or_a_time_that_reads_as_times_are_shown() -> None:
    assert times.since("90m", NOW) == NOW - timedelta(minutes=90)
    assert times.since("2w", NOW) == NOW - timedelta(days=14)
    assert times.since("2026-11-29T22:00:00+01:00", NOW) == NOW - timedelta(hours=1)
    assert times.since("2026-11-30", NOW) == datetime(2026, 11, 29, 18, 30, tzinfo=UTC)
    times.use_utc()
    assert times.since("2026-11-30", NOW) == datetime(2026, 11, 30, tzinfo=UTC)
    for wrong in ("yesterday", "7y", "-1d", "2026-13-01"):
        with pytest.raises(InvalidInput, match="no time"):
            times.since(wrong, NOW)
