"""The files of earlier manifests: found by path, and carried over into a new manifest as text.

Nearly all lines of an incremental capture's manifest are those of its base. So they are never taken apart: a file is
recognised by the text that its line must begin with, and runs of lines are copied.
"""

import json
import re
import sqlite3
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.lines import FileLine, Line, PlacedFileLine
from stillhouse.repository.format.manifest import CarriedFiles
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore

_SPOOL_BYTES = 8 << 20  # as much text stays in memory, more goes to disk
_WINDOW_BYTES = 64 << 10
_HOW, _KEPT = re.compile(rb'"how":"[a-z]+",'), b'"how":"kept",'
_SIZE = re.compile(rb'"size":(\d+),"how"')
# The key of a file is part of its path's hash, then its number. A file that is found by its key may be another's.
_NUMBER_BITS = np.uint64(28)
_NUMBER = (1 << 28) - 1
# States of files. A line that is not as we write them is odd.
_ABSENT, _ODD, _PLAIN_LINE, _CARRIED, _REWRITTEN = range(5)


def beginning(path: str, mode: int, mtime_ns: int, size: int) -> bytes:
    """Return the text that the line of such a file begins with, for a path that needs no escapes."""
    return _encoded(f'{{"t":"file","path":"{path}","mode":{mode},"mtime_ns":{mtime_ns},"size":{size},"how":"')


@dataclass(frozen=True)
class Group:
    """The files of one map, or some files without bytes, by their numbers: from `first` to before `end`."""

    map: str | None
    first: int
    end: int


