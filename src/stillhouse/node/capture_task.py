"""What a capture is asked for, what it tells, and whom it tells it."""

from dataclasses import dataclass, field
from typing import Protocol

from stillhouse.domain.care import Care
from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.repository.sealed import Stored


@dataclass(frozen=True)
class CaptureTask:
    """`slot` names the slot, the backup label and thereby the attempt: it is used once in all time.

    `base` is the earlier manifest to build on; None makes the capture whole, and `whole_because` says why. `parts` are
    what earlier attempts at this snapshot saved, in order; a part is saved whenever `part_bytes` more were read.

    `expected_bytes` is about what the node holds: a whole capture of more than `processes_above` packs in processes of
    its own.
    `damaged` are the keys of objects that nothing is taken from, for they are known to be so.
    For so many seconds after the cut the tables' fingerprints are read.
    """

    node: Node
    cluster: str
    snapshot: str
    attempt: int
    slot: str
    workers: int
    wal_retention_bytes: int
    base: Stored | None = None
    whole_because: str = ""
    parts: tuple[Stored, ...] = ()
    part_bytes: int = 4 << 30
    care: Care = field(default_factory=Care)
    expected_bytes: int = 0
    processes_above: int = 64 << 20
    fingerprint_seconds: float = 0.0
    damaged: frozenset[str] = frozenset()

    @property
    def is_large(self) -> bool:
        return self.expected_bytes > self.processes_above


@dataclass(frozen=True)
class Captured:
    """`plain_bytes` counts the node's data, `wal_bytes` its WAL, `stored_bytes` what its capture stored of both.

    `base` is the manifest that unchanged pages were taken from; without one `whole_because` says why. `lineage` is the
    node's from now on. `read_bytes` were read from the data directory, `packed_bytes` of them went into packs, before
    compression, `pages_stored` relation pages among them; `files` counts the files by what was done with each.

    `rotten` is the number of pages that fail their checksum on the source; the manifest names them.

    `capacity` are the settings that recovery wants no smaller than they were.

    `skipped` files were left out, since they are not the account's own: the first of them by path, with the reason.

    `replaced` tables have no fingerprint because they were something else when they were to be read; the first in
    words.
    """

    manifest: Stored
    start_lsn: int
    plain_bytes: int
    wal_bytes: int
    stored_bytes: int
    rotten: int
    capacity: dict[str, str]
    base: str | None
    whole_because: str
    lineage: str
    read_bytes: int
    packed_bytes: int
    pages_stored: int
    files: dict[str, int]
    skipped: int = 0
    skipped_first: dict[str, str] = field(default_factory=dict)
    replaced: int = 0
    replaced_first: str = ""


class Conductor(Protocol):
    """Whoever directs the captures of all nodes: told of progress and readiness, asked for the cut."""

    def progress(self, done: int, total: int) -> None:
        """Bytes read so far, and to be read in all as it looks now; raises Cancelled when to be given up."""
        ...

    def saved(self, part: Stored) -> None:
        """Part of the capture is durable; the next attempt may build on it."""
        ...

    def ready(self) -> None:
        """The base is complete: the cut may be taken."""
        ...

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        """This node's restore point, once taken; raises Cancelled as above."""
        ...
