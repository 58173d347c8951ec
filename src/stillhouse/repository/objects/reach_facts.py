"""Segments of reach: facts that collections have read in roots and manifests (docs/format.md, section 6).

Each fact is about an object that never changes: a manifest, by its id and hash, or the object at a root's key, by the
size, time and tag that a listing shows for it. So a fact cannot become false, only unneeded.
"""

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type, most_of
from stillhouse.errors import FormatUnknown, RepositoryDamaged
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.fields import encode_line, parse
from stillhouse.repository.format.id_table import IdTable, Runs, expand, runs_of
from stillhouse.repository.format.manifest import split_lines
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore, StoredObject

_MANIFEST = struct.Struct("<16sQ32s")
_IDS, _NUMBERS, _MANIFESTS = 32768, 20000, 10_000  # in one line, which is then below the bound of lines


class RootKey(NamedTuple):
    """The object at a snapshot's root key, as a listing shows it."""

    snapshot: str
    size: int
    modified: datetime
    tag: str

    @classmethod
    def of(cls, listed: StoredObject) -> "RootKey":
        return cls(listed.key.rpartition("/")[2], listed.size, listed.modified, listed.tag)


@dataclass(frozen=True)
class RootFact:
    """A root's name and manifests. A tombstone has `None` for manifests."""

    name: str
    manifests: tuple[Stored, ...] | None


@dataclass(frozen=True, eq=False)
class ManifestFact:
    """The packs and maps that a manifest names, as runs of their ordinals in the tables of `Facts`."""

    hash: str
    packs: Runs
    maps: Runs

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ManifestFact)
            and self.hash == other.hash
            and np.array_equal(self.packs, other.packs)
            and np.array_equal(self.maps, other.maps)
        )

    def __hash__(self) -> int:
        return hash(self.hash)


@dataclass
class Facts:
    """Facts by their subjects. `whole` is when all roots and manifests were last read."""

    packs: IdTable = field(default_factory=IdTable)
    maps: IdTable = field(default_factory=IdTable)
    roots: dict[RootKey, RootFact] = field(default_factory=dict)
    manifests: dict[str, ManifestFact] = field(default_factory=dict)
    whole: datetime | None = None

    def contradicts(self, other: "Facts") -> bool:
        """Whether some fact here differs from one there about the same object. Both have the same tables."""
        return _differ(self.roots, other.roots) or any(
            fact.hash == known.hash and fact != known
            for name, fact in self.manifests.items()
            if (known := other.manifests.get(name)) is not None
        )


def _differ(some: Mapping[Any, object], others: Mapping[Any, object]) -> bool:
    return any(name in others and others[name] != fact for name, fact in some.items())


def store_segments(store: ObjectStore, keys: ClusterKeys, facts: Facts) -> None:
    """Store facts as segments, one in nearly all cases; durable on return.

    A root with more manifests than fit into a line is left out: it is read each time.
    """
    for body in _bodies(replace(facts, roots={key: one for key, one in facts.roots.items() if _fits(one)})):
        segment = new_hex()
        chunks = sealed.seal(keys, Type.REACH, segment, body)
        sealed.create(store, layout.reach(str(keys.cluster), segment), segment, chunks)


def decode(key: str, opened: Container, into: Facts) -> Facts:
    """The facts of a segment, with ordinals of the tables of `into`, which otherwise stays as it is.

    Raises RepositoryDamaged for anything that is not wholly understood.
    """
    found = Facts(into.packs, into.maps)
    ids: dict[str, list[bytes]] = {"packs": [], "maps": []}
    runs: dict[str, tuple[str, list[int], list[int]]] = {}
    end: Mapping[str, Any] = {}
    try:
        for number, text in enumerate(split_lines(key, opened.plain())):
            line = parse(key, text)
            kind = line["t"]
            if (number == 0) != (kind == "reach") or end:
                raise ValueError("another order")
            if kind == "reach":
                found.whole = None if line["whole"] is None else datetime.fromisoformat(line["whole"])
            elif kind in ids:
                ids[kind].append(base64.b64decode(line["ids"], validate=True))
            elif kind == "root":
                root_key = RootKey(
                    line["snapshot"], line["size"], datetime.fromisoformat(line["modified"]), line["tag"]
                )
                found.roots[root_key] = RootFact(line["name"], _manifests(line["manifests"]))
            elif kind == "manifest":
                _, packs, maps = runs.setdefault(line["id"], (line["hash"], [], []))
                packs += line["packs"]
                maps += line["maps"]
            elif kind == "end":
                end = line
            elif kind[:1].isupper():
                raise FormatUnknown(f"{key} needs a newer program: it holds {kind!r}")
        if (end["roots"], end["manifests"]) != (len(found.roots), len(runs)):
            raise ValueError("it ends early")
        tables = [
            table.ordinals(np.frombuffer(b"".join(ids[kind]), "S16"))
            for kind, table in (("packs", into.packs), ("maps", into.maps))
        ]
        for name, (hash_, *numbers) in runs.items():
            packs_runs, maps_runs = (
                runs_of(table[expand(np.array(given, np.uint32).reshape(-1, 2))])
                for table, given in zip(tables, numbers, strict=True)
            )
            found.manifests[name] = ManifestFact(hash_, packs_runs, maps_runs)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise RepositoryDamaged(f"{key} is not a segment of reach", key=key) from None
    return found


