"""The history of a timeline: the timelines before it, and where the WAL left each of them.

A server writes it at each promotion into `pg_wal/<timeline>.history` (src/backend/access/transam/timeline.c).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stillhouse.postgres.sessions.session import Connection
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn

_MOST = 1 << 20  # bytes: a line per promotion
_READ = "SELECT pg_catalog.pg_read_binary_file(%s, 0, %s, true)"


@dataclass(frozen=True)
class Stretch:
    """The WAL that a history has on one timeline, from `begin` up to `end`. The present timeline has no end."""

    timeline: int
    begin: int
    end: int | None = None


History = tuple[Stretch, ...]
"""From the oldest timeline to the present one. Each stretch begins where the one before ends."""


def read_history(connection: Connection, timeline: int) -> History:
    """Return the history of the server's timeline. If the server has none, nothing before the timeline is known."""
    if timeline == 1:
        return parse(timeline, "")
    ((content,),) = connection.execute(_READ, [f"pg_wal/{timeline:08X}.history", _MOST]).fetchall()
    # A reason may be in any encoding. It is not looked at.
    return parse(timeline, "" if content is None else content.decode("latin-1"))


def parse(timeline: int, text: str) -> History:
    """Read a history file: in each line an earlier timeline, the LSN at which it was left, and the reason.

    Nothing is believed of a file that is not so.
    """
    try:
        before = _before(text)
    except (ValueError, IndexError):
        before = []
    return (*before, Stretch(timeline, _end(before)))


def _before(text: str) -> list[Stretch]:
    found: list[Stretch] = []
    for line in text.splitlines():
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        found.append(Stretch(int(words[0]), _end(found), parse_lsn(words[1])))
    return found


def _end(found: list[Stretch]) -> int:
    return found[-1].end or 0 if found else 0


def why_not_passed(history: History, timeline: int, lsn: int) -> str:
    """Say in words why this history did not come by `lsn` on `timeline`. Empty if it did."""
    present = history[-1].timeline
    for stretch in history:
        if stretch.timeline == timeline:
            if stretch.end is None or lsn <= stretch.end:
                return ""
            return (
                f"the base ends at {format_lsn(lsn)} on timeline {timeline}, and the node left that at"
                f" {format_lsn(stretch.end)} for timeline {present}"
            )
    return f"the base's timeline is {timeline}, the node's {present}, and its history does not have the other"


def stretches_from(history: History, timeline: int, lsn: int) -> Iterator[Stretch]:
    """Yield the history from `lsn` on `timeline` to the present."""
    for number, stretch in enumerate(history):
        if stretch.timeline == timeline:
            yield Stretch(timeline, lsn, stretch.end)
            yield from history[number + 1 :]
