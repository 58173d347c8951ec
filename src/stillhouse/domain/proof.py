"""Proofs of snapshots: how they end, and when a schedule asks for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

SHARE = ("tables", "tables_total", "rows", "rows_total", "pages", "pages_total")
"""In a proof's report: how many tables and rows were compared and pages looked into, and how many there are."""


class ProofState(StrEnum):
    """PROVED tells only of the data that were compared, REFUTED only of bad data. FAILED says nothing about the
    snapshot: something that should have been looked at could not be, or nothing was compared.
    """

    RUNNING = "RUNNING"
    PROVED = "PROVED"
    REFUTED = "REFUTED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Proof:
    """`access_key` is who asked for it, empty for a schedule. `report` is there at the end."""

    id: str
    snapshot_id: str
    state: ProofState
    access_key: str
    progress: int
    started: datetime
    ended: datetime | None = None
    report: dict[str, Any] = field(default_factory=dict)


def judge(
    findings: Sequence[str], unchecked: Sequence[str], uncompared: Sequence[str]
) -> tuple[ProofState, str]:
    """The word for a proof's results, and the reason if there is no verdict.

    `findings` speak against the snapshot; `unchecked` could not be looked at; of the nodes `uncompared` nothing was
    compared with the cut. Bad data refute the snapshot, even where other things could not be looked at.
    """
    if findings:
        return ProofState.REFUTED, ""
    if unchecked:
        more = f", and {len(unchecked) - 1} more" if len(unchecked) > 1 else ""
        return ProofState.FAILED, f"could not be checked: {unchecked[0]}{more}"
    if uncompared:
        return ProofState.FAILED, f"nothing was compared with the cut: {'; '.join(uncompared)}"
    return ProofState.PROVED, ""


@dataclass(frozen=True)
class ProofSchedule:
    """Every so many days (0 = never): the newest snapshot of a cluster alone, or each of them."""

    every_days: int = 0
    newest_only: bool = True


def due_for_proof(
    schedule: ProofSchedule, newest_first: Sequence[str], last: Mapping[str, datetime], now: datetime
) -> str | None:
    """Which of a cluster's snapshots is to be proved now; the one that has waited longest.

    `last` tells when a proof of a snapshot last began, however it ended.
    """
    if not schedule.every_days or not newest_first:
        return None
    latest = now - timedelta(days=schedule.every_days)
    if schedule.newest_only:
        return newest_first[0] if all(began <= latest for began in last.values()) else None
    waiting = [one for one in newest_first if one not in last or last[one] <= latest]
    never = datetime.min.replace(tzinfo=now.tzinfo)
    return min(waiting, key=lambda one: last.get(one, never), default=None)
