"""The workplace of flows: the control plane, this host, the repository, and its key."""

from dataclasses import dataclass, replace

from stillhouse.catalog import clusters, snapshots
from stillhouse.control.context import Control
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.slots import attempt_slot
from stillhouse.domain.snapshot import Snapshot
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.keys import open_keys
from stillhouse.repository.format.root import Root
from stillhouse.repository.objects import roots
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.workers.jobs import Repository


@dataclass(frozen=True)
class Workplace:
    """The means of a flow. `installation` (8 hex digits) marks our slots among other services' on one warehouse."""

    control: Control
    site: Site
    store: ObjectStore
    repository: Repository
    installation: str

    def slot(self, snapshot_id: str, attempt: int) -> str:
        """Return the slot, label and restore-point prefix of one attempt. No other attempt ever uses it."""
        return attempt_slot(self.installation, snapshot_id, attempt)

    @property
    def hurried(self) -> "Workplace":
        """Return a copy for callers who cannot wait: its store raises within seconds of an outage, as for requests."""
        vault = self.control.vault
        return self if vault is None else replace(self, store=vault.store)

    @property
    def scratch(self) -> Site:
        """Return the place of scratch clones, which are made only to be looked at."""
        return embedded.scratch_of(self.site)


def read_root(place: Workplace, snapshot_id: str) -> Root:
    """Read the snapshot's root from the repository; the catalog only tells its cluster. Raises RepositoryDamaged."""
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
