"""The manifest lines of copied files, and the tally of what a copy read and stored."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stillhouse.domain.page_choice import How
from stillhouse.node.capture.base import Base, BaseFile
from stillhouse.node.capture.deferred_writes import MapShelf
from stillhouse.postgres.files import layout
from stillhouse.postgres.readers.node_files import Entry
from stillhouse.repository.format.lines import PlacedFileLine, UnplacedFileLine
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import MapBuilder


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


class FileLines:
    """Writes one line for each file that is settled: kept, placed in a map, or empty."""

    def __init__(self, manifest: ManifestWriter, shelf: MapShelf, base: Base, tally: Tally) -> None:
        self._manifest, self._shelf, self._base, self._tally = manifest, shelf, base, tally

    def keep(self, entry: Entry, base: BaseFile, how: How) -> None:
        """Name the entry of an unchanged file of the base again."""
        size = int(base.line["size"])
        line: PlacedFileLine = {**self.line(entry, size, how), "entry": base.line["entry"]}
        if "held" in base.line:
            line["held"] = base.line["held"]
        if "pieces" in base.line:
            line["pieces"] = base.line["pieces"]
        if "bytes" in base.line:
            line["bytes"] = base.line["bytes"]
        self._base.keep(base, line)
        self._count(how, size)
        if how is How.KEPT:
            for page in self._base.rotten(base):
                self.note_rotten(entry.path, page)

    def count_carried(self, entries: Sequence[Entry]) -> None:
        """Count files that the base has carried over."""
        size = sum(entry.size or 0 for entry in entries)
        self._tally.files[How.KEPT] += len(entries)
        self._tally.looked_at += size
        self._tally.live_bytes += size

    def place(self, line: UnplacedFileLine, add: Callable[[MapBuilder], int]) -> None:
        """Give a file's bytes an entry in a map, and count it."""
        self._shelf.place(line, add)
        self._count(line["how"], line["size"])

    def _count(self, how: str, size: int) -> None:
        self._tally.files[how] += 1
        self._tally.live_bytes += size

    def note_rotten(self, path: str, page: int) -> None:
        """Name a page that fails its checksum."""
        self._manifest.add({"t": "rotten", "path": path, "block": page})
        self._tally.rotten += 1

    def empty(self, entry: Entry) -> None:
        """Add a file without bytes."""
        self._manifest.add({**self.line(entry, 0, How.WHOLE), "map": None, "entry": 0})
        self._count(How.WHOLE, 0)

    def line(self, entry: Entry, size: int, how: How, why: str = "") -> UnplacedFileLine:
        """Return the line of a file, as yet without its place in a map."""
        line: UnplacedFileLine = {
            "t": "file",
            "path": entry.path,
            "mode": entry.mode,
            "mtime_ns": entry.mtime_ns,
            "size": size,
            "how": str(how),
        }
        if why and self._base.packs:
            line["why"] = why
        if entry.path.endswith(f"/{layout.VERSION}"):
            line["inode"] = entry.inode
        return line
