"""A restore: rebuilds one node's directory from its manifest, with no path in it that leads to the source."""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.disk_space import check_room
from stillhouse.domain.cluster import Node
from stillhouse.errors import RepositoryDamaged, RestoreFailed
from stillhouse.node.frames import Packs
from stillhouse.node.restore.syncing import SyncedTree, sync
from stillhouse.node.restore.unpacking import Owner, Planned, have_directory, plan, write_file, write_small
from stillhouse.postgres.files.tree import remove_tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.server import FIRST_ROLE
from stillhouse.repository.format import manifest, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import (
    CollationLine,
    ExtensionLine,
    FileLine,
    Line,
    MapLine,
    WalLine,
)
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_SPARE = 64 << 20  # bytes that must stay free beside the restored files
_IN_FLIGHT_PER_WORKER = 2
_SHARE_BYTES = 64 << 20


@dataclass(frozen=True)
class RestoreTask:
    """The task to restore one node. `owner` is the account that servers run as, `None` if it is our own account.

    `expected_bytes` must be free.
    """

    node: Node
    manifest: Stored
    expected_bytes: int
    owner: Owner | None
    workers: int


@dataclass
class Restored:
    """The result of a restore. `head` is the manifest's node line. The checks before opening use `extensions` and
    `collations`.
    """

    head: Mapping[str, Any] = field(default_factory=dict)
    extensions: list[ExtensionLine] = field(default_factory=list)
    collations: list[CollationLine] = field(default_factory=list)
    bytes: int = 0
    files: int = 0


