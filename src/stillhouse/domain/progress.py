"""The progress of work: bytes done, rate, and estimates of the time and bytes left. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MOST_SAMPLES = 64


@dataclass(frozen=True)
class Progress:
    """The progress of one phase. `bytes_total` is the present estimate. `bytes_per_second` is 0 while unknown."""

    phase: str
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: int = 0

    @property
    def seconds_left(self) -> int | None:
        """The seconds left in this phase, rounded up. `None` while the rate is unknown."""
        left = max(self.bytes_total - self.bytes_done, 0)
        if not left:
            return 0
        return math.ceil(left / self.bytes_per_second) if self.bytes_per_second else None


def together(phase: str, parts: Iterable[Progress]) -> Progress:
    """Sum up parts that run side by side on one host. Only unfinished parts count for the rate, because they take over
    the share of a part that is done.
    """
    found = list(parts)
    return Progress(
        phase,
        sum(part.bytes_done for part in found),
        sum(part.bytes_total for part in found),
        sum(part.bytes_per_second for part in found if part.bytes_done < part.bytes_total),
    )


class Pace:
    """The rate of one phase, from samples of the bytes done.

    It is the rate over the later half of the time so far. A slow start is forgotten when the work has gone on for as
    long again. The longer the work, the less a burst or a pause counts.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []
        self._now = (0.0, 0)
        self._gap = 0.0

    def add(self, seconds: float, done: int) -> None:
        """Add a sample. `seconds` is of any clock that does not go back. If `done` shrinks, the work began again."""
        if done < self._now[1]:
            self._samples.clear()
        self._now = (seconds, done)
        if not self._samples or seconds - self._samples[-1][0] >= self._gap:
            self._samples.append(self._now)
        if len(self._samples) > _MOST_SAMPLES:
            # The samples cover the whole time evenly, in bounded space.
            self._samples = self._samples[::2]
            self._gap = 2 * (seconds - self._samples[0][0]) / _MOST_SAMPLES

    @property
    def bytes_per_second(self) -> int:
        """The rate, or 0 while it is unknown: before the second sample, or if nothing was done lately."""
        now, done = self._now
        if not self._samples or now <= self._samples[0][0]:
            return 0
        middle = (self._samples[0][0] + now) / 2
        since, had = [sample for sample in self._samples if sample[0] <= middle][-1]
        return round((done - had) / (now - since))


def expected_bytes(planned: int, looked_at: int, all_bytes: int) -> int:
    """Estimate the bytes that a copy will read in all. So far it has seen files of `looked_at` bytes, and plans to read
    `planned` bytes of them.

    The same share is expected of the rest, because an incremental copy reads a part of each file. At the start the
    share is taken as one: a sixty-fourth of all bytes counts as already seen and read whole.
    """
    rest = max(all_bytes - looked_at, 0)
    grain = max(all_bytes // 64, 1)
    return planned + rest * (planned + grain) // (looked_at + grain)
