"""The catalog and the caller that work on it is for: all that keys, users and the audit log need."""

from dataclasses import dataclass, field, replace
from typing import Self

from stillhouse.catalog.schema.database import Database
from stillhouse.clock import Clock
from stillhouse.config import Settings
from stillhouse.control.replicas.following import Following
from stillhouse.domain.access.permissions import NOTHING, Permissions
from stillhouse.sealing import Sealer


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
class CatalogContext:
    """Commands beside the service have no more than this; the service has a whole `Control`."""

    database: Database
    sealer: Sealer
    clock: Clock
    settings: Settings
    caller: Caller = Caller()
    following: Following = field(default_factory=Following)

    def acting_for(self, caller: Caller) -> Self:
        return replace(self, caller=caller)