def restore(
    task: RestoreTask, store: ObjectStore, keys: ClusterKeys, on_progress: Callable[[int], None]
) -> Restored:
    """Rebuild `<node directory>/pgdata`, ready for recovery. Idempotent: built aside, put in place by one rename.

    Raises RestoreFailed for lack of space, if a server runs there, or if the directory cannot be written;
    RepositoryDamaged if stored bytes are missing or have changed.
    """
    if server.process_id(task.node) is not None:
        raise RestoreFailed(
            f"a server runs in {task.node.directory}", hint="restore into a directory of its own"
        )
    try:
        return _restore(task, store, keys, on_progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise RestoreFailed(f"{task.node.directory} cannot be written: {error}") from error
        raise RestoreFailed(f"{task.node.directory} has run full", hint="make room") from error


def _restore(
    task: RestoreTask, store: ObjectStore, keys: ClusterKeys, on_progress: Callable[[int], None]
) -> Restored:
    home = Path(task.node.directory)
    home.parent.mkdir(parents=True, exist_ok=True)
    # No other account may enter until all is there: the files below are made by path, and are the account's already.
    have_directory(home, 0o700, (os.geteuid(), os.getegid()) if task.owner else None)
    final, building, tablespaces = home / "pgdata", home / "pgdata.restoring", home / "tablespaces"
    for leftover in (
        final,
        building,
        tablespaces,
        home / FIRST_ROLE,
    ):  # in this order: `final` has links into `tablespaces`
        remove_tree(leftover)
    check_room(home, task.expected_bytes + _SPARE)
    have_directory(tablespaces, 0o700, task.owner)
    have_directory(building, 0o700, task.owner)
    with closing(SyncedTree(home)) as tree, closing(Packs(store, keys)) as packs:
        restored = _Rebuild(task, building, tablespaces, packs, store, keys).run(on_progress)
        if first_role := restored.head.get("superuser"):
            write_small(first_role.encode(errors="surrogateescape"), home / FIRST_ROLE, 0o600, task.owner)
        tree.sync()
        have_directory(home, 0o700, task.owner)
        building.rename(final)
        sync(home)
    return restored


class _Rebuild:
    def __init__(
        self,
        task: RestoreTask,
        root: Path,
        tablespaces: Path,
        packs: Packs,
        store: ObjectStore,
        keys: ClusterKeys,
    ) -> None:
        self._task, self._root, self._tablespaces = task, root, tablespaces
        self._packs, self._store, self._keys = packs, store, keys
        self._links: dict[str, Path] = {}  # by the tablespace's oid
        self._lacks_files = False
        self._restored = Restored()

    def run(self, on_progress: Callable[[int], None]) -> Restored:
        flying: deque[Future[int]] = deque()
        with ThreadPoolExecutor(self._task.workers, "restore") as pool:
            try:
                for stored, lines in _by_map(
                    self._placed(manifest.read(self._store, self._keys, self._task.manifest))
                ):
                    flying.append(pool.submit(self._write_map, stored, lines))
                    while len(flying) >= self._task.workers * _IN_FLIGHT_PER_WORKER:
                        self._count(flying.popleft().result(), on_progress)
                while flying:
                    self._count(flying.popleft().result(), on_progress)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._write_tablespace_map()
        self._write_small("recovery.signal", b"")
        if (
            self._lacks_files and not (self._root / "postgresql.conf").exists()
        ):  # no server starts without one
            self._write_small("postgresql.conf", b"")
        return self._restored

    def _count(self, written: int, on_progress: Callable[[int], None]) -> None:
        self._restored.bytes += written
        on_progress(self._restored.bytes)

    def _placed(self, lines: Iterable[Line]) -> Iterator[MapLine | FileLine | WalLine]:
        """Handle the lines that need no packs. Pass on the lines of maps and of files that have bytes."""
        for line in lines:
            if line["t"] == "node":
                self._restored.head = line
            elif line["t"] == "extension":
                self._restored.extensions.append(line)
            elif line["t"] == "collation":
                self._restored.collations.append(line)
            elif line["t"] == "pack":
                self._packs.expect(line["id"], line["size"], line["index"])
            elif line["t"] == "dir":
                self._make_directory(line["path"], line["mode"])
            elif line["t"] == "link":
                self._make_tablespace(int(line["oid"]))
            elif line["t"] == "skipped":
                self._lacks_files = True
            elif line["t"] == "file" and line["map"] is None:
                write_small(b"", self._target(line["path"]), line["mode"], self._task.owner)
                self._restored.files += 1
            elif line["t"] in ("map", "file", "wal"):
                self._restored.files += line["t"] == "file"
                yield line

    def _make_directory(self, path: str, mode: int) -> None:
        target = self._target(path)
        try:
            have_directory(target, mode, self._task.owner)
        except FileNotFoundError:
            raise RepositoryDamaged(f"a manifest names no directory for {target}") from None

    def _make_tablespace(self, oid: int) -> None:
        """Put a tablespace below the new node, wherever it was at the source: the old place holds live data."""
        place = self._tablespaces / str(oid)
        have_directory(place, 0o700, self._task.owner)
        (self._root / "pg_tblspc" / str(oid)).symlink_to(place)
        self._links[str(oid)] = place

    def _target(self, path: str) -> Path:
        if path.startswith("@"):
            return self._root / path.rpartition("/")[2]
        parts = path.split("/")
        if parts[0] == "pg_tblspc" and len(parts) > 1 and parts[1] in self._links:
            return self._links[parts[1]].joinpath(*parts[2:])
        return self._root / path

    def _write_small(self, name: str, content: bytes) -> None:
        write_small(content, self._root / name, 0o600, self._task.owner)

    def _write_map(self, stored: Stored, lines: list[FileLine | WalLine]) -> int:
        """Write files of one map and return their bytes. Each file has one writer: several slow each other down.

        The frames of all these files are planned together: small files share them.
        """
        loaded = maps.load(self._store, self._keys, stored)
        files = [self._planned(loaded, stored, line) for line in lines]
        plains = self._packs.frames([ref for file in files for ref in file.uses])
        for line, file in zip(lines, files, strict=True):
            if line["t"] == "wal":
                target, mode = self._root / "pg_wal" / line["path"], 0o600
            else:
                target, mode = self._target(line["path"]), line.get("mode", 0o600)
            write_file(file, plains, target, mode, self._task.owner)
        return sum(file.size for file in files)

    @staticmethod
    def _planned(loaded: maps.Map, stored: Stored, line: FileLine | WalLine) -> Planned:
        if line["entry"] >= len(loaded.entries):
            raise RepositoryDamaged(f"map {stored.id} has no entry {line['entry']}")
        file = plan(loaded, loaded.entries[line["entry"]])
        if file.size != line["size"]:
            raise RepositoryDamaged(
                f"map {stored.id} holds {file.size} bytes of {line['path']}, not {line['size']}"
            )
        return file

    def _write_tablespace_map(self) -> None:
        """Write the tablespace map with the new places: recovery makes the links again from it."""
        (self._root / "tablespace_map").unlink(missing_ok=True)
        if self._links:
            rows = [f"{oid} {_escaped(str(place))}\n" for oid, place in sorted(self._links.items())]
            self._write_small("tablespace_map", os.fsencode("".join(rows)))


def _escaped(path: str) -> str:
    # Backslash escapes, as recovery reads them (src/backend/access/transam/xlogrecovery.c, read_tablespace_map).
    return path.replace("\\", "\\\\").replace("\n", "\\\n").replace("\r", "\\\r")


def _by_map(
    lines: Iterable[MapLine | FileLine | WalLine],
) -> Iterator[tuple[Stored, list[FileLine | WalLine]]]:
    """Yield each map with its files, which follow it in the manifest (docs/format.md, section 5).

    A large map comes several times, each time with as many of its files as one worker writes at a time.
    """
    stored: Stored | None = None
    files: list[FileLine | WalLine] = []
    room = _SHARE_BYTES
    for line in lines:
        if files and (line["t"] == "map" or room <= 0):
            assert stored is not None, "files follow a map"
            yield stored, files
            files, room = [], _SHARE_BYTES
        if line["t"] == "map":
            stored = Stored(line["id"], line["size"], line["hash"])
            continue
        if stored is None or line["map"] != stored.id:
            raise RepositoryDamaged(f"{line['path']} does not follow its map")
        files.append(line)
        room -= line["size"]
    if files:
        assert stored is not None, "files follow a map"
        yield stored, files
