"""Lines of manifests and of records of findings: a type for each kind, by its `t` (docs/format.md, sections 5 and 6).

At run time a line is the dict that was decoded; its fields are not checked. All sizes are bytes, LSNs are integers. A
reader passes over a line whose kind has no type here: it is from a newer program.
"""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict


class Cut(TypedDict):
    """The restore point of a snapshot; `lsn` is where its WAL record ends."""

    name: str
    lsn: int
    timeline: int


class HowFar(TypedDict, total=False):
    """Fields of some `node` lines: the LSN that a part had reached, why the node could not be marked, and the name of
    the role that initdb made.
    """

    reached: int
    unmarked: str
    passed: int | None
    superuser: str


class NodeLine(HowFar):
    """The node as it was captured. `block_size` and `wal_segment_size` are bytes, `segment_blocks` pages."""

    t: Literal["node"]
    cluster: str
    snapshot: str
    node: str
    node_id: str
    role: str
    attempt: int
    lineage: str
    token: str
    base: str | None
    whole_because: str
    system_identifier: int
    timeline: int
    pg_version_num: int
    control_version: int
    catalog_version: int
    block_size: int
    segment_blocks: int
    wal_segment_size: int
    checksum_version: int
    hints_logged: bool
    postmaster_started: str
    start_lsn: int
    stop_lsn: int | None
    cut: Cut | None
    settings: dict[str, str]


class ExtensionLine(TypedDict):
    """An extension that a database has, and its version."""

    t: Literal["extension"]
    database: str
    name: str
    version: str


class CollationLine(TypedDict):
    """A collation that a database uses, and the version that its provider gave it."""

    t: Literal["collation"]
    database: str
    provider: str
    name: str
    version: str


class PackLine(TypedDict):
    """A pack: `size` is its stored bytes, `index` the offset of its index in bytes, `hash` BLAKE3 in hex."""

    t: Literal["pack"]
    id: str
    size: int
    index: int
    hash: str


class MapLine(TypedDict):
    """A map: `size` is its stored bytes, `packs` are ordinals among the manifest's pack lines."""

    t: Literal["map"]
    id: str
    size: int
    hash: str
    packs: list[int]


class DirLine(TypedDict):
    """A directory; `mode` is its permission bits."""

    t: Literal["dir"]
    path: str
    mode: int


class LinkLine(TypedDict):
    """A tablespace; `target` is where its link pointed on the source."""

    t: Literal["link"]
    oid: int
    target: str


class UnplacedFileLine(TypedDict):
    """A file before it has a place in a map: `size` in bytes, `mtime_ns` in nanoseconds, `held` in pages."""

    t: Literal["file"]
    path: str
    mode: int
    mtime_ns: int
    size: int
    how: str
    why: NotRequired[str]
    inode: NotRequired[int]
    held: NotRequired[int]
    pieces: NotRequired[list[str]]
    bytes: NotRequired[bool]


class PlacedFileLine(UnplacedFileLine):
    """A file whose map may not be stored yet; `entry` is its ordinal in that map."""

    entry: int


class FileLine(PlacedFileLine):
    """A file as the manifest holds it; `map` is the id of its map, None for a file without bytes."""

    map: str | None


class PiecesLine(TypedDict):
    """More pieces of the file before it. Readers see them joined to that file."""

    t: Literal["pieces"]
    pieces: list[str]


class WalLine(TypedDict):
    """A WAL segment; `path` is its name, `size` in bytes, `entry` its ordinal in the map."""

    t: Literal["wal"]
    path: str
    size: int
    map: str
    entry: int


class RottenLine(TypedDict):
    """A page that failed its checksum on the source; `block` is its number in the file `path`."""

    t: Literal["rotten"]
    path: str
    block: int


class SkippedLine(TypedDict):
    """A file that was left out; `what` is its path, written for people."""

    t: Literal["skipped"]
    what: str
    why: str


class WitnessLine(TypedDict):
    """The databases whose tables follow as they were at the cut, or why there are none."""

    t: Literal["witness"]
    databases: list[str]
    why: str
    partitioned: NotRequired[bool]
    left_out: NotRequired[dict[str, str]]


class PartitionedLine(TypedDict):
    """A partitioned table, which holds no rows itself."""

    t: Literal["partitioned"]
    database: str
    schema: str
    name: str


class TableLine(TypedDict):
    """A table at the cut: the number of its `rows` and their `digest`, or why it was `left_out`.

    `relations` are its own files and those of its TOAST table: oids of tablespace and database, and the file number.
    """

    t: Literal["table"]
    database: str
    schema: str
    name: str
    kind: str
    relations: NotRequired[list[list[int]]]
    rows: NotRequired[int]
    digest: NotRequired[str]
    left_out: NotRequired[str]


class EndLine(TypedDict):
    """The last line: the number of files, the sum of their sizes in bytes, and the number of WAL segments."""

    t: Literal["end"]
    files: int
    bytes: int
    wal: int


Line = (
    NodeLine
    | ExtensionLine
    | CollationLine
    | PackLine
    | MapLine
    | DirLine
    | LinkLine
    | FileLine
    | WalLine
    | RottenLine
    | SkippedLine
    | WitnessLine
    | PartitionedLine
    | TableLine
    | EndLine
)


class FindingsLine(TypedDict):
    """The first line of a record of findings; `replaces` are ids of older records."""

    t: Literal["findings"]
    format: int
    replaces: list[str]
    worked_out: bool


class FaultLine(TypedDict):
    """A damaged object; `lost` are ordinals of frames or entries, or paths, None for all; `found` is RFC 3339, UTC."""

    t: Literal["fault"]
    key: str
    kind: str
    detail: str
    lost: list[int | str] | None
    found: str


class LostFile(TypedDict, total=False):
    """A file of a `loss` line; `blocks` and `bytes` are ranges [first, last], `more` counts the ranges not named."""

    path: str
    path_b64: str
    blocks: Sequence[Sequence[int]]
    bytes: Sequence[Sequence[int]]
    more: int


class LossLine(TypedDict):
    """The losses of one node, None for the whole snapshot; `more` counts the files that are not named."""

    t: Literal["loss"]
    snapshot: str
    name: str
    node: str | None
    files: list[LostFile] | None
    more: NotRequired[int]


RecordLine = FindingsLine | FaultLine | LossLine
