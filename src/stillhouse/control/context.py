"""What every use case works with; made once at the start, and narrowed to its caller per request."""

from dataclasses import dataclass, field, replace

from stillhouse.catalog.schema.database import Database
from stillhouse.clock import Clock
from stillhouse.config import Settings
from stillhouse.control.lockout import Lockouts
from stillhouse.control.refusal_counts import Tally
from stillhouse.domain.access.permissions import NOTHING, Permissions
from stillhouse.durable.flows import Flows
from stillhouse.repository.format.keys import ClusterKeys, open_keys
from stillhouse.repository.objects import identity
from stillhouse.sealing import Sealer
from stillhouse.storage.store import ObjectStore
from stillhouse.workers.jobs import Repository


@dataclass(frozen=True)
class Caller:
    """Who asks, and for what they may; empty for the service itself (schedules, flows).

    `access_key` names them in the audit: the key, or `user/<name>`. `subject` is the access key or
    the user's id that temporary keys can be made of; a temporary key has none. `address` is the
    peer's.
    """

    access_key: str = ""
    request_id: str = ""
    project: str = ""
    subject: str = ""
    permissions: Permissions = NOTHING
    address: str = ""


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
    # Apart, since names of keys cost a stranger nothing, and would push the users' out.
    key_lockouts: Lockouts = field(default_factory=Lockouts)
    user_lockouts: Lockouts = field(default_factory=Lockouts)
    tally: Tally = field(default_factory=Tally)
    vault: Vault | None = None

    def acting_for(self, caller: Caller) -> "Control":
        return replace(self, caller=caller)
