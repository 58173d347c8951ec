"""Proofs of snapshots: the decision on their result, and the schedule that asks for them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import ProofFailed

SHARE = ("tables", "tables_total", "rows", "rows_total", "pages", "pages_total")
"""Keys of a proof's report: how many tables and rows were compared and pages read, and how many there are."""


class ProofState(StrEnum):
    """The state of a proof. PROVED covers only the data that were compared, and REFUTED means bad data. FAILED says
    nothing about the snapshot: a part could not be checked, or nothing was compared.
    """

    RUNNING = "RUNNING"
    PROVED = "PROVED"
    REFUTED = "REFUTED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Proof:
    """A proof. `access_key` belongs to the caller who asked for it, and is empty for a schedule. `report` is filled at
    the end.
    """

    id: str
    snapshot_id: str
    state: ProofState
    access_key: str
    progress: int
    started: datetime
    ended: datetime | None = None
    report: dict[str, Any] = field(default_factory=dict)


REFUTED = "proof.refuted"
"""Code of the failure of a proof that has found bad data."""

_REFUTED_HINT = "prove an earlier snapshot, and take a new one; `stillhouse repo check` tells what is lost"
_UNCHECKED_HINT = "prove it again; `unchecked` lists all parts, and the service's log tells more"
_UNCOMPARED_HINT = (
    "a snapshot that is taken with fingerprints can be compared: see STILLHOUSE_FINGERPRINT_SECONDS"
)


def judge(
    findings: Sequence[str], unchecked: Sequence[str], uncompared: Sequence[str]
) -> tuple[ProofState, Failure | None]:
    """Return the state for a proof's results, and why it is not PROVED.

    `findings` refute the snapshot, even if other parts could not be checked. `unchecked` lists the parts that could not
    be checked. `uncompared` lists the nodes without any data compared with the cut.
    """
    if findings:
        return ProofState.REFUTED, refutation(findings)
    if unchecked:
        why = f"could not be checked: {_first_of(unchecked)}"
        return ProofState.FAILED, Failure(ProofFailed.code, why, _UNCHECKED_HINT)
    if uncompared:
        why = f"nothing was compared with the cut: {'; '.join(uncompared)}"
        return ProofState.FAILED, Failure(ProofFailed.code, why, _UNCOMPARED_HINT)
    return ProofState.PROVED, None


def refutation(findings: Sequence[str]) -> Failure:
    return Failure(REFUTED, _first_of(findings), _REFUTED_HINT)


def _first_of(lines: Sequence[str]) -> str:
    return f"{lines[0]}, and {len(lines) - 1} more" if len(lines) > 1 else lines[0]


@dataclass(frozen=True)
class ProofSchedule:
    """A schedule of proofs: every `every_days` days (0 = never), of the newest snapshot of a cluster or of each one."""

    every_days: int = 0
    newest_only: bool = True


def due_for_proof(
    schedule: ProofSchedule, newest_first: Sequence[str], last: Mapping[str, datetime], now: datetime
) -> str | None:
    """Return the snapshot of a cluster that is to be proved now, if any: the one that has waited longest.

    `last` holds for each snapshot when its last proof began, however it ended.
    """
    if not schedule.every_days or not newest_first:
        return None
    latest = now - timedelta(days=schedule.every_days)
    if schedule.newest_only:
        return newest_first[0] if all(began <= latest for began in last.values()) else None
    waiting = [one for one in newest_first if one not in last or last[one] <= latest]
    never = datetime.min.replace(tzinfo=now.tzinfo)
    return min(waiting, key=lambda one: last.get(one, never), default=None)
