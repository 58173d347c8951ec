"""The catalog's tables, beside those of access. A change here needs a migration beside it; a test compares the two."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    func,
)

from stillhouse.catalog.schema import access_tables
from stillhouse.catalog.schema.columns import Document, UtcTime, index_among, one_per, required

metadata = access_tables.users.metadata  # one for all tables

# One row: the installation that the catalog belongs to.
installation = Table(
    "sh_installation",
    metadata,
    Column("id", Text, primary_key=True),
    required("created", UtcTime),
    required("state"),
    required("moved_to"),
    required("served_by"),
    Column("repository", Text, nullable=False, server_default=""),
    Column("kek", Text, nullable=False, server_default=""),
    Column("sealed_key", Text, nullable=False, server_default=""),
)

# At most one row: the state of the host that leads, for the replicas on others. `number` grows with each change.
news = Table(
    "sh_news",
    metadata,
    Column("id", Integer, primary_key=True),
    required("number", Integer),
    required("made_by"),
    required("told", Document),
    required("updated", UtcTime),
)

clusters = Table(
    "sh_clusters",
    metadata,
    Column("id", Text, primary_key=True),
    required("project"),
    required("name"),
    required("engine"),
    required("status"),
    required("number_of_node", Integer),
    required("port", Integer),
    required("user_name"),
    required("stopped", Boolean),
    required("failed_code"),
    required("failed_reason"),
    required("facts", Document),
    required("created", UtcTime),
    required("updated", UtcTime),
    Column("deleted", UtcTime),
    Column("provider", Text, nullable=False, server_default="embedded"),
    Column("check_up", Document, nullable=False, server_default="{}"),
)

nodes = Table(
    "sh_nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("position", Integer),
    required("name"),
    required("role"),
    required("host"),
    required("port", Integer),
    required("directory"),
    required("socket"),
    required("lineage"),
    Column("os_user", Text, nullable=False, server_default=""),
    Column("sealed_secret", Text, nullable=False, server_default=""),
    Column("connection", Document, nullable=False, server_default="{}"),
)

# Accounts of the operating system given to clusters. Rows stay, so that a number is never used again.
os_accounts = Table(
    "sh_os_accounts",
    metadata,
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    required("cluster_id"),
    required("created", UtcTime),
)

snapshots = Table(
    "sh_snapshots",
    metadata,
    Column("id", Text, primary_key=True),
    required("project"),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("cluster_name"),
    required("name"),
    required("description"),
    required("status"),
    required("type"),
    required("started", UtcTime),
    required("updated", UtcTime),
    Column("finished", UtcTime),
    required("progress", Integer),
    required("plain_bytes", BigInteger),
    required("stored_bytes", BigInteger),
    required("db_user"),
    required("backup_key"),
    required("reason"),
    required("cancel_requested", Boolean),
    required("attempt", Integer),
    Column("deleted", UtcTime),
    Column("cut_waited_seconds", Double, nullable=False, server_default="0"),
    Column("expected_pause_seconds", Double),
    Column("failed_code", Text, nullable=False, server_default=""),
    Column("hint", Text, nullable=False, server_default=""),
    Column("reached_bytes", BigInteger),
    Column("own_bytes", BigInteger),
)

# Snapshots that wait for their cluster, in the order of their acceptance.
snapshot_queue = Table(
    "sh_snapshot_queue",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), nullable=False, unique=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
)

# The operations that hold a cluster: at most one row per cluster has no end (see `one_active_operation`).
operations = Table(
    "sh_operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("kind"),
    required("subject_id"),
    required("detail", Document),
    required("progress", Integer),
    required("started", UtcTime),
    Column("ended", UtcTime),
    required("outcome"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("failed_code", Text, nullable=False, server_default=""),
    Column("hint", Text, nullable=False, server_default=""),
)

captures = Table(
    "sh_captures",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("node", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    required("state"),
    required("bytes_done", BigInteger),
    required("bytes_total", BigInteger),
    required("parts", Document),
    required("error"),
    required("updated", UtcTime),
    Column("bytes_per_second", BigInteger, nullable=False, server_default="0"),
)

# The progress of each node of a restore, in its current phase.
restores = Table(
    "sh_restores",
    metadata,
    Column("operation_id", Text, ForeignKey(operations.c.id), primary_key=True),
    Column("node", Text, primary_key=True),
    required("phase"),
    required("bytes_done", BigInteger),
    required("bytes_total", BigInteger),
    required("bytes_per_second", BigInteger),
)

cuts = Table(
    "sh_cuts",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    required("pause_seconds", Double),
    required("tries", Integer),
)

restore_points = Table(
    "sh_restore_points",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("node", Text, primary_key=True),
    required("name"),
    required("lsn", BigInteger),
    required("timeline", Integer),
    ForeignKeyConstraint(["snapshot_id", "attempt"], [cuts.c.snapshot_id, cuts.c.attempt]),
)

# A copy's data is its source's; the source may be forgotten before the copy.
copies = Table(
    "sh_copies",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("source_id", Text, nullable=False, index=True),
)

# A cluster without a row here takes and loses no automated snapshots.
backup_settings = Table(
    "sh_backup_settings",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    required("keep_day", Integer),
    required("auto_backup", Boolean),
    required("updated", UtcTime),
)

policies = Table(
    "sh_policies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("name"),
    required("schedule"),
    required("backup_type"),
    required("time_zone_offset", Integer),
    required("since", UtcTime),
    required("updated", UtcTime),
)

# The outcome of each due time, once: the key keeps a run from being taken twice. It outlives its policy.
policy_runs = Table(
    "sh_policy_runs",
    metadata,
    Column("policy_id", Text, primary_key=True),
    Column("due", UtcTime, primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("policy_name"),
    required("schedule"),
    required("seen", UtcTime),
    required("is_full", Boolean),
    required("is_once", Boolean),
    required("outcome"),
    required("reason"),
    Column("snapshot_id", Text, unique=True),
)

# When a cluster's packs are read next in the background, and the result of the last reading.
scrubs = Table(
    "sh_scrubs",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    required("due", UtcTime),
    required("started", UtcTime),
    Column("ended", UtcTime),
    required("packs", Integer),
    required("bytes", BigInteger),
    required("damages", Document),
)

# The repository's records of findings at the last look: their ids and content.
findings = Table(
    "sh_findings",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    required("looked", UtcTime),
    required("records", Document),
    required("is_worked_out", Boolean),
    required("objects", Document),
)

# The losses of each snapshot by these findings, as lines of a record of findings.
losses = Table(
    "sh_losses",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    Column("cluster_id", Text, ForeignKey(clusters.c.id), nullable=False, index=True),
    required("nodes", Document),
)

witnesses = Table(
    "sh_witnesses",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("node", Text, primary_key=True),
    required("snapshots", Document),
    required("why"),
    ForeignKeyConstraint(["snapshot_id", "attempt"], [cuts.c.snapshot_id, cuts.c.attempt]),
)

# Restores into scratch space, made to see whether a snapshot is good; at most one per snapshot has no end.
proofs = Table(
    "sh_proofs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), nullable=False, index=True),
    required("state"),
    required("access_key"),
    required("progress", Integer),
    required("started", UtcTime),
    Column("ended", UtcTime),
    required("report", Document),
)

proof_schedules = Table(
    "sh_proof_schedules",
    metadata,
    Column("cluster_id", Text, ForeignKey(clusters.c.id), primary_key=True),
    required("every_days", Integer),
    required("newest_only", Boolean),
    required("updated", UtcTime),
)

# A snapshot in the trash, once its purge has begun: it can no longer be brought back.
purges = Table(
    "sh_purges",
    metadata,
    Column("snapshot_id", Text, ForeignKey(snapshots.c.id), primary_key=True),
    required("began", UtcTime),
)


cluster_name = one_per(
    "uq_sh_clusters_name", clusters.c.project, func.lower(clusters.c.name), among="deleted IS NULL"
)
snapshot_name = one_per(
    "uq_sh_snapshots_name", snapshots.c.project, func.lower(snapshots.c.name), among="deleted IS NULL"
)
policy_name = Index("uq_sh_policies_name", policies.c.cluster_id, func.lower(policies.c.name), unique=True)
one_active_operation = one_per("uq_sh_operations_active", operations.c.cluster_id, among="ended IS NULL")
one_active_proof = one_per("uq_sh_proofs_active", proofs.c.snapshot_id, among="ended IS NULL")
Index("ix_sh_operations_subject", operations.c.subject_id)
index_among(
    "ix_sh_snapshots_unmeasured",
    snapshots.c.cluster_id,
    among="status = 'AVAILABLE' AND own_bytes IS NULL",
)


def _order(name: str, *columns: Any) -> Index:
    """Serve one order of a list of snapshots; those in the trash are in no list."""
    return index_among(f"ix_sh_snapshots_by_{name}", *columns, among="deleted IS NULL")


_order("project", snapshots.c.project, snapshots.c.started.desc(), snapshots.c.id)
_order("started", snapshots.c.cluster_id, snapshots.c.started, snapshots.c.id)
_order("finished", snapshots.c.cluster_id, snapshots.c.finished, snapshots.c.id)
_order("name", snapshots.c.cluster_id, func.lower(snapshots.c.name), snapshots.c.id)
_order("size", snapshots.c.cluster_id, snapshots.c.plain_bytes, snapshots.c.id)
_order("status", snapshots.c.cluster_id, snapshots.c.status, snapshots.c.id)
_order("type", snapshots.c.cluster_id, snapshots.c.type, snapshots.c.id)
