"""How far work has come, how fast it goes, and how long what is left will take: pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MOST_SAMPLES = 64


@dataclass(frozen=True)
class Progress:
    """`bytes_total` is what is expected by now; `bytes_per_second` is 0 while it is not known."""

    phase: str
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: int = 0

    @property
    def seconds_left(self) -> int | None:
        """Of this phase, rounded up; None while nobody can know."""
        left = max(self.bytes_total - self.bytes_done, 0)
        if not left:
            return 0
        return math.ceil(left / self.bytes_per_second) if self.bytes_per_second else None


def together(phase: str, parts: Iterable[Progress]) -> Progress:
    """Parts done side by side, on one host: what one of them leaves of it when it is done, the others take."""
    found = list(parts)
    return Progress(
        phase,
        sum(part.bytes_done for part in found),
        sum(part.bytes_total for part in found),
        sum(part.bytes_per_second for part in found if part.bytes_done < part.bytes_total),
    )


class Pace:
    """The rate of one phase, from samples of what is done.

    It is that of the later half of the time so far: a slow start is forgotten as soon as the work has gone on for as
    long again, and the longer the work, the less a burst or a pause counts.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []
        self._now = (0.0, 0)
        self._gap = 0.0

    def add(self, seconds: float, done: int) -> None:
        """`seconds` by any clock that does not go back. Where less is done than before, the work began anew."""
        if done < self._now[1]:
            self._samples.clear()
        self._now = (seconds, done)
        if not self._samples or seconds - self._samples[-1][0] >= self._gap:
            self._samples.append(self._now)
        if len(self._samples) > _MOST_SAMPLES:
            # They span the whole time, evenly, in a bounded space.
            self._samples = self._samples[::2]
            self._gap = 2 * (seconds - self._samples[0][0]) / _MOST_SAMPLES

    @property
    def bytes_per_second(self) -> int:
        """0 while it is not known: before the second sample, or when nothing was done lately."""
        now, done = self._now
        if not self._samples or now <= self._samples[0][0]:
            return 0
        middle = (self._samples[0][0] + now) / 2
        since, had = [sample for sample in self._samples if sample[0] <= middle][-1]
        return round((done - had) / (now - since))


def expected_bytes(planned: int, looked_at: int, all_bytes: int) -> int:
    """What a copy will have read, when `planned` bytes are to be read of the files it has looked at.

    Of the rest, as large a share as of those: an incremental copy reads a part of each file, or nothing. Until it has
    looked at some, all of them: a sixty-fourth counts as if it had been looked at, and was to be read whole.
    """
    rest = max(all_bytes - looked_at, 0)
    grain = max(all_bytes // 64, 1)
    return planned + rest * (planned + grain) // (looked_at + grain)
