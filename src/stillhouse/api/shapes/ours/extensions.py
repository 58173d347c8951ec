"""Proofs, progress, the trash and collections, which DWS does not have: bodies, and how they are shown."""

from typing import Annotated, Any

from pydantic import Field

from stillhouse.api.shapes.values import Answer, Int32, Int64, Json, NullableText, Request, cluster_time
from stillhouse.control import audit
from stillhouse.control.reports.progress import Shown
from stillhouse.control.snapshots.trash import Trashed
from stillhouse.domain import collection
from stillhouse.domain import proof as proofs


class CollectClusterRequest(Request):
    dry_run: bool = False


class ProofScheduleRequest(Request):
    every_days: Annotated[int, Field(ge=0, le=3650)]
    newest_only: bool = True


class ShownProgress(Answer):
    phase: str
    bytes_done: Int64
    bytes_total: Int64
    bytes_per_second: Int64
    seconds_left: Int64 | None
    percent: Int32
    expected_pause_seconds: float | None


class Proof(Answer):
    id: str
    snapshot_id: str
    state: str
    progress: str
    requested_by: str
    started: str
    ended: NullableText
    seconds: float | None
    tables: Int32
    tables_total: Int32 | None
    rows: Int64
    rows_total: Int64 | None
    rows_share: float | None
    pages: Int64 | None
    pages_total: Int64 | None
    pages_share: float | None
    findings: list[str]
    unchecked: list[str]
    left_out: list[str]
    notes: list[str]
    code: str
    reason: str
    hint: str


class ProofStarted(Answer):
    proof: Proof


class LatestProof(Answer):
    proof: Proof | None


class ShownProofSchedule(Answer):
    every_days: Int32
    newest_only: bool


class TrashedSnapshot(Answer):
    id: str
    name: str
    status: str
    state: str
    type: str
    cluster_id: str
    cluster_name: str
    started: str
    deleted: str
    until: str
    live_bytes: Int64
    stored_bytes: Int64 | None
    own_bytes: Int64 | None
    can_be_undeleted: bool


class Trash(Answer):
    snapshots: list[TrashedSnapshot]
    count: Int32


class ObjectsAndBytes(Answer):
    objects: Int64
    bytes: Int64


class Collected(Answer):
    purged_snapshots: list[str]
    kept: ObjectsAndBytes
    marked: ObjectsAndBytes
    deleted: ObjectsAndBytes
    keys_gone: bool


class CollectionPlan(Answer):
    plan: Collected


class AuditRecord(Answer):
    time: str
    access_key: str
    action: str
    resource: str
    outcome: str
    request_id: str
    detail: str


class AuditRecords(Answer):
    records: list[AuditRecord]
    count: Int32


def audit_record(record: audit.AuditRecord) -> Json:
    return {
        "time": cluster_time(record.time),
        "access_key": record.access_key,
        "action": record.action,
        "resource": record.resource,
        "outcome": record.outcome,
        "request_id": record.request_id,
        "detail": record.detail,
    }


def proof(proof: proofs.Proof) -> Json:
    """Return a proof as JSON. `findings` are faults of the snapshot, `left_out` are tables that were not looked at, and
    `unchecked` are things that should have been looked at and could not be.
    """
    report = proof.report
    return {
        "id": proof.id,
        "snapshot_id": proof.snapshot_id,
        "state": proof.state.value,
        "progress": f"{proof.progress}%",
        "requested_by": proof.access_key or "schedule",
        "started": cluster_time(proof.started),
        "ended": cluster_time(proof.ended) if proof.ended else None,
        "seconds": round((proof.ended - proof.started).total_seconds(), 1) if proof.ended else None,
        "tables": report.get("tables", 0),
        "tables_total": report.get("tables_total"),
        "rows": report.get("rows", 0),
        "rows_total": report.get("rows_total"),
        "rows_share": _share(report, "rows"),
        "pages": report.get("pages"),
        "pages_total": report.get("pages_total"),
        "pages_share": _share(report, "pages"),
        "findings": report.get("findings", []),
        "unchecked": report.get("unchecked", []),
        "left_out": report.get("left_out", []),
        "notes": report.get("notes", []),
        "code": report.get("code", ""),
        "reason": report.get("reason", ""),
        "hint": report.get("hint", ""),
    }


def _share(report: dict[str, Any], what: str) -> float | None:
    """Return the share that was seen, rounded down: only all of it is 1. `None` if the proof did not get so far, or was
    made by an older service, which did not count.
    """
    seen, total = report.get(what), report.get(f"{what}_total")
    if seen is None or total is None or not report.get("pages_total"):
        return None
    return 1.0 if seen >= total else seen * 10_000 // total / 10_000


def proof_schedule(schedule: proofs.ProofSchedule) -> Json:
    return {"every_days": schedule.every_days, "newest_only": schedule.newest_only}


def trashed_snapshot(trashed: Trashed) -> Json:
    """An item of our own ListTrash; `until` is when it can no longer be brought back."""
    snapshot = trashed.snapshot
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "status": snapshot.status.value,
        "state": snapshot.state.value,
        "type": snapshot.type.value,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "started": cluster_time(snapshot.started),
        "deleted": cluster_time(snapshot.deleted) if snapshot.deleted else "",
        "until": cluster_time(trashed.until),
        "live_bytes": snapshot.plain_bytes,
        "stored_bytes": snapshot.reached_bytes,
        "own_bytes": snapshot.own_bytes,
        "can_be_undeleted": trashed.can_come_back,
    }


def collected(would: collection.Collected) -> Json:
    """The summary of a plan: numbers of objects and their bytes in the repository."""
    return {
        "purged_snapshots": would.purged,
        "kept": {"objects": would.kept, "bytes": would.kept_bytes},
        "marked": {"objects": would.marked, "bytes": would.marked_bytes},
        "deleted": {"objects": would.deleted, "bytes": would.deleted_bytes},
        "keys_gone": would.keys_gone,
    }


def progress(shown: Shown) -> Json:
    found = shown.progress
    return {
        "phase": found.phase,
        "bytes_done": found.bytes_done,
        "bytes_total": found.bytes_total,
        "bytes_per_second": found.bytes_per_second,
        "seconds_left": found.seconds_left,
        "percent": shown.percent,
        "expected_pause_seconds": shown.expected_pause_seconds,
    }
