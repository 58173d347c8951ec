"""The control plane that every use case works with. It is made once at the start; each request gets its caller's."""

from dataclasses import dataclass, field, replace

from stillhouse.catalog.schema.database import Database
from stillhouse.clock import Clock
from stillhouse.config import Settings
from stillhouse.control.lockout import Lockouts
from stillhouse.control.password_checks import PasswordChecks
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
    """A caller and their permissions; empty for the service itself (schedules, flows).

    `access_key` names them in the audit: the key, or `user/<name>`. `subject` is the access key or
    the user's id that temporary keys can be made of; it is empty for a temporary key. `address` is
    the peer's.
    """

    access_key: str = ""
    request_id: str = ""
    project: str = ""
    subject: str = ""
    permissions: Permissions = NOTHING
    address: str = ""


@dataclass(frozen=True)
class Vault:
    """The repository as requests reach it: they read a few small objects, or start a process for more."""

    store: ObjectStore
    repository: Repository

    def keys(self, cluster: str) -> ClusterKeys:
        """Open a captured cluster's keys. Raises as `open_keys`, and StoreUnavailable at another repository."""
        identity.check(self.store, self.repository.id)
        return open_keys(self.store, self.repository.kek, cluster)


@dataclass(frozen=True)
class Control:
    """The control plane. `vault` is missing if only the catalog was opened."""

    database: Database
    flows: Flows
    sealer: Sealer
    clock: Clock
    settings: Settings
    caller: Caller = Caller()
    # Three, because a stranger can invent names freely: those are kept apart, and push out no lock of a key or user.
    key_lockouts: Lockouts = field(default_factory=Lockouts)
    user_lockouts: Lockouts = field(default_factory=Lockouts)
    invented_lockouts: Lockouts = field(default_factory=Lockouts)
    password_checks: PasswordChecks = field(default_factory=PasswordChecks)
    tally: Tally = field(default_factory=Tally)
    vault: Vault | None = None

    def acting_for(self, caller: Caller) -> "Control":
        return replace(self, caller=caller)
