"""The flow that proves a snapshot: it restores a clone into scratch space and compares it with the recorded facts.

prove     one step: a service that dies in it begins again, with a new clone
record    write the result to the snapshot and to the audit log

PROVED     all compared tables equal those at the cut, and all checked pages are sound; the share of each is given
REFUTED    a table differs, a page is unsound, or the repository lacks an object; the findings name it
FAILED     something could not be looked at, or nothing was compared: nothing is known
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from stillhouse import log, metrics
from stillhouse.catalog import snapshots
from stillhouse.catalog.checks import proofs
from stillhouse.control.audit import record
from stillhouse.control.flow_context import FlowContext, read_root
from stillhouse.control.restores.scratch_clone import scratch_clone
from stillhouse.domain.cluster import Node
from stillhouse.domain.proof import SHARE, ProofState, judge, refutation
from stillhouse.domain.reports.failure import Failure
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import (
    CutMissed,
    FormatUnknown,
    NodeUnreachable,
    ObjectMissing,
    ProofFailed,
    RepositoryDamaged,
    StillhouseError,
)
from stillhouse.repository.format import manifest
from stillhouse.repository.format.lines import WitnessLine
from stillhouse.repository.format.root import Root
from stillhouse.warehouse.proof.compare_with_cut import compare_at_cut
from stillhouse.warehouse.proof.structure import check_structure

_SHARE_OF_CLONE = 70
_MOST_NAMED = 200

Report = dict[str, Any]


def prove_snapshot(place: FlowContext, run: StepRunner, proof_id: str) -> None:
    try:
        result = run.step("prove", _prove, place, proof_id)
    except StillhouseError as error:
        result = _ended(ProofState.FAILED, Failure.of(error))
    run.surely("record", _record, place, proof_id, result)


def _prove(place: FlowContext, proof_id: str) -> dict[str, Any]:
    with place.control.database.reading() as reading:
        snapshot_id = proofs.read(reading, proof_id).snapshot_id
    try:
        return _judge(place, proof_id, read_root(place, snapshot_id))
    except FormatUnknown as error:
        return _ended(ProofState.FAILED, Failure.of(error))
    except (RepositoryDamaged, ObjectMissing) as error:
        return _refuted(f"the repository: {error}")
    except CutMissed as error:
        return _refuted(str(error))
    except StillhouseError as error:
        return _ended(ProofState.FAILED, Failure.of(error))


def _judge(place: FlowContext, proof_id: str, root: Root) -> dict[str, Any]:
    came_further = place.control.flows.pulse()

    def show(done: int, total: int, from_: int = 0, to: int = _SHARE_OF_CLONE) -> None:
        came_further()
        with place.control.database.transaction() as transaction:
            proofs.set_progress(transaction, proof_id, from_ + (to - from_) * done // max(total, 1))

    seen: list[_Seen] = []
    with scratch_clone(place, root, proof_id, show) as nodes:
        for number, node in enumerate(nodes, 1):
            seen.append(_look_at(place, root, node))
            show(number, len(nodes), _SHARE_OF_CLONE, 99)
    findings, unchecked, notes, left_out = (
        list(chain.from_iterable(lists))
        for lists in zip(
            *((one.findings, one.unchecked, one.notes, one.left_out) for one in seen), strict=True
        )
    )
    state, failure = judge(findings, unchecked, [one.uncompared for one in seen if one.uncompared])
    return _ended(
        state,
        failure,
        findings=findings,
        unchecked=unchecked,
        left_out=left_out,
        notes=notes,
        share={name: sum(one.share[name] for one in seen) for name in SHARE},
    )


@dataclass
class _Seen:
    """A proof's results for one node. `uncompared` is the reason if nothing of the node was compared."""

    findings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    uncompared: str = ""
    share: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHARE, 0))


def _look_at(place: FlowContext, root: Root, node: Node) -> _Seen:
    """Check and compare, even if the first fails. A server that ends meanwhile leaves a gap, and gives no verdict."""
    seen = _Seen()
    for look in (_compare, _check_structure):
        place.control.flows.check_running()
        try:
            look(place, root, node, seen)
        except (NodeUnreachable, ProofFailed) as error:
            seen.unchecked.append(str(error))
    return seen


