"""The kinds of object that a cluster has in a repository, one row each (docs/format.md, section 1)."""

import re
from dataclasses import dataclass
from enum import IntEnum


class Type(IntEnum):
    """The type in a container's header (docs/format.md, section 3)."""

    PACK = 1
    MAP = 2
    MANIFEST = 3
    ROOT = 4
    TOMBSTONE = 5
    TRASH = 6
    PIN = 7
    MARK = 8
    SCRUB = 9
    ENDING = 10
    FINDINGS = 11
    REACH = 12


_ID = re.compile("[0-9a-f]{32}")
_SNAPSHOT = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GENERATION = re.compile("[0-9]{8}/[0-9a-f]{16}")


@dataclass(frozen=True)
class ObjectKind:
    """A kind of object, which lies at `<folder>/<name>` below `c/<cluster>/`.

    `types` are the types of container that may lie there; without any, the object is no container.

    `is_content` says that manifests or roots name the object. A collection removes it when nothing reaches it, and a
    check reads it through the objects that name it. A check reads containers of all other kinds at its start.

    `kept` is the reason, in words, why a collection keeps every object of this kind. Where it is empty, and the kind is
    no content, domain/collection has a rule for it.

    `rank` is the order in which a collection removes objects: lower ranks go first.

    `most` is the size in bytes up to which readers accept the body of an object: its plain frames together, or the
    object itself if it is no container. Writers obey it too. Where it is `None`, the parent names the size.
    """

    folder: str
    name: re.Pattern[str]
    types: frozenset[Type]
    rank: int
    most: int | None
    is_content: bool = False
    kept: str = ""


_ROOT = frozenset({Type.ROOT, Type.TOMBSTONE})
_MIB = 1 << 20
_KEPT_KEYS = "keys of the cluster: without them nothing can be read"
_FACTS = "facts that collections have read, which spare them to read them again"
_ENDED = "record of how a deletion ended: it protects an undeleted snapshot from a late purge"
_ROWS = (
    ObjectKind("packs", _ID, frozenset({Type.PACK}), 0, None, is_content=True),
    ObjectKind("maps", _ID, frozenset({Type.MAP}), 0, 64 * _MIB, is_content=True),
    ObjectKind("manifests", _ID, frozenset({Type.MANIFEST}), 0, None, is_content=True),
    ObjectKind("trash", _SNAPSHOT, frozenset({Type.TRASH}), 1, _MIB),
    ObjectKind("pins", _ID, frozenset({Type.PIN}), 1, 16 * _MIB),
    ObjectKind("marks", _ID, frozenset({Type.MARK}), 1, 256 * _MIB),
    ObjectKind("scrubs", _ID, frozenset({Type.SCRUB}), 1, 256 * _MIB, kept="record of a scrub"),
    ObjectKind("findings", _ID, frozenset({Type.FINDINGS}), 1, 256 * _MIB, kept="record of known damage"),
    ObjectKind("reach", _ID, frozenset({Type.REACH}), 1, 256 * _MIB, kept=_FACTS),
    ObjectKind("roots", _SNAPSHOT, _ROOT, 2, 16 * _MIB),
    ObjectKind("endings", _ID, frozenset({Type.ENDING}), 2, _MIB, kept=_ENDED),
    ObjectKind("keys", _GENERATION, frozenset(), 3, 4096, kept=_KEPT_KEYS),
)

KINDS = {kind.folder: kind for kind in _ROWS}
"""The known kinds, by folder. A program must not touch objects of any other kind."""

MOST_LINE = _MIB
"""The longest line of an object of JSON lines, in bytes, its line break included."""

MOST = {type_: kind.most for kind in _ROWS for type_ in kind.types}
"""The largest body of each type of container, as `ObjectKind.most`."""


def most_of(type_: Type) -> int:
    """The largest body of a container of this type in bytes, for types whose size no parent names."""
    most = MOST[type_]
    assert most is not None, f"the parent of a {type_.name.lower()} names its size"
    return most


CONTENT = frozenset(kind.folder for kind in _ROWS if kind.is_content)
"""The folders of packs, maps and manifests."""


def kind_at(key: str) -> ObjectKind | None:
    """The kind of the object at a key below `c/<cluster>/`; None unless the whole form of the key is known."""
    folder, _, name = key.partition("/")
    kind = KINDS.get(folder)
    return kind if kind is not None and kind.name.fullmatch(name) else None
