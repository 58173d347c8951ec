"""An event: an audited action on a cluster or a snapshot."""

from dataclasses import dataclass
from datetime import datetime

# A snapshot succeeded without some files, or without the fingerprints of tables that were replaced while being read.
_WARNINGS = ("skipped", "replaced")


@dataclass(frozen=True)
class Event:
    """`kind` is `cluster` or `snapshot`. `name` is empty when the object `id` has left the catalog."""

    number: int
    time: datetime
    action: str
    kind: str
    id: str
    name: str
    outcome: str
    detail: str

    @property
    def failed(self) -> bool:
        """Whether it did not come to its end. A cancellation is one: DWS has no other word for it."""
        return self.outcome in ("failed", "refuted", "cancelled")

    @property
    def is_warning(self) -> bool:
        """Whether a person should look at it."""
        return self.outcome in ("failed", "refuted") or self.outcome in _WARNINGS
