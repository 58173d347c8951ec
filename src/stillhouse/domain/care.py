"""How gently a capture treats the warehouse it reads: pure."""

from dataclasses import dataclass
from enum import StrEnum


class IoPriority(StrEnum):
    """As ioprio_set(2) has it; it counts where the disk's scheduler looks at it (bfq, mq-deadline)."""

    NORMAL = "normal"
    LOW = "low"
    IDLE = "idle"


class Checkpoint(StrEnum):
    """How the server does the checkpoint that a backup begins with: at once, or spread as its own are."""

    FAST = "fast"
    SPREAD = "spread"


@dataclass(frozen=True)
class Care:
    """`bytes_per_second` bounds what one node's capture reads of it, on average; 0: no bound."""

    bytes_per_second: int = 0
    io_priority: IoPriority = IoPriority.NORMAL
    checkpoint: Checkpoint = Checkpoint.FAST

    def wait_seconds(self, done: int, elapsed: float) -> float:
        """How long to rest after `done` bytes in `elapsed` seconds."""
        return max(done / self.bytes_per_second - elapsed, 0.0) if self.bytes_per_second else 0.0
