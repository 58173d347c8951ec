"""The capture of one node in one attempt at a snapshot, with its progress."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CaptureState(StrEnum):
    COPYING = "copying"
    READY = "ready"  # the base is copied; waits for the cut
    DONE = "done"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Capture:
    snapshot_id: str
    node: str
    attempt: int
    state: CaptureState
    bytes_done: int
    bytes_total: int
    error: str
    updated: datetime
    bytes_per_second: int = 0
