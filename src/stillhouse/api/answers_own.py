"""What is answered by the operations of our own: trash, collections, proofs; see `answers`."""

from stillhouse.api.answers import Answer, Id, Int32, Int64, Text


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


class SnapshotUndeleted(Answer):
    snapshot: Id


class Amount(Answer):
    objects: Int32
    bytes: Int64


class CollectionPlan(Answer):
    purged_snapshots: list[str]
    kept: Amount
    marked: Amount
    deleted: Amount
    keys_gone: bool


class CollectionPlanned(Answer):
    plan: CollectionPlan


class ShownProof(Answer):
    id: str
    snapshot_id: str
    state: str
    progress: str
    requested_by: str
    started: str
    ended: Text
    seconds: float | None
    tables: Int32
    rows: Int64
    findings: list[str]
    left_out: list[str]
    notes: list[str]
    reason: str


class ProofAsked(Answer):
    proof: ShownProof


class LatestProof(Answer):
    proof: ShownProof | None


class ShownProofSchedule(Answer):
    every_days: Int32
    newest_only: bool
