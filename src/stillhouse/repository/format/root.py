"""The root that publishes a snapshot and names its manifests, and the tombstone that closes it (docs/format.md, 6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.fields import Fields
from stillhouse.repository.format.sealed import Stored


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A JSON object with known fields, in the order in which they are stored.

    `more` keeps the fields of a later program, because a copy of a root must have them too. A field with a default may
    be missing in a stored root. `LATER` names fields that older roots lack: while they are None they are not stored.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def arguments(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that make this record of a stored JSON object."""
        known = {one.name for one in fields(cls)} - {"more"}
        more = {name: value for name, value in given.items() if name not in known}
        return {name: value for name, value in given.items() if name in known} | {"more": more}

    def to_json(self) -> Fields:
        """Return the JSON object as it is stored."""
        known = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "more"}
        stored = {name: value for name, value in known.items() if value is not None or name not in self.LATER}
        return {**stored, **self.more}


@dataclass(frozen=True, kw_only=True)
class RootCluster(_Record):
    """The cluster as it was at the snapshot. `port` is its coordinator's; `facts` are those of the API."""

    id: str = ""
    name: str = ""
    engine: str = ""
    number_of_node: int = 0
    port: int = 0
    user_name: str = ""
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RootNode(_Record):
    """One node of a snapshot. Sizes are in bytes; `manifest`, `size` and `hash` describe its stored manifest."""

    LATER = frozenset({"skipped", "skipped_first", "replaced", "replaced_first"})

    name: str
    node_id: str = ""
    role: str = ""
    host: str = ""
    port: int = 0
    manifest: str
    size: int
    hash: str
    plain_bytes: int = 0
    wal_bytes: int = 0
    rotten: int = 0
    capacity: dict[str, str] = field(default_factory=dict)
    lineage: str = ""
    base: str | None = None
    depth: int = 0
    whole_because: str = ""
    read_bytes: int = 0
    packed_bytes: int = 0
    pages_stored: int = 0
    files: dict[str, int] = field(default_factory=dict)
    skipped: int | None = None
    skipped_first: str | None = None
    replaced: int | None = None
    replaced_first: str | None = None
    start_lsn: int = 0
    cut_name: str = ""
    cut_lsn: int = 0
    timeline: int = 0

    @property
    def stored(self) -> Stored:
        """The node's manifest."""
        return Stored(self.manifest, self.size, self.hash)

    @property
    def restored_bytes(self) -> int:
        """The space that the node's files take once they are restored."""
        return self.plain_bytes + self.wal_bytes


@dataclass(frozen=True, kw_only=True)
class Tombstone(_Record):
    """The object in the place of a root that closes the snapshot: it failed, was cancelled, or was purged."""

    snapshot: str = ""
    attempt: int = 0
    reason: str = ""
    time: str = ""


@dataclass(frozen=True, kw_only=True)
class Root(_Record):
    """The root of one snapshot. `started` and `finished` are RFC 3339 in UTC; sizes are in bytes."""

    LATER = frozenset({"scrub_overdue_packs", "copied_from"})

    format: int = 1
    snapshot: str
    project: str = ""
    cluster: RootCluster = field(default_factory=RootCluster)
    name: str = ""
    description: str = ""
    type: str = ""
    attempt: int = 0
    started: str = ""
    finished: str = ""
    cut: dict[str, Any] = field(default_factory=dict)
    plain_bytes: int = 0
    stored_bytes: int = 0
    nodes: tuple[RootNode, ...]
    scrub_overdue_packs: int | None = None
    copied_from: str | None = None

    @classmethod
    def from_json(cls, key: str, given: Mapping[str, Any]) -> Self:
        """The root stored at `key`. Raises RepositoryDamaged when it does not name its snapshot and its manifests."""
        try:
            nodes = tuple(RootNode(**RootNode.arguments(node)) for node in given["nodes"])
            cluster = RootCluster(**RootCluster.arguments(given.get("cluster", {})))
            root = cls(**{**cls.arguments(given), "nodes": nodes, "cluster": cluster})
        except (KeyError, TypeError, AttributeError):
            raise RepositoryDamaged(f"{key} does not name manifests as a root does", key=key) from None
        texts = [root.snapshot, *(text for node in nodes for text in (node.name, node.manifest, node.hash))]
        sizes = [node.size for node in nodes]
        if {type(text) for text in texts} != {str} or {type(size) for size in sizes} - {int}:
            raise RepositoryDamaged(f"{key} does not name manifests as a root does", key=key)
        return root

    def to_json(self) -> Fields:
        nodes = [node.to_json() for node in self.nodes]
        return super().to_json() | {"cluster": self.cluster.to_json(), "nodes": nodes}

    def node(self, name: str) -> RootNode:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)
