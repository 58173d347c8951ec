"""Times on the terminal: shown in the local zone, or in UTC if that was asked for, always with the offset."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from stillhouse.errors import InvalidInput

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_AGO = re.compile(r"(?P<number>\d{1,5})(?P<unit>[mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_zone: list[tzinfo | None] = [None]  # None: the local zone, as TZ has it


def use_utc() -> None:
    """Show and read times in UTC from now on."""
    _zone[0] = UTC


def shown(text: str) -> str:
    """Return a time of the API as `2026-11-29 23:44:32 +01:00`; any other text as it is."""
    if not _ISO.fullmatch(text):
        return text
    time = datetime.fromisoformat(text)
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    offset = f"{aware.astimezone(_zone[0]):%Y-%m-%d %H:%M:%S %z}"
    return f"{offset[:-2]}:{offset[-2:]}"


def since(text: str, now: datetime) -> datetime:
    """Parse the begin of a span: `90m`, `12h`, `7d`, `2w` ago, or a date or time in ISO 8601, without a zone as times
    are shown. Raises InvalidInput.
    """
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{text[:40]!r} is no time", hint="7d, 12h or 90m ago, or a time like 2026-11-20T08:00:00+01:00"
        ) from None
    if time.tzinfo is not None:
        return time
    return time.astimezone() if _zone[0] is None else time.replace(tzinfo=_zone[0])
