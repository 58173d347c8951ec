"""The catalog's tables. A change here needs a migration beside it; a test compares the two."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC times on both databases; SQLite has no time zones, so it holds UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Document(TypeDecorator[Any]):
    """A JSON object or list as ASCII text: nothing searches in it, and PostgreSQL's json refuses some strings."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return json.dumps({} if value is None else value, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return json.loads(value or "{}")


def _required(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, nullable=False)


clusters = Table(
    "sh_clusters",
    metadata,
    Column("id", Text, primary_key=True),
    _required("project"),
    _required("name"),
    _required("engine"),
    _required("status"),
    _required("number_of_node", Integer),
    _required("port", Integer),
    _required("user_name"),
    _required("stopped", Boolean),
    _required("failed_code"),
    _required("failed_reason"),
    _required("facts", Document),
    _required("created", UtcTime),
    _required("updated", UtcTime),
    Column("deleted", UtcTime),
)

nodes = Table(
    "sh_nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    _required("position", Integer),
    _required("name"),
    _required("role"),
    _required("host"),
    _required("port", Integer),
    _required("directory"),
    _required("socket"),
    _required("lineage"),
    Column("os_user", Text, nullable=False, server_default=""),
    Column("sealed_secret", Text, nullable=False, server_default=""),
)

# Accounts of the operating system that were given to clusters. Rows stay: no number is ever used again.
os_accounts = Table(
    "sh_os_accounts",
    metadata,
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    _required("cluster_id"),
    _required("created", UtcTime),
)

snapshots = Table(
    "sh_snapshots",
    metadata,
    Column("id", Text, primary_key=True),
    _required("project"),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    _required("cluster_name"),
    _required("name"),
    _required("description"),
    _required("status"),
    _required("type"),
    _required("started", UtcTime),
    _required("updated", UtcTime),
    Column("finished", UtcTime),
    _required("progress", Integer),
    _required("plain_bytes", BigInteger),
    _required("stored_bytes", BigInteger),
    _required("db_user"),
    _required("backup_key"),
    _required("reason"),
    _required("cancel_requested", Boolean),
    _required("attempt", Integer),
    Column("deleted", UtcTime),
    Column("cut_waited_seconds", Double, nullable=False, server_default="0"),
)

# What holds a cluster: at most one row per cluster has no end (see `one_active_operation`).
operations = Table(
    "sh_operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    _required("kind"),
    _required("subject_id"),
    _required("detail", Document),
    _required("progress", Integer),
    _required("started", UtcTime),
    Column("ended", UtcTime),
    _required("outcome"),
    Column("reason", Text, nullable=False, server_default=""),
)

