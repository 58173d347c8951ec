"""What is answered about policies, proofs, tokens, temporary keys, the trash and collections; see `answers`."""

from stillhouse.api.answers import Answer, Int32, Int64, Text


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


class Domain(Answer):
    id: str
    name: str


class TokenUser(Answer):
    id: str
    name: str
    domain: Domain
    password_expires_at: str


class TokenProject(Answer):
    id: str
    name: str
    domain: Domain


class TokenRole(Answer):
    id: str
    name: str


class Token(Answer):
    methods: list[str]
    issued_at: str
    expires_at: str
    user: TokenUser
    roles: list[TokenRole]
    catalog: list[str]
    project: TokenProject | None = None
    domain: Domain | None = None


class TokenMade(Answer):
    token: Token


class SelfLink(Answer):
    self: str


class PageLinks(Answer):
    self: str
    previous: Text
    next: Text


class ShownProject(Answer):
    id: str
    name: str
    domain_id: str
    parent_id: str
    enabled: bool
    is_domain: bool
    description: str
    links: SelfLink


class Projects(Answer):
    projects: list[ShownProject]
    links: PageLinks


class ShownDomain(Answer):
    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class Domains(Answer):
    domains: list[ShownDomain]
    links: PageLinks


class TemporaryKey(Answer):
    access: str
    secret: str
    securitytoken: str
    expires_at: str


class TemporaryKeyMade(Answer):
    credential: TemporaryKey


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