def _fits(root: RootFact) -> bool:
    return len(root.manifests or ()) <= _MANIFESTS


def _bodies(facts: Facts) -> Iterator[bytes]:
    """Encode facts, in halves where a segment would be more than half as large as readers accept."""
    room = most_of(Type.REACH) // 2
    lines: list[bytes] = []
    for line in map(encode_line, _lines_of(facts)):
        lines.append(line)
        room -= len(line)
        if room < 0 and len(facts.roots) + len(facts.manifests) > 1:
            del lines
            for half in _halves(facts):
                yield from _bodies(half)
            return
    yield b"".join(lines)


def _halves(facts: Facts) -> Iterator[Facts]:
    roots, manifests = list(facts.roots.items()), list(facts.manifests.items())
    middle, centre = (len(roots) + 1) // 2, len(manifests) // 2
    for some, others in (
        (roots[:middle], manifests[:centre]),
        (roots[middle:], manifests[centre:]),
    ):
        yield replace(facts, roots=dict(some), manifests=dict(others))


def _lines_of(facts: Facts) -> Iterator[dict[str, Any]]:
    yield {"t": "reach", "format": 1, "whole": None if facts.whole is None else facts.whole.isoformat()}
    local = {}
    for kind, table in (("packs", facts.packs), ("maps", facts.maps)):
        order, local[kind] = _renumbered(
            len(table), (getattr(fact, kind) for fact in facts.manifests.values())
        )
        ids = table.ids(order)
        for at in range(0, len(ids), _IDS):
            yield {"t": kind, "ids": base64.b64encode(ids[at : at + _IDS].tobytes()).decode()}
    for key, root in facts.roots.items():
        yield {
            "t": "root",
            "snapshot": key.snapshot,
            "size": key.size,
            "modified": key.modified.isoformat(),
            "tag": key.tag,
            "name": root.name,
            "manifests": None if root.manifests is None else _packed(root.manifests),
        }
    for name, fact in facts.manifests.items():
        numbers = {
            kind: runs_of(local[kind][expand(getattr(fact, kind))]).reshape(-1).tolist()
            for kind in ("packs", "maps")
        }
        longest = max(map(len, numbers.values()))
        for at in range(0, max(longest, 1), _NUMBERS):
            yield {
                "t": "manifest",
                "id": name,
                "hash": fact.hash,
                **{kind: given[at : at + _NUMBERS] for kind, given in numbers.items()},
            }
    yield {"t": "end", "roots": len(facts.roots), "manifests": len(facts.manifests)}


def _renumbered(length: int, all_runs: Iterable[Runs]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Number ordinals by their first use, so that those that are used together are neighbours.

    Returns the ordinals in that order, and each ordinal's new number.
    """
    number = np.full(length, -1, np.int64)
    order: list[NDArray[np.uint32]] = []
    count = 0
    for runs in all_runs:
        used = expand(runs)
        fresh = used[number[used] < 0]
        number[fresh] = np.arange(count, count + len(fresh))
        count += len(fresh)
        order.append(fresh)
    return (np.concatenate(order) if order else np.empty(0, np.uint32)), number


def _packed(manifests: Iterable[Stored]) -> str:
    rows = (_MANIFEST.pack(bytes.fromhex(one.id), one.size, bytes.fromhex(one.hash)) for one in manifests)
    return base64.b64encode(b"".join(rows)).decode()


def _manifests(packed: str | None) -> tuple[Stored, ...] | None:
    if packed is None:
        return None
    rows = _MANIFEST.iter_unpack(base64.b64decode(packed, validate=True))
    try:
        return tuple(Stored(id_.hex(), size, hash_.hex()) for id_, size, hash_ in rows)
    except struct.error as error:
        raise ValueError("cut short") from error
