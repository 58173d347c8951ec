"""What every use case works with; made once at the start, and narrowed to its caller per request."""

from dataclasses import dataclass, replace

from stillhouse.catalog.database import Database
from stillhouse.catalog.sealing import Sealer
from stillhouse.clock import Clock
from stillhouse.config import Settings
from stillhouse.durable.flows import Flows


@dataclass(frozen=True)
class Caller:
    """Who asks; empty for the service itself (schedules, flows)."""

    access_key: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class Control:
    database: Database
    flows: Flows
    sealer: Sealer
    clock: Clock
    settings: Settings
    caller: Caller = Caller()

    def acting_for(self, caller: Caller) -> "Control":
        return replace(self, caller=caller)
