"""The care of a capture for the warehouse that it reads: rate limit, I/O priority and kind of checkpoint. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class IoPriority(StrEnum):
    """The I/O priority as in ioprio_set(2). It has an effect only with the disk schedulers bfq and mq-deadline."""

    NORMAL = "normal"
    LOW = "low"
    IDLE = "idle"


class Checkpoint(StrEnum):
    """The kind of the checkpoint that a backup begins with: at once, or spread like the server's own checkpoints."""

    FAST = "fast"
    SPREAD = "spread"


@dataclass(frozen=True)
class Care:
    """The limits of one node's capture. `bytes_per_second` bounds the average rate of its reads. 0 means no bound."""

    bytes_per_second: int = 0
    io_priority: IoPriority = IoPriority.NORMAL
    checkpoint: Checkpoint = Checkpoint.FAST

    def wait_seconds(self, done: int, elapsed: float) -> float:
        """Return how many seconds to rest after `done` bytes in `elapsed` seconds."""
        return max(done / self.bytes_per_second - elapsed, 0.0) if self.bytes_per_second else 0.0
