"""What a copy did, in figures."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a copy did. Bytes are plain ones; `files` counts by what was done with each.

    Of files of `looked_at` bytes, `planned` bytes are to be read.
    """

    looked_at: int = 0
    planned: int = 0
    live_bytes: int = 0
    bytes_read: int = 0
    bytes_packed: int = 0
    pages_stored: int = 0
    rotten: int = 0
    files: Counter[str] = field(default_factory=Counter)
