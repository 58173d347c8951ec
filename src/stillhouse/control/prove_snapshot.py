"""The flow that proves a snapshot: restored into scratch space, in quarantine, and held against what is known of it.

prove     one step: a service that dies in it begins again, and nothing half-built is gone on with
record    the result, on the snapshot and in the audit log

PROVED     every page reads, every index knows its rows, every fingerprint of the cut holds
REFUTED    something of that does not, or the repository does not hold what it should; the findings name it
FAILED     the proof could not be carried through: nothing is known
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stillhouse import log
from stillhouse.catalog import proofs, snapshots
from stillhouse.control.audit import record
from stillhouse.control.recovery import (
    NODES_AT_ONCE,
    rebuild_node,
    recover_to_cut,
    source_nodes,
    stored_manifest,
)
from stillhouse.control.workplace import Workplace, read_root
from stillhouse.domain.cluster import Node
from stillhouse.domain.proof import ProofState
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import ObjectMissing, ProofFailed, RepositoryDamaged, StillhouseError
from stillhouse.repository import manifest
from stillhouse.repository.keys import open_keys
from stillhouse.repository.roots import Root
from stillhouse.warehouse import embedded
from stillhouse.warehouse.proof_at_cut import Compared, compare_at_cut
from stillhouse.warehouse.proof_structure import check_structure
from stillhouse.warehouse.rewire import rewire

_SHARE_OF_COPY, _SHARE_OF_RECOVERY = 60, 70
_SPARE_BYTES = 256 << 20
_MOST_NAMED = 200
# The clone is thrown away: what a power cut would lose, nobody misses. Nothing is to change by itself.
_HASTY = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}

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
    embedded.destroy(place.scratch, proof_id)  # what an earlier run of this step has left
    try:
        return _judge(place, proof_id, read_root(place, snapshot_id))
    except (RepositoryDamaged, ObjectMissing) as error:
        return _ended(ProofState.REFUTED, findings=[f"the repository: {error}"])
    except StillhouseError as error:
        return _ended(ProofState.FAILED, reason=str(error))
    finally:
        embedded.destroy(place.scratch, proof_id)


def _judge(place: Workplace, proof_id: str, root: Root) -> dict[str, Any]:
    _check_room(place, root)
    nodes = embedded.plan_nodes(
        place.scratch,
        proof_id,
        root["cluster"]["number_of_node"],
        root["cluster"]["port"],
        frozenset(embedded.planned_hosts(place.site)),
    )
    show = _Progress(place, proof_id, root["plain_bytes"] + sum(one["wal_bytes"] for one in root["nodes"]))
    with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
        list(pool.map(lambda node: _rebuild(place, root, node, show.copied(node)), nodes))
        list(pool.map(lambda node: recover_to_cut(place.scratch, root, node, _HASTY), nodes))
        show.percent(_SHARE_OF_RECOVERY)
        # Functions in indexes run when these are checked: the clone must not reach the source's data nodes.
        rewire(nodes, root["cluster"]["user_name"], source_nodes(root))
    findings: list[str] = []
    compared: list[Compared] = []
    notes: list[str] = []
    for number, node in enumerate(nodes, 1):
        place.control.flows.check_running()
        compared.append(_compare(place, root, node, notes))
        place.control.flows.check_running()
        findings += [f"{node.name}: {said}" for said in check_structure(node, place.site.binaries)]
        show.percent(_SHARE_OF_RECOVERY + (99 - _SHARE_OF_RECOVERY) * number // len(nodes))
    findings = [finding for one in compared for finding in one.findings] + findings
    return _ended(
        ProofState.REFUTED if findings else ProofState.PROVED,
        findings=findings,
        left_out=[left for one in compared for left in one.left_out],
        notes=notes,
        tables=sum(one.tables for one in compared),
        rows=sum(one.rows for one in compared),
    )


def _rebuild(place: Workplace, root: Root, node: Node, show: Callable[[int], None]) -> None:
    workers, check = place.control.settings.capture_workers, place.control.flows.check_running
    rebuild_node(place.scratch, place.repository, root, node, workers, check=check, show=show)


def _check_room(place: Workplace, root: Root) -> None:
    """Before anything is written: a full disk would be the warehouses' as well."""
    needed = sum(stored["plain_bytes"] + stored["wal_bytes"] for stored in root["nodes"]) + _SPARE_BYTES
    free = shutil.disk_usage(place.scratch.data).free
    if free < needed:
        raise ProofFailed(
            f"{place.scratch.data} has {free} bytes free, {needed} are needed to restore the snapshot there",
            hint="make room below the data directory",
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


class _Progress:
    """All nodes' share in one figure."""

    def __init__(self, place: Workplace, proof_id: str, total: int) -> None:
        self._place, self._proof, self._total = place, proof_id, max(total, 1)
        self._done: dict[str, int] = {}

    def copied(self, node: Node) -> Callable[[int], None]:
        def show(done: int) -> None:
            self._done[node.id] = done
            self.percent(min(sum(self._done.values()) * _SHARE_OF_COPY // self._total, _SHARE_OF_COPY))

        return show

    def percent(self, percent: int) -> None:
        with self._place.control.database.transaction() as transaction:
            proofs.set_progress(transaction, self._proof, percent)


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
