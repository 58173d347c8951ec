"""The choice of a base: offers a new capture an earlier capture of its node to build on. Pure. The node is asked later
whether the offer holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class EarlierNode(Protocol):
    """A node of an earlier snapshot, as the repository stores it."""

    @property
    def node_id(self) -> str: ...
    @property
    def lineage(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def manifest(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True)
class Offer:
    """The base offered to a capture. `manifest` is its (id, size, hash), or `None` for a whole capture. `depth` counts
    the captures since the last whole one. If `reads_all`, the capture reads everything anew, and takes from the base
    only what it finds sound in the repository.
    """

    manifest: tuple[str, int, str] | None
    depth: int
    why: str = ""
    reads_all: bool = False


def offer_base(
    newest: Sequence[EarlierNode] | None, node_id: str, lineage: str, *, whole_every: int, is_full: bool
) -> Offer:
    """Offer a base from `newest`, the nodes of the cluster's newest snapshot. Every `whole_every`-th capture reads all.

    That bounds fragmentation, and replaces a rotten frame that all later captures would share.
    """
    if is_full:
        return Offer(None, 0, "a full snapshot was asked for")
    if newest is None:
        return Offer(None, 0, "there is no earlier snapshot, or none that can be read")
    node = next((node for node in newest if node.node_id == node_id), None)
    if node is None:
        return Offer(None, 0, "the newest snapshot does not have this node")
    if node.lineage != lineage:
        return Offer(None, 0, "the newest snapshot is of another history of this node")
    depth = node.depth + 1
    reads_all = depth >= whole_every
    return Offer((node.manifest, node.size, node.hash), 0 if reads_all else depth, reads_all=reads_all)
