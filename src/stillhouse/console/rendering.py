"""Templates and the words in which they show sizes, times and states. All that they insert is escaped."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.console import static_files
from stillhouse.domain.reports.sizes import said_size

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "templates"

# The tone in which a state is shown; others are bad.
_TONES = {
    "good": {"AVAILABLE", "UP", "DONE", "PROVED", "accepted", "proved", "restored"},
    "busy": {"CREATING", "CHANGING", "RUNNING", "DELETING"},
    "calm": {"STOPPED", "CANCELLED", "GONE", "DELETED", "cancelled"},
    "wary": {"DEGRADED", "skipped", "replaced"},
}


def render(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    """Import the library at the first page: a service without visitors does not need it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(size=size, moment=moment, iso=iso, span=span, tone=tone, words=words)
    environment.globals["static"] = static_files.address
    return environment


def size(count: int | None) -> str:
    """Return bytes as people read them; a dash while they are unknown."""
    return "–" if count is None else said_size(count)


def moment(time: datetime | None) -> str:
    """Return a time in UTC, to the minute."""
    return "–" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def iso(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(length: timedelta | float | None) -> str:
    """Return a duration by its two largest units."""
    if length is None:
        return "–"
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


def tone(state: str) -> str:
    return next((name for name, states in _TONES.items() if state in states), "bad")


def words(state: str) -> str:
    """Return a state's name as a word of a sentence."""
    return state.replace("_", " ").lower()