captures = Table(
    "sh_captures",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("node", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _required("state"),
    _required("bytes_done", BigInteger),
    _required("bytes_total", BigInteger),
    _required("parts", Document),
    _required("error"),
    _required("updated", UtcTime),
    Column("bytes_per_second", BigInteger, nullable=False, server_default="0"),
)

# How far each node of a restore has come, in the phase that it is in.
restores = Table(
    "sh_restores",
    metadata,
    Column("operation_id", Text, ForeignKey(operations.c.id), primary_key=True),
    Column("node", Text, primary_key=True),
    _required("phase"),
    _required("bytes_done", BigInteger),
    _required("bytes_total", BigInteger),
    _required("bytes_per_second", BigInteger),
)

cuts = Table(
    "sh_cuts",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _required("pause_seconds", Double),
    _required("tries", Integer),
)

restore_points = Table(
    "sh_restore_points",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("node", Text, primary_key=True),
    _required("name"),
    _required("lsn", BigInteger),
    _required("timeline", Integer),
    ForeignKeyConstraint(["snapshot_id", "attempt"], [cuts.c.snapshot_id, cuts.c.attempt]),
)

# A copy's data is its source's; the source may be forgotten before it.
copies = Table(
    "sh_copies",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("source_id", Text, nullable=False, index=True),
)

# A cluster without a row here takes no automated snapshots, and loses none.
backup_settings = Table(
    "sh_backup_settings",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    _required("keep_day", Integer),
    _required("auto_backup", Boolean),
    _required("updated", UtcTime),
)

policies = Table(
    "sh_policies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    _required("name"),
    _required("schedule"),
    _required("backup_type"),
    _required("time_zone_offset", Integer),
    _required("since", UtcTime),
    _required("updated", UtcTime),
)

# What became of each due time, once: the key is what keeps a run from being taken twice. Outlives its policy.
policy_runs = Table(
    "sh_policy_runs",
    metadata,
    Column("policy_id", Text, primary_key=True),
    Column("due", UtcTime, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    _required("policy_name"),
    _required("schedule"),
    _required("seen", UtcTime),
    _required("is_full", Boolean),
    _required("is_once", Boolean),
    _required("outcome"),
    _required("reason"),
    Column("snapshot_id", Text, unique=True),
)

# When a cluster's packs are read next in the background, and what reading them last has shown.
scrubs = Table(
    "sh_scrubs",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    _required("due", UtcTime),
    _required("started", UtcTime),
    Column("ended", UtcTime),
    _required("packs", Integer),
    _required("bytes", BigInteger),
    _required("damages", Document),
)

witnesses = Table(
    "sh_witnesses",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("node", Text, primary_key=True),
    _required("snapshots", Document),
    _required("why"),
    ForeignKeyConstraint(["snapshot_id", "attempt"], [cuts.c.snapshot_id, cuts.c.attempt]),
)

# Restores into scratch space, made to see whether a snapshot is good; at most one per snapshot has no end.
proofs = Table(
    "sh_proofs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), nullable=False, index=True),
    _required("state"),
    _required("access_key"),
    _required("progress", Integer),
    _required("started", UtcTime),
    Column("ended", UtcTime),
    _required("report", Document),
)

proof_schedules = Table(
    "sh_proof_schedules",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    _required("every_days", Integer),
    _required("newest_only", Boolean),
    _required("updated", UtcTime),
)

# A snapshot in the trash whose purge has begun: it can no longer be brought back.
purges = Table(
    "sh_purges",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    _required("began", UtcTime),
)

access_keys = Table(
    "sh_access_keys",
    metadata,
    Column("access_key", Text, primary_key=True),
    _required("sealed_secret"),
    _required("project"),
    _required("created", UtcTime),
    Column("disabled", UtcTime),
    _required("policies", Document),
    Column("expires", UtcTime),
)

temporary_keys = Table(
    "sh_temporary_keys",
    metadata,
    Column("access_key", Text, primary_key=True),
    _required("sealed_secret"),
    _required("token_digest"),
    _required("project"),
    # An access key or a user's id: what was made by it ends with it.
    _required("parent"),
    _required("narrowed_to", Document),
    _required("created", UtcTime),
    _required("expires", UtcTime),
)

users = Table(
    "sh_users",
    metadata,
    Column("id", Text, primary_key=True),
    _required("project"),
    _required("name"),
    _required("password_hash"),
    _required("policies", Document),
    _required("created", UtcTime),
    Column("disabled", UtcTime),
)

tokens = Table(
    "sh_tokens",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Text, ForeignKey(users.c.id), nullable=False),
    _required("issued", UtcTime),
    _required("expires", UtcTime),
)

permission_policies = Table(
    "sh_permission_policies",
    metadata,
    Column("name", Text, primary_key=True),
    _required("document", Document),
    _required("created", UtcTime),
)

sealed_secrets = Table(
    "sh_sealed_secrets",
    metadata,
    Column("key", Text, primary_key=True),
    _required("sealed"),
    _required("created", UtcTime),
)

audit = Table(
    "sh_audit",
    metadata,
    # SQLite numbers rows by itself only in a column declared exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _required("time", UtcTime),
    _required("project"),
    _required("access_key"),
    _required("action"),
    _required("resource"),
    _required("outcome"),
    _required("request_id"),
    _required("detail"),
)


def _one_per(name: str, *columns: Any, among: str) -> Index:
    """A uniqueness rule that holds only among the rows where `among` is true."""
    return Index(name, *columns, unique=True, sqlite_where=text(among), postgresql_where=text(among))


cluster_name = _one_per(
    "uq_sh_clusters_name", clusters.c.project, func.lower(clusters.c.name), among="deleted IS NULL"
)
snapshot_name = _one_per(
    "uq_sh_snapshots_name", snapshots.c.project, func.lower(snapshots.c.name), among="deleted IS NULL"
)
user_name = _one_per("uq_sh_users_name", users.c.project, users.c.name, among="disabled IS NULL")
policy_name = Index("uq_sh_policies_name", policies.c.cluster_id, func.lower(policies.c.name), unique=True)
one_active_operation = _one_per("uq_sh_operations_active", operations.c.cluster_id, among="ended IS NULL")
one_active_proof = _one_per("uq_sh_proofs_active", proofs.c.snapshot_id, among="ended IS NULL")
Index("ix_sh_operations_subject", operations.c.subject_id)
Index("ix_sh_audit_project_time", audit.c.project, audit.c.time)