def _go_on(place: FlowContext) -> Callable[[], None]:
    """Return a function for the time between two pieces of the work."""
    came_further = place.control.flows.pulse()

    def go_on() -> None:
        came_further()
        place.control.flows.check_running()

    return go_on


def _compare(place: FlowContext, root: Root, node: Node, seen: _Seen) -> None:
    """Compare tables with their fingerprints at the cut; tables without a fingerprint are noted."""
    keys = place.vault.keys(root.cluster.id)
    lines = manifest.read(place.vault.store, keys, root.node(node.name).stored)
    fingerprints = (line for line in lines if line["t"] in ("witness", "table"))
    without: WitnessLine = {"t": "witness", "databases": [], "why": "the snapshot is of an older service"}
    head = next(fingerprints, without)
    if head["t"] != "witness":
        raise RepositoryDamaged(f"the manifest of node {node.name} has tables without a witness")
    if head["why"]:
        seen.notes.append(f"{node.name}: no table has a fingerprint: {head['why']}")
    found = compare_at_cut(node, head["databases"], fingerprints, _go_on(place))
    seen.findings += found.findings
    seen.unchecked += found.unchecked
    seen.left_out += found.left_out
    seen.share |= {name: getattr(found, name) for name in ("tables", "tables_total", "rows", "rows_total")}
    if found.is_of_nothing:
        why = head["why"] or "none of its tables that hold rows has a fingerprint"
        seen.uncompared = f"{node.name}: {why}"


def _check_structure(place: FlowContext, root: Root, node: Node, seen: _Seen) -> None:
    found = check_structure(node, _go_on(place))
    seen.findings += found.findings
    seen.unchecked += found.unchecked
    seen.notes += found.notes
    seen.share |= {"pages": found.pages, "pages_total": found.pages_total}


def _refuted(finding: str) -> dict[str, Any]:
    return _ended(ProofState.REFUTED, refutation([finding]), findings=[finding])


def _ended(
    state: ProofState,
    failure: Failure | None,
    *,
    findings: list[str] | None = None,
    unchecked: list[str] | None = None,
    left_out: list[str] | None = None,
    notes: list[str] | None = None,
    share: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return a result as it is recorded; long lists are cut."""
    report: Report = {
        "findings": _shortened(findings or []),
        "unchecked": _shortened(unchecked or []),
        "left_out": _shortened(left_out or []),
        "notes": _shortened(notes or []),
        "code": failure.code if failure else "",
        "reason": failure.reason if failure else "",
        "hint": failure.hint if failure else "",
        **(share or dict.fromkeys(SHARE, 0)),
    }
    return {"state": state, "report": report}


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_NAMED
    return lines if more <= 0 else [*lines[:_MOST_NAMED], f"and {more} more"]


def _record(place: FlowContext, proof_id: str, result: dict[str, Any]) -> None:
    control, state, report = place.control, ProofState(result["state"]), result["report"]
    with control.database.transaction() as transaction:
        proof = proofs.read(transaction, proof_id)
        if not proofs.end(transaction, proof_id, control.clock.now(), state, report):
            return
        snapshot = snapshots.read_snapshot(transaction, proof.snapshot_id)
        seconds = (control.clock.now() - proof.started).total_seconds()
        code = None if state is ProofState.PROVED else str(report.get("code", ""))
        metrics.count_ended(snapshot.cluster_id, "proof", seconds, code)
        # A result of an earlier version has no hint, and one that refutes no reason.
        why = Failure("", report["reason"] or "; ".join(report["findings"]), report.get("hint", ""))
        resource = f"snapshot/{snapshot.id}"
        record(control, transaction, snapshot.project, "ProveSnapshot", resource, state.lower(), why.line)
    said = log.get("proof")
    tell = said.info if state is ProofState.PROVED else said.error
    tell("proof ended", snapshot=snapshot.id, state=state, **report)
