"""Shapes of the answers about policies, proofs, the trash and collections; see `answer`."""

from stillhouse.api.shapes.answer import Answer, Int32, Int64, Text


class Strategy(Answer):
    policy_id: str
    policy_name: str
    backup_strategy: str
    backup_type: str
    backup_level: str
    next_fire_time: Text
    update_time: str
    time_zone_offset: Int32
    backup_database: Text
    backup_schema_list: Text
    backup_table_list: Text


class Policies(Answer):
    keep_day: Int32
    auto_backup: bool
    device_name: str
    server_ips: list[str] | None
    server_port: Text
    backup_param: Text
    backup_strategy_cluster_type_limit_num: Int32
    backup_strategy_schema_type_limit_num: Int32
    backup_strategies: list[Strategy]


class SnapshotCopied(Answer):
    snapshot_id: str


class Proof(Answer):
    id: str
    snapshot_id: str
    state: str
    progress: str
    requested_by: str
    started: str
    ended: Text
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