class FileIndex:
    """Numbers the files of manifests in the order of their lines. A later manifest overrides an earlier one.

    A file takes 17 bytes of memory. One thread makes, uses and closes the index: first it loads manifests.
    """

    def __init__(self) -> None:
        self._text = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 (closed by close)
        self._window, self._window_at = b"", 0
        self._ends, self._states = array("Q"), bytearray()
        self._hashes = array("q")
        self._groups: list[Group] = []
        self._group_of_map: dict[str, int] = {}
        self._firsts: list[int] = []  # the first file of each manifest
        self._keys: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._rewritten = sqlite3.connect("")  # a temporary file of SQLite's own, gone when closed
        self._rewritten.execute("CREATE TABLE lines (file INTEGER PRIMARY KEY, line TEXT)")

    def close(self) -> None:
        self._text.close()
        self._rewritten.close()

    def load(self, store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[Line]:
        """Take in the files of a manifest. Yield all lines but those of relations' files as we write them.

        Raises as `manifest.read` does.
        """
        self._firsts.append(len(self._states))
        begun: tuple[str | None, int] | None = None
        for line in manifest.read_matched(store, keys, stored):
            if isinstance(line, re.Match):
                map_id = line[2].decode() if line[2] else None
                path, text, state = line[1], line[0], _PLAIN_LINE
            else:
                yield line
                if line["t"] != "file":
                    continue
                map_id, path, state = line["map"], _encoded(line["path"]), _ODD
                text = json.dumps(line).encode()
            if begun is None or begun[0] != map_id:
                self._close_group(begun)
                begun = map_id, len(self._states)
            self._add(path, text, state)
        self._close_group(begun)
        self._sort()

    def _add(self, path: bytes, text: bytes, state: int) -> None:
        self._hashes.append(hash(path))
        self._ends.append((self._ends[-1] if self._ends else 0) + len(text) + 1)
        self._states.append(state)
        self._text.write(text + b"\n")

    def _close_group(self, begun: tuple[str | None, int] | None) -> None:
        if begun is None:
            return
        map_id, first = begun
        if map_id is not None:
            # A map counts for the manifest that named it last, so that it is named once again at the most.
            if (older := self._group_of_map.get(map_id)) is not None:
                gone = self._groups[older]
                self._states[gone.first : gone.end] = bytes(gone.end - gone.first)
            self._group_of_map[map_id] = len(self._groups)
        self._groups.append(Group(map_id, first, len(self._states)))

    def _sort(self) -> None:
        self._keys = np.frombuffer(self._hashes, np.uint64) << _NUMBER_BITS
        self._keys |= np.arange(len(self._keys), dtype=np.uint64)
        self._keys.sort()

    def source_of(self, file: int) -> int:
        """Return the number of the manifest that the file is of."""
        return bisect_right(self._firsts, file) - 1

    def find(self, path: str) -> tuple[int, FileLine] | None:
        """Return the number and the line of the newest file at `path`."""
        wanted = np.uint64(hash(_encoded(path)) & 0xFFFFFFFFFFFFFFFF) << _NUMBER_BITS
        first = np.searchsorted(self._keys, wanted)
        end = np.searchsorted(self._keys, wanted | np.uint64(_NUMBER), "right")
        for key in self._keys[first:end][::-1].tolist():
            file = key & _NUMBER
            if self._states[file] != _ABSENT and (line := self._line(file))["path"] == path:
                return file, line
        return None

    def match(self, paths: Sequence[str], beginnings: Sequence[bytes]) -> list[int]:
        """For each path, return the number of the newest file there, if its line begins so; else -1."""
        if not len(self._keys):
            return [-1] * len(paths)
        hashes = np.fromiter((hash(_encoded(path)) for path in paths), np.int64, len(paths))
        wanted = hashes.view(np.uint64) << _NUMBER_BITS | np.uint64(_NUMBER)
        found = self._keys[np.maximum(np.searchsorted(self._keys, wanted, "right") - 1, 0)]
        is_near = found >> _NUMBER_BITS == wanted >> _NUMBER_BITS
        return [
            file
            if near and self._states[file] == _PLAIN_LINE and self._text_of(file).startswith(text)
            else -1
            for file, near, text in zip(
                (found & np.uint64(_NUMBER)).tolist(), is_near.tolist(), beginnings, strict=True
            )
        ]

    def carry(self, file: int) -> None:
        """Carry a matched file over as it is."""
        self._states[file] = _CARRIED

    def rewrite(self, file: int, line: PlacedFileLine) -> None:
        """Carry a file over with this line."""
        self._states[file] = _REWRITTEN
        self._rewritten.execute("INSERT OR REPLACE INTO lines VALUES (?, ?)", (file, json.dumps(line)))

    def carried(self) -> Iterator[Group]:
        """Yield the groups that have files to be carried over."""
        for group in self._groups:
            states = self._states[group.first : group.end]
            if _CARRIED in states or _REWRITTEN in states:
                yield group

    def share(self, group: Group) -> float:
        """Return the share of the bytes of the group's files that is carried over."""
        if self._states.count(_CARRIED, group.first, group.end) == group.end - group.first:
            return 1.0
        carried = held = 0
        for file in range(group.first, group.end):
            size = self._size(file)
            held += size
            carried += size * (self._states[file] in (_CARRIED, _REWRITTEN))
        return carried / held if held else 1.0

    def lines(self, group: Group) -> Iterator[PlacedFileLine | CarriedFiles]:
        """Yield the lines that are carried over, in order. Those of runs of files that stay as they are come as text,
        and say that nothing was read.
        """
        for state, files in groupby(range(group.first, group.end), self._states.__getitem__):
            run = list(files)
            if state == _CARRIED:
                text = _HOW.sub(_KEPT, self._between(run[0], run[-1] + 1))
                yield CarriedFiles(text, len(run), sum(map(int, _SIZE.findall(text))))
            elif state == _REWRITTEN:
                yield from map(self._rewritten_line, run)

    def separate_lines(self, group: Group) -> Iterator[PlacedFileLine]:
        """Yield the same lines one by one."""
        for part in self.lines(group):
            if isinstance(part, CarriedFiles):
                yield from map(json.loads, part.text.splitlines())
            else:
                yield part

    def _rewritten_line(self, file: int) -> PlacedFileLine:
        (line,) = self._rewritten.execute("SELECT line FROM lines WHERE file = ?", (file,)).fetchone()
        found: PlacedFileLine = json.loads(line)
        return found

    def _line(self, file: int) -> FileLine:
        found: FileLine = json.loads(self._text_of(file))
        return found

    def _size(self, file: int) -> int:
        if self._states[file] != _ODD and (match := _SIZE.search(self._text_of(file))):
            return int(match[1])
        return self._line(file)["size"]

    def _text_of(self, file: int) -> bytes:
        start, end = self._ends[file - 1] if file else 0, self._ends[file]
        at = start - self._window_at
        if at < 0 or end - self._window_at > len(self._window):
            self._window, self._window_at, at = self._read(start, max(_WINDOW_BYTES, end - start)), start, 0
        return self._window[at : at + end - start]

    def _between(self, first: int, end: int) -> bytes:
        start = self._ends[first - 1] if first else 0
        return self._read(start, self._ends[end - 1] - start)

    def _read(self, start: int, length: int) -> bytes:
        self._text.seek(start)
        return self._text.read(length)


def _encoded(path: str) -> bytes:
    return path.encode(errors="surrogateescape")
