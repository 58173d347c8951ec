"""Lists of snapshots, a page at a time: all of a project, or those of a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.console.visit import Page, Visit
from stillhouse.control.proofs import requests as proofs
from stillhouse.control.snapshots import fates
from stillhouse.control.snapshots.fates import Fated
from stillhouse.domain.proof import ProofState

PARTS = {"snapshots": "parts/snapshots.html"}
_ON_A_PAGE = 50


@dataclass(frozen=True)
class Listed:
    """A page of a list. `proofs` holds the state of the latest proof of each snapshot that had one."""

    fated: list[Fated]
    proofs: dict[str, ProofState]
    total: int
    number: int
    is_of_one_cluster: bool

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // _ON_A_PAGE))

    @property
    def first(self) -> int:
        return (self.number - 1) * _ON_A_PAGE + 1


def page(visit: Visit) -> Page:
    return Page("snapshots.html", live(visit))


def live(visit: Visit) -> Mapping[str, Any]:
    return {"listed": listed(visit, None)}


def listed(visit: Visit, cluster_id: str | None) -> Listed:
    number = visit.page_number()
    found, total = fates.page(
        visit.control, visit.project, cluster_id=cluster_id, limit=_ON_A_PAGE, offset=number - 1
    )
    ids = [one.snapshot.id for one in found]
    states = proofs.latest_states(visit.control, visit.project, ids) if visit.may("ShowProof") else {}
    return Listed(found, states, total, number, cluster_id is not None)
