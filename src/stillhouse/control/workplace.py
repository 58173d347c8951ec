"""What flows work with beyond what requests need: this host, the repository, and its key."""

from dataclasses import dataclass

from stillhouse.catalog import clusters, snapshots
from stillhouse.control.context import Control
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.snapshot import Snapshot
from stillhouse.errors import NodeUnreachable, RepositoryDamaged
from stillhouse.node.jobs import Repository
from stillhouse.postgres.slot import drop_slots
from stillhouse.repository import roots
from stillhouse.repository.keys import open_keys
from stillhouse.repository.roots import Root
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse import embedded
from stillhouse.warehouse.embedded import Site


@dataclass(frozen=True)
class Workplace:
    """`installation` (8 hex digits) tells our slots from those of any other service on the same warehouse."""

    control: Control
    site: Site
    store: ObjectStore
    repository: Repository
    installation: str

    def slot(self, snapshot_id: str, attempt: int) -> str:
        """The slot, label and restore-point prefix of one attempt: used once in all time."""
        assert is_uuid(snapshot_id)
        return f"{self.slots}{snapshot_id[:8]}_{attempt}"

    @property
    def slots(self) -> str:
        return f"stillhouse_{self.installation}_"

    @property
    def scratch(self) -> Site:
        """Where clones live that are made only to be looked at."""
        return embedded.scratch_of(self.site)


def read_root(place: Workplace, snapshot_id: str) -> Root:
    """The snapshot as the repository has it; the catalog only says whose it is. Raises RepositoryDamaged."""
    with place.control.database.reading() as reading:
        source = snapshots.read_snapshot(reading, snapshot_id).cluster_id
    root = roots.read(place.store, open_keys(place.store, place.repository.kek, source), snapshot_id)
    if root is None:
        raise RepositoryDamaged(f"snapshot {snapshot_id} is not in the repository")
    return root


def snapshot_and_cluster(place: Workplace, snapshot_id: str) -> tuple[Snapshot, Cluster]:
    with place.control.database.reading() as reading:
        snapshot = snapshots.read_snapshot(reading, snapshot_id)
        return snapshot, clusters.read_cluster(reading, snapshot.cluster_id)


def reap(place: Workplace, cluster: Cluster) -> list[str]:
    """Drop the inactive slots that dead attempts left on the cluster's nodes; names of those dropped.

    For whoever holds the cluster, so that none of them is of an attempt at work. A node that does not answer
    keeps its slots for the next time: it writes no WAL meanwhile.
    """
    return [name for node in cluster.nodes for name in _reap_node(node, place.slots)]


def _reap_node(node: Node, prefix: str) -> list[str]:
    try:
        return drop_slots(node, prefix)
    except NodeUnreachable:
        return []
