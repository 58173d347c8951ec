"""The context of flows: the control plane, this host, the repository, and its key."""

from dataclasses import dataclass, field, replace

from stillhouse.catalog import clusters, snapshots
from stillhouse.control.context import Control, Vault
from stillhouse.control.threads.copy_turns import CopyTurns
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.slots import attempt_slot
from stillhouse.domain.snapshot import Snapshot
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.root import Root
from stillhouse.repository.objects import roots
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site


@dataclass(frozen=True)
class FlowContext:
    """The means of a flow. `installation` (8 hex digits) marks our slots among other services' on one warehouse."""

    control: Control
    site: Site
    vault: Vault
    installation: str
    copy_turns: CopyTurns = field(default_factory=CopyTurns)

    def slot(self, snapshot_id: str, attempt: int) -> str:
        """Return the slot, label and restore-point prefix of one attempt. No other attempt ever uses it."""
        return attempt_slot(self.installation, snapshot_id, attempt)

    @property
    def hurried(self) -> "FlowContext":
        """Return a copy for callers who cannot wait: its store raises within seconds of an outage, as for requests."""
        return self if self.control.vault is None else replace(self, vault=self.control.vault)

    @property
    def scratch(self) -> Site:
        """Return the place of scratch clones, which are made only to be looked at."""
        return embedded.scratch_of(self.site)


def read_root(place: FlowContext, snapshot_id: str) -> Root:
    """Read the snapshot's root from the repository; the catalog only tells its cluster. Raises RepositoryDamaged."""
    with place.control.database.reading() as reading:
        source = snapshots.read_snapshot(reading, snapshot_id).cluster_id
    root = roots.read(place.vault.store, place.vault.keys(source), snapshot_id)
    if root is None:
        raise RepositoryDamaged(f"snapshot {snapshot_id} is not in the repository")
    return root


def snapshot_and_cluster(place: FlowContext, snapshot_id: str) -> tuple[Snapshot, Cluster]:
    with place.control.database.reading() as reading:
        snapshot = snapshots.read_snapshot(reading, snapshot_id)
        return snapshot, clusters.read_cluster(reading, snapshot.cluster_id)
