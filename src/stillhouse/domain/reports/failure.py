"""Why a snapshot, an operation or a proof failed: a stable code, the reason, and a hint at the remedy."""

from dataclasses import dataclass

from stillhouse.errors import Cancelled, StillhouseError

CANCELLED = Cancelled.code

# Remedies for failures that do not name one themselves, by the code of their error.
_REMEDIES = {
    "attempt.dead": "ask for it again",
    "capture.interrupted": "take another snapshot; see the reason if it fails again",
    "catalog.unavailable": "see that the service's disk has room and can be written, then ask again",
    "internal": "this is a fault of the service: its log tells more about it",
    "node.unreachable": "`stillhouse cluster show` tells which nodes answer, `cluster restart` starts them; "
    "the node's server.log has its last words",
    "object.missing": "`stillhouse repo check` tells what the repository has lost",
    "repository.damaged": "`stillhouse repo check` tells what the repository has lost",
    "store.refused": "see that the bucket is there, and that its keys and rights are those of the service",
    "store.unavailable": "see that the store of the repository answers, then ask again",
    "tables.held": "end the sessions that work with the tables, then ask again",
}


@dataclass(frozen=True)
class Failure:
    """`code` is that of an error of the tree; it is "" in records of an earlier service, which have the hint in the
    reason.
    """

    code: str
    reason: str
    hint: str = ""

    @classmethod
    def of(cls, error: StillhouseError) -> "Failure":
        return cls(error.code, error.message, error.hint or _REMEDIES.get(error.code, ""))

    @property
    def line(self) -> str:
        """The reason and the hint on one line, however many the reason has."""
        told = f"{self.reason} ({self.hint})" if self.hint else self.reason
        return " ".join(told.split())

    @property
    def is_cancellation(self) -> bool:
        """Whether somebody asked for this end, so that nothing is wrong."""
        return self.code == CANCELLED
