"""Proofs, progress, the trash, collections, registrations, which DWS does not have: bodies, and how they are shown."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stillhouse.api.shapes.values import (
    INT32_MAX,
    Answer,
    Int32,
    Int64,
    Json,
    NullableText,
    Request,
    cluster_time,
)
from stillhouse.control.reports.progress import Shown
from stillhouse.control.snapshots.trash import Trashed
from stillhouse.domain import collection
from stillhouse.domain import proof as proofs
from stillhouse.domain.registered.check_up import CheckUp, Finding
from stillhouse.domain.registered.registration import MOST_DATA_NODES


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
    reason: str


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
    type: str
    cluster_id: str
    cluster_name: str
    started: str
    deleted: str
    until: str
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


Address = Annotated[str, Field(max_length=300)]
Addresses = Annotated[list[Address], Field(max_length=8)]
Certificate = Annotated[str, Field(max_length=32768)]


class Login(Request):
    """A field that is not understood is refused: it may be a file, which only the operator can name."""

    model_config = ConfigDict(extra="forbid")

    role: Annotated[str, Field(max_length=63)] | None = None
    password: SecretStr | None = None
    tls: Annotated[str, Field(max_length=16)] | None = None
    ca_certificate: Certificate | None = None


class ServerToRegister(Login):
    hosts: Addresses
    known_as: Addresses | None = None


class Connections(Login):
    engine: Annotated[str, Field(max_length=16)] | None = None
    coordinator: ServerToRegister
    data_nodes: Annotated[list[ServerToRegister], Field(max_length=MOST_DATA_NODES)] | None = None


class ClusterToRegister(Connections):
    name: str


class RegisterRequest(Request):
    cluster: ClusterToRegister


class ConnectionsRequest(Request):
    cluster: Connections


class RemoveRequest(Request):
    keep_last_manual_snapshot: Annotated[int, Field(ge=0, le=INT32_MAX)] = 0
    dead_nodes: bool = False


class ShownFinding(Answer):
    node: str
    weight: str
    about: str
    message: str
    mend: str


class CheckUpReport(Answer):
    findings: list[ShownFinding]


class LatestCheckUp(Answer):
    time: NullableText
    findings: list[ShownFinding] | None


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
        "reason": report.get("reason", ""),
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
        "type": snapshot.type.value,
        "cluster_id": snapshot.cluster_id,
        "cluster_name": snapshot.cluster_name,
        "started": cluster_time(snapshot.started),
        "deleted": cluster_time(snapshot.deleted) if snapshot.deleted else "",
        "until": cluster_time(trashed.until),
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


def document(body: RegisterRequest | ConnectionsRequest) -> dict[str, Any]:
    """Return the registration in a body, as `domain.registered.registration` reads it."""
    found: dict[str, Any] = _plain(body.cluster)
    return found


def findings(found: Sequence[Finding]) -> list[Json]:
    return [
        {
            "node": one.node,
            "weight": one.weight.value,
            "about": one.about,
            "message": one.message,
            "mend": one.mend,
        }
        for one in found
    ]


def check_up(latest: CheckUp | None) -> Json:
    if latest is None:
        return {"time": None, "findings": None}
    return {"time": cluster_time(latest.time), "findings": findings(latest.findings)}


def _plain(value: object) -> Any:
    """Return what was sent, with secrets in the open."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(one) for name, one in value if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value
