"""The report of a check-up of servers that are somebody's: findings, each with the SQL or the line that mends it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Weight(StrEnum):
    GOOD = "good"
    SHOULD = "should"  # snapshots are taken all the same, but cost or prove less
    MUST = "must"  # no snapshot can be taken


@dataclass(frozen=True)
class Finding:
    """One observation on a node. `mend` is SQL, or a line of a configuration file, that mends it."""

    node: str
    weight: Weight
    about: str
    message: str
    mend: str = ""


@dataclass(frozen=True)
class CheckUp:
    """The latest check-up of a cluster, and when it was made."""

    time: datetime
    findings: tuple[Finding, ...]


def musts(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.weight is Weight.MUST]
