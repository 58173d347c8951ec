"""The flow that proves a snapshot: restored into scratch space, in quarantine, and held against what is known of it.

prove     one step: a service that dies in it begins again, and nothing half-built is gone on with
record    the result, on the snapshot and in the audit log

PROVED     every page reads, every index knows its rows, every fingerprint of the cut holds
REFUTED    something of that does not, or the repository does not hold what it should; the findings name it
FAILED     the proof could not be carried through: nothing is known
"""

from typing import Any

from stillhouse import log
from stillhouse.catalog import proofs, snapshots
from stillhouse.control.audit import record
from stillhouse.control.recovery import stored_manifest
from stillhouse.control.scratch_clone import scratch_clone
from stillhouse.control.workplace import Workplace, read_root
from stillhouse.domain.cluster import Node
from stillhouse.domain.proof import ProofState
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import ObjectMissing, RepositoryDamaged, StillhouseError
from stillhouse.repository import manifest
from stillhouse.repository.keys import open_keys
from stillhouse.repository.roots import Root
from stillhouse.warehouse.proof_at_cut import Compared, compare_at_cut
from stillhouse.warehouse.proof_structure import check_structure

_SHARE_OF_CLONE = 70
_MOST_NAMED = 200

Report = dict[str, Any]


def prove_snapshot(place: Workplace, run: StepRunner, proof_id: str) -> None:
    try:
        result = run.step("prove", _prove, place, proof_id)
    except StillhouseError as error:
        result = _ended(ProofState.FAILED, reason=str(error))
    run.step("record", _record, place, proof_id, result)


def _prove(place: Workplace, proof_id: str) -> dict[str, Any]:
    with place.control.database.reading() as reading:
        snapshot_id = proofs.read(reading, proof_id).snapshot_id
    try:
        return _judge(place, proof_id, read_root(place, snapshot_id))
    except (RepositoryDamaged, ObjectMissing) as error:
        return _ended(ProofState.REFUTED, findings=[f"the repository: {error}"])
    except StillhouseError as error:
        return _ended(ProofState.FAILED, reason=str(error))


def _judge(place: Workplace, proof_id: str, root: Root) -> dict[str, Any]:
    def show(done: int, total: int, from_: int = 0, to: int = _SHARE_OF_CLONE) -> None:
        with place.control.database.transaction() as transaction:
            proofs.set_progress(transaction, proof_id, from_ + (to - from_) * done // max(total, 1))

    findings: list[str] = []
    compared: list[Compared] = []
    notes: list[str] = []
    with scratch_clone(place, root, proof_id, show) as nodes:
        for number, node in enumerate(nodes, 1):
            place.control.flows.check_running()
            compared.append(_compare(place, root, node, notes))
            place.control.flows.check_running()
            findings += [f"{node.name}: {said}" for said in check_structure(node, place.site.binaries)]
            show(number, len(nodes), _SHARE_OF_CLONE, 99)
    findings = [finding for one in compared for finding in one.findings] + findings
    return _ended(
        ProofState.REFUTED if findings else ProofState.PROVED,
        findings=findings,
        left_out=[left for one in compared for left in one.left_out],
        notes=notes,
        tables=sum(one.tables for one in compared),
        rows=sum(one.rows for one in compared),
    )


def _compare(place: Workplace, root: Root, node: Node, notes: list[str]) -> Compared:
    """With the fingerprints of the cut, as far as there are any; what there are none of is noted."""
    keys = open_keys(place.store, place.repository.kek, root["cluster"]["id"])
    lines = manifest.read(place.store, keys, stored_manifest(root, node.name))
    fingerprints = (line for line in lines if line["t"] in ("witness", "table"))
    head = next(fingerprints, {"t": "witness", "databases": [], "why": "the snapshot is of an older service"})
    if head["t"] != "witness":
        raise RepositoryDamaged(f"the manifest of node {node.name} has tables without a witness")
    if head["why"]:
        notes.append(f"{node.name}: no table has a fingerprint: {head['why']}")
    return compare_at_cut(node, head["databases"], fingerprints, place.control.flows.check_running)


def _ended(
    state: ProofState,
    *,
    findings: list[str] | None = None,
    left_out: list[str] | None = None,
    notes: list[str] | None = None,
    tables: int = 0,
    rows: int = 0,
    reason: str = "",
) -> dict[str, Any]:
    """A result, as it is recorded; long lists are cut."""
    report: Report = {
        "findings": _shortened(findings or []),
        "left_out": _shortened(left_out or []),
        "notes": notes or [],
        "tables": tables,
        "rows": rows,
        "reason": reason,
    }
    return {"state": state, "report": report}


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_NAMED
    return lines if more <= 0 else [*lines[:_MOST_NAMED], f"and {more} more"]


def _record(place: Workplace, proof_id: str, result: dict[str, Any]) -> None:
    control, state, report = place.control, ProofState(result["state"]), result["report"]
    with control.database.transaction() as transaction:
        proof = proofs.read(transaction, proof_id)
        if not proofs.end(transaction, proof_id, control.clock.now(), state, report):
            return
        snapshot = snapshots.read_snapshot(transaction, proof.snapshot_id)
        detail = report["reason"] or "; ".join(report["findings"])
        resource = f"snapshot/{snapshot.id}"
        record(control, transaction, snapshot.project, "ProveSnapshot", resource, state.lower(), detail)
    said = log.get("proof")
    tell = said.info if state is ProofState.PROVED else said.error
    tell("proof ended", snapshot=snapshot.id, state=state, **report)
