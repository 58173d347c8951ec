"""The tally of a copy: counts of the bytes, pages and files that it read and stored."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of one copy. All bytes are plain bytes, before compression.

    The files seen so far have `looked_at` bytes. `planned` of them must be read. `files` counts files by how each was
    captured.
    """

    looked_at: int = 0
    planned: int = 0
    live_bytes: int = 0
    bytes_read: int = 0
    bytes_packed: int = 0
    pages_stored: int = 0
    rotten: int = 0
    files: Counter[str] = field(default_factory=Counter)
