"""Records refusals of callers in the audit: the first of each kind as it happens, repetitions by count.

A kind is a caller, an operation and a reason. Within an hour the 1st, 2nd, 4th, 8th, ... of a kind is
written, with its number; kinds beyond an outcome's thousandth count as one. So a flood leaves at most a
few thousand rows an hour, and only the newest hundred thousand rows of each outcome stay.
"""

from dataclasses import dataclass

from stillhouse.catalog.access import audit_log
from stillhouse.control.audit import record
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.errors import NotPermitted, StillhouseError, TokenExpired, Unauthenticated

_KEPT = 100_000
_OUTCOMES = (Unauthenticated.code, TokenExpired.code, NotPermitted.code)


@dataclass(frozen=True)
class Refused:
    """`who` and `path` are the caller's words unless the caller is known."""

    who: str
    project: str
    operation: str
    path: str
    address: str
    request_id: str


def record_refusal(control: Control, refused: Refused, error: StillhouseError) -> None:
    """Record a refusal. To be called before it is answered: no answer is given without its record."""
    kind = (refused.who, refused.operation, error.message)
    count, is_new_hour = control.tally.count(error.code, kind, control.clock.monotonic())
    if count & (count - 1):
        return
    speaking = control.acting_for(Caller(refused.who, refused.request_id))
    alike = f" (number {count} of its kind within the hour)" if count > 1 else ""
    with control.database.transaction() as transaction:
        if is_new_hour:
            for outcome in _OUTCOMES:
                audit_log.forget_oldest(transaction, outcome, _KEPT)
        record(
            speaking,
            transaction,
            refused.project,
            refused.operation,
            refused.path,
            error.code,
            f"from {refused.address}{alike}: {error.message}",
        )
