"""What every use case works with; made once at the start, and narrowed to its caller per request."""

from dataclasses import dataclass, replace

from stillhouse.catalog.database import Database
from stillhouse.catalog.sealing import Sealer
from stillhouse.clock import Clock
from stillhouse.config import Settings
from stillhouse.durable.flows import Flows
from stillhouse.node.jobs import Repository
from stillhouse.repository import identity
from stillhouse.repository.keys import ClusterKeys, open_keys
from stillhouse.storage.store import ObjectStore


@dataclass(frozen=True)
class Caller:
    """Who asks; empty for the service itself (schedules, flows)."""

    access_key: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class Vault:
    """The repository as requests reach it: for a few small objects, or by a process of its own."""

    store: ObjectStore
    repository: Repository

    def keys(self, cluster: str) -> ClusterKeys:
        """The keys of a cluster that was captured before. Raises as `open_keys`, and where another repository lies."""
        identity.check(self.store, self.repository.id)
        return open_keys(self.store, self.repository.kek, cluster)


@dataclass(frozen=True)
class Control:
    """`vault` is missing where only the catalog was opened."""

    database: Database
    flows: Flows
    sealer: Sealer
    clock: Clock
    settings: Settings
    caller: Caller = Caller()
    vault: Vault | None = None

    def acting_for(self, caller: Caller) -> "Control":
        return replace(self, caller=caller)
