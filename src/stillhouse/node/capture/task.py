"""The task of a capture, its result, and the conductor that it reports to."""

from dataclasses import dataclass, field
from typing import Protocol

from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.domain.throttle import Care
from stillhouse.repository.format.sealed import Stored


@dataclass(frozen=True)
class CaptureTask:
    """The task to capture one node.

    `slot` names the replication slot and the backup label, and so the attempt. A name is never used again.

    `base` is the earlier manifest to build on. Without it the capture is whole, and `whole_because` says why. If
    `reads_all`, everything is read all the same, and only what is sound in the store is not stored again. `parts`
    were saved by earlier attempts at this snapshot, in order. A part is saved whenever `part_bytes` more were read.

    `expected_bytes` is about how much the node holds. A whole capture of more than `processes_above` bytes packs in
    processes of its own.

    `damaged` are the keys of objects known to be damaged. The capture takes nothing from them.

    `fingerprint_seconds` is how long after the cut the tables' fingerprints may be read.
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
    reads_all: bool = False
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
    """The result of a capture.

    `plain_bytes` counts the node's data, `wal_bytes` its WAL, and `stored_bytes` the bytes stored for both.

    `base` is the manifest that unchanged pages were taken from. Without it `whole_because` says why. `lineage` is the
    node's lineage from now on. `read_bytes` were read from the data directory, and `packed_bytes` of them went into
    packs, before compression. `pages_stored` counts the relation pages among these. `files` counts the files by how
    each was captured.

    `rotten` is the number of pages that fail their checksum on the source. The manifest names them.

    `capacity` holds the settings that recovery requires to be at least as large as here.

    `skipped` counts files that were left out, for example because the account does not own them. `skipped_first` holds
    the first of them by path, each with the reason.

    `replaced` counts tables without a fingerprint, because they had been replaced before they were read.
    `replaced_first` describes the first of them.
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
    """Directs the captures of all nodes. Captures report progress and readiness to it, and ask it for the cut."""

    def progress(self, done: int, total: int) -> None:
        """Report bytes read so far, and the present estimate of all bytes to read. Raises Cancelled to end the work."""
        ...

    def saved(self, part: Stored) -> None:
        """Report that part of the capture is durable. The next attempt may build on it."""
        ...

    def ready(self) -> None:
        """Report that the base is complete: the cut may be taken."""
        ...

    def cut(self, wait_seconds: float) -> RestorePoint | None:
        """Return this node's restore point, or `None` if it is not taken yet. Raises Cancelled as `progress` does."""
        ...
