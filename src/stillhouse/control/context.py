"""The control plane that every use case works with. It is made once at the start; each request gets its caller's."""

from dataclasses import dataclass, field
from datetime import datetime

from stillhouse.catalog.schema.calls import Calls
from stillhouse.catalog.schema.remembered import Remembered
from stillhouse.checks import Checks
from stillhouse.control.catalog_context import Caller, CatalogContext
from stillhouse.control.lockout import Lockouts, LockoutsInMemory
from stillhouse.control.node_watch import NodeWatch
from stillhouse.control.refusal_counts import Tally
from stillhouse.control.threads.bells import Bells
from stillhouse.control.threads.password_checks import PasswordChecks
from stillhouse.durable.flows import Flows
from stillhouse.repository.format.cipher_keys import ClusterKeys, create_or_open, open_keys
from stillhouse.repository.objects import identity
from stillhouse.storage.store import ObjectStore
from stillhouse.workers.jobs import Repository


@dataclass(frozen=True)
class Signer:
    """A caller who has signed if `secret_key` verifies; a temporary key's token must be shown too."""

    caller: Caller
    secret_key: str = field(repr=False)
    token_digest: str = ""
    expires: datetime | None = None


@dataclass(frozen=True)
class Vault:
    """The opened repository. There are two, which differ only in how long their store is retried in an outage.

    `Control.vault` is hurried: it tells requests and the timer of an outage within seconds. `FlowContext.vault` is
    patient: flows wait for the store as long as the settings say.

    Another repository may come to lie at the same location, for example when its disk is not mounted. Therefore both
    ways to keys look at the repository's identity first. A caller that needs no keys calls `check_identity` itself.
    """

    store: ObjectStore
    repository: Repository

    def check_identity(self) -> None:
        """Raise StoreUnavailable unless the repository of this service lies there."""
        identity.check(self.store, self.repository.id)

    def keys(self, cluster: str) -> ClusterKeys:
        """Open the keys of a cluster that was captured before. Raises as `check_identity` and `open_keys`."""
        self.check_identity()
        return open_keys(self.store, self.repository.kek, cluster)

    def keys_or_new(self, cluster: str) -> ClusterKeys:
        """The cluster's keys, made on first use. Raises as `check_identity` and `create_or_open`."""
        self.check_identity()
        return create_or_open(self.store, self.repository.kek, cluster)


@dataclass(frozen=True, kw_only=True)
class Control(CatalogContext):
    """The control plane. `vault` is missing beside a running service. `calls` are heard only in one on PostgreSQL."""

    flows: Flows
    calls: Calls = field(default_factory=Calls)
    # Three, because a stranger can invent names freely: those are kept apart, and push out no lock of a key or user.
    key_lockouts: Lockouts = field(default_factory=LockoutsInMemory)
    user_lockouts: Lockouts = field(default_factory=LockoutsInMemory)
    invented_lockouts: Lockouts = field(default_factory=LockoutsInMemory)
    password_checks: PasswordChecks = field(default_factory=PasswordChecks)
    tally: Tally = field(default_factory=Tally)
    checks: Checks = field(default_factory=Checks)
    bells: Bells = field(default_factory=Bells)
    node_watch: NodeWatch = field(default_factory=NodeWatch)
    signers: Remembered[Signer] = field(default_factory=Remembered)
    vault: Vault | None = None

    @property
    def access_version(self) -> int | None:
        """Return a number that changes whenever a key, a user or a policy does; `None` if nobody tells of that."""
        return self.database.version() if self.database.is_sqlite else self.calls.access_version()
