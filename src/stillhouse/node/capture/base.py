"""The base of a capture: an index of the files in earlier manifests of the node, and the choice of pages per file."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain import page_choice, relation_files
from stillhouse.domain.page_choice import Blocks, Choice, How, InBase
from stillhouse.domain.relation_files import RelationFile
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.node.capture.pack_writer import StoredPack
from stillhouse.node.capture.packing import Unchanged, UnchangedByLsn
from stillhouse.node.sound_frames import SoundFrames, UnchangedInFrames
from stillhouse.node.stored_pages import StoredPages
from stillhouse.postgres.files import pages as page_rules
from stillhouse.postgres.readers.node_files import Entry
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import file_index, layout, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.file_index import FileIndex, Group
from stillhouse.repository.format.lines import FileLine, PlacedFileLine
from stillhouse.repository.format.manifest import CarriedFiles
from stillhouse.repository.format.maps import BytesEntry, Extent, Map, PagesEntry, PlacedPages
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_SHARE_TO_KEEP = 0.5  # a map is named again if at least this share of its files' bytes is still in use


@dataclass(frozen=True)
class Source:
    """An earlier manifest and the changes since it began. Without `changes` all pages are scanned for their LSN."""

    manifest: Stored
    start_lsn: int
    changes: Changes | None


@dataclass(frozen=True)
class BaseFile:
    """A file of the base, and the place of its bytes. `line` is its manifest line, `index` its number in the index of
    files, `number` the number of its source.

    `lost` are the pages that cannot be read from the base.
    """

    line: FileLine
    map: Stored
    source: Source
    index: int
    number: int
    page_size: int
    lost: Blocks = field(default_factory=page_choice.no_blocks)

    @property
    def pages(self) -> int:
        return int(self.line["size"]) // self.page_size

    @property
    def is_paged(self) -> bool:
        """Whether the file is stored as pages. A relation file is stored as bytes if its size was no whole number of
        pages when it was listed.
        """
        return int(self.line["size"]) % self.page_size == 0 and not self.line.get("bytes")

    @property
    def held(self) -> int:
        """The most pages of this file that its frames can hold, dead pages included."""
        return int(self.line.get("held", self.pages))

    @property
    def pieces(self) -> tuple[str, ...]:
        return tuple(self.line.get("pieces", ()))


@dataclass(frozen=True)
class KeptMap:
    """A map of the base with files that are kept, and its packs. Files without bytes have no map."""

    stored: Stored | None
    packs: Sequence[str]
    files: Group


class Base:
    """The files of earlier manifests. A later manifest overrides an earlier one. The text of their lines is on disk,
    so that memory hardly grows with the number of files.

    One thread makes, uses and closes a base. Only `pages_of`, `fingerprints_of` and `extents_of` may be called from any
    thread. `damaged` are keys of packs and maps: their content is treated as absent.

    If `reads_all`, every file is read, and only what is found sound in the store is taken from the base.
    """

    def __init__(
        self,
        store: ObjectStore,
        keys: ClusterKeys,
        page_size: int,
        sources: Sequence[Source],
        damaged: Collection[str] = (),
        *,
        reads_all: bool = False,
    ) -> None:
        self._store, self._keys, self._page_size, self._sources = store, keys, page_size, list(sources)
        self.packs: dict[str, StoredPack] = {}
        self._stored = StoredPages(store, keys)
        cluster = str(keys.cluster)
        self._bad_packs = _named_below(layout.packs_of(cluster), damaged)
        self._bad_maps = _named_below(layout.maps_of(cluster), damaged)
        self._same_since: dict[str, int] = {}
        self._files = FileIndex()
        self._maps_named: dict[str, tuple[Stored, list[str]]] = {}
        self._versions: dict[
            tuple[str, int, int], int
        ] = {}  # PG_VERSION's path, inode, mtime: its first source
        self._rotten: dict[tuple[str, int], list[int]] = {}  # pages by path and source
        self._reads_all = reads_all
        self._sound: SoundFrames | None = None
        try:
            for number, source in enumerate(self._sources):
                self._load(number, source)
            if reads_all:
                self._sound = SoundFrames(store, keys, self.packs.values())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._files.close()
        if self._sound is not None:
            self._sound.close()

    def _load(self, number: int, source: Source) -> None:
        packs: list[str] = []
        for line in self._files.load(self._store, self._keys, source.manifest):
            if line["t"] == "pack":
                packs.append(line["id"])
                self.packs[line["id"]] = StoredPack(line["id"], line["size"], line["index"], line["hash"])
            elif line["t"] == "map":
                stored = Stored(line["id"], line["size"], line["hash"])
                self._maps_named.setdefault(
                    line["id"], (stored, [packs[ordinal] for ordinal in line["packs"]])
                )
            elif line["t"] == "file" and "inode" in line:
                self._versions.setdefault((line["path"], line["inode"], line["mtime_ns"]), number)
            elif line["t"] == "rotten":
                self._rotten.setdefault((line["path"], number), []).append(line["block"])

    def carry(self, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Keep those files that are as in the base by all that is known without opening them. Return them, and the
        other entries.

        The listing shows the same size and time as then. No summary names the relation: so no page of its main fork
        and of its visibility map has changed since, and its free space map is a hint that the server never relies on.
        An init fork may have changed. Where anything is known to be damaged, every file is looked at by itself.
        """
        is_known = not self._bad_packs and not self._bad_maps and any(one.changes for one in self._sources)
        if self._reads_all or not is_known:
            return [], [*entries]
        texts = [file_index.beginning(one.path, one.mode, one.mtime_ns, one.size or 0) for one in entries]
        carried, rest = [], []
        for entry, file in zip(entries, self._files.match([one.path for one in entries], texts), strict=True):
            if file >= 0 and self._is_untouched(entry, self._files.source_of(file)):
                self._files.carry(file)
                carried.append(entry)
            else:
                rest.append(entry)
        return carried, rest

    def _is_untouched(self, entry: Entry, number: int) -> bool:
        """Whether no page of a relation's file was named by a summary since its source, and none is rotten."""
        relation = relation_files.relation_file(entry.path)
        changes = self._sources[number].changes
        return (
            relation is not None
            and changes is not None
            and entry.size is not None
            and entry.size % self._page_size == 0
            and not entry.path.endswith("_init")
            and not changes.is_copied(relation.tablespace, relation.database)
            and changes.of(relation.tablespace, relation.database, relation.relation) is None
            and (entry.path, number) not in self._rotten
        )

    def find(self, path: str) -> BaseFile | None:
        """Return the file of the base. `None` if the base lacks it, or if its bytes there are damaged."""
        if (found := self._files.find(path)) is None:
            return None
        index, line = found
        if (map_id := line["map"]) is None:
            return None
        stored, packs = self._maps_named[map_id]
        number = self._files.source_of(index)
        file = BaseFile(line, stored, self._sources[number], index, number, self._page_size)
        if file.map.id in self._bad_maps or (self._reads_all and not self._is_sound(file)):
            return None
        return self._less_damaged(file) if self._bad_packs and self.is_damaged(packs) else file

    def _is_sound(self, file: BaseFile) -> bool:
        """Whether the file has pages in a map that can be read. All other files are stored anew."""
        try:
            return file.is_paged and isinstance(self.entry_of(file.map, file.line)[1], PagesEntry)
        except (ObjectMissing, RepositoryDamaged):
            return False

    def is_damaged(self, packs: Collection[str]) -> bool:
        return not self._bad_packs.isdisjoint(packs)

    def _less_damaged(self, file: BaseFile) -> BaseFile | None:
        """Return the file with its damaged pages as lost. A file stored as bytes is kept whole or not at all."""
        loaded, entry = self.entry_of(file.map, file.line)
        bad = loaded.in_packs(self._bad_packs)
        frames = entry.frame if isinstance(entry, PagesEntry) else entry.extents[:, 0]
        stored = np.flatnonzero(frames != maps.HOLE)
        lost = stored[bad[frames[stored]]].astype(np.uint32)
        if len(lost) and not isinstance(entry, PagesEntry):
            return None
        return replace(file, lost=lost)

    def look_at_version(self, entry: Entry) -> None:
        """Compare a PG_VERSION file with the sources. Call it before the relations of its directory are chosen.

        If the file is another one than in a source, the database was copied there since, and its pages have old LSNs.
        """
        since = self._versions.get((entry.path, entry.inode, entry.mtime_ns))
        if since is not None:
            self._same_since[entry.path.rpartition("/")[0]] = since

    def _was_copied(self, file: BaseFile, path: str) -> bool:
        """Whether the file's database may have been copied there since the file's source.

        It was not if that source or an earlier one holds the present PG_VERSION. A later source does not count: a part
        may have saved PG_VERSION and not the relation.
        """
        directory = path.rpartition("/")[0]
        if directory == "global":
            return False
        return self._same_since.get(directory, len(self._sources)) > file.number

    def choose(
        self, file: BaseFile | None, entry: Entry, relation: RelationFile, pages: int, first: int
    ) -> Choice:
        """Choose the pages to read of a segment of a main fork. `first` is the segment's first block."""
        if file is None or not file.is_paged:
            return page_choice.whole(pages, "not in the base")
        inside = InBase(file.pages, file.held, file.lost)
        if self._reads_all:
            return page_choice.by_reading(pages, inside)
        changes = file.source.changes
        if changes is None:
            if self._was_copied(file, entry.path):
                return page_choice.whole(pages, "its database was copied there")
            return page_choice.by_scan(pages, inside)
        if changes.is_copied(relation.tablespace, relation.database):
            return page_choice.whole(pages, "its database was copied there")
        changed = changes.of(relation.tablespace, relation.database, relation.relation)
        return page_choice.by_summaries(pages, first, inside, changed)

    def unchanged(self, file: BaseFile, how: How) -> Unchanged | None:
        """Return the comparison with the base for a file that is read in this way. `None` if there is nothing to
        compare: all pages that are read have changed.
        """
        if how is How.SCAN:
            return UnchangedByLsn(file.pages, file.source.start_lsn, file.lost)
        if how is not How.SAME:
            return None
        if self._sound is None:
            return UnchangedByFingerprint(self, file, self._keys)
        return UnchangedInFrames.of(self._sound, self.pages_of(file), file.lost)

    def known_pieces(self, file: BaseFile) -> tuple[str, ...]:
        """Return the pieces by which the file is known again. Only a read of the store tells that they are sound."""
        return () if self._reads_all else file.pieces

    def rotten(self, file: BaseFile) -> list[int]:
        """Return the pages of a file that are rotten in the base."""
        return self._rotten.get((file.line["path"], file.number), [])

    def keep(self, file: BaseFile, line: PlacedFileLine) -> None:
        """Keep a file as it is in the base, with this line. `kept` lists it."""
        self._files.rewrite(file.index, line)

    def kept(self) -> Iterator[KeptMap]:
        """Yield every map that holds kept files, and the kept files without bytes."""
        for group in self._files.carried():
            stored, packs = self._maps_named[group.map] if group.map is not None else (None, [])
            yield KeptMap(stored, packs, group)

    def is_worth_naming(self, kept: KeptMap) -> bool:
        """Whether the map may be named again.

        It must not name a damaged pack, even if its kept pages lie in other packs. Most of its files' bytes must be in
        use.
        """
        return not self.is_damaged(kept.packs) and self._files.share(kept.files) >= _SHARE_TO_KEEP

    def lines_of(self, kept: KeptMap) -> Iterator[PlacedFileLine | CarriedFiles]:
        """Yield the lines of the kept files, with those that stay as they are as text."""
        return self._files.lines(kept.files)

    def separate_lines_of(self, kept: KeptMap) -> Iterator[PlacedFileLine]:
        return self._files.separate_lines(kept.files)

    def entry_of(self, stored: Stored, line: PlacedFileLine) -> tuple[Map, PagesEntry | BytesEntry]:
        loaded = self._stored.map(stored)
        if not 0 <= line["entry"] < len(loaded.entries):
            raise RepositoryDamaged(f"map {stored.id} has no entry {line['entry']}")
        return loaded, loaded.entries[line["entry"]]

    def pages_of(self, file: BaseFile) -> PlacedPages:
        loaded, entry = self.entry_of(file.map, file.line)
        if not isinstance(entry, PagesEntry):
            raise RepositoryDamaged(f"map {file.map.id} holds no pages of {file.line['path']}")
        return loaded.placed(entry)

    def extents_of(self, file: BaseFile) -> tuple[Extent, ...]:
        """Return the extent of each piece."""
        loaded, entry = self.entry_of(file.map, file.line)
        if not isinstance(entry, BytesEntry) or len(entry.extents) != len(file.pieces):
            raise RepositoryDamaged(f"map {file.map.id} does not hold the pieces of {file.line['path']}")
        return loaded.extents(entry)

    def fingerprints_of(self, file: BaseFile) -> NDArray[np.uint64]:
        """Return each page's fingerprint, 0 for pages of zeros. Reads the indexes of the packs that hold the pages."""
        placed = self.pages_of(file)
        found = np.zeros(len(placed.frame), np.uint64)
        for number, ref in enumerate(placed.frames):
            mine = placed.frame == number
            marks, firsts = self._stored.marks(self.packs[ref.pack])
            found[mine] = marks[firsts[ref.ordinal] + placed.slot[mine]]
        return found


@dataclass(frozen=True)
class UnchangedByFingerprint:
    """Used for a fork that is read whole: a page is unchanged if the base has the same bytes at the same place."""

    base: Base
    file: BaseFile
    keys: ClusterKeys

    def __call__(self, pages: page_rules.Pages, indexes: Blocks) -> NDArray[np.bool_]:
        stored = self.base.fingerprints_of(self.file)
        same: NDArray[np.bool_] = np.zeros(len(pages), np.bool_)
        known = np.flatnonzero(indexes < len(stored))
        tags = self.keys.page_tags(pages[known].reshape(-1).data, pages.shape[1])
        same[known] = np.frombuffer(tags, "<u8")[::2] == stored[indexes[known]]
        return same


def _named_below(folder: str, keys: Collection[str]) -> frozenset[str]:
    return frozenset(key.removeprefix(folder) for key in keys if key.startswith(folder))
