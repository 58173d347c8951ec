"""Create the catalog."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)
_NOT_DELETED = sa.text("deleted IS NULL")
_NOT_ENDED = sa.text("ended IS NULL")


def upgrade() -> None:
    op.create_table(
        "sh_access_keys",
        sa.Column("access_key", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("disabled", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("access_key", name="pk_sh_access_keys"),
    )
    op.create_table(
        "sh_audit",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("time", _TIME, nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("access_key", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sh_audit"),
    )
    op.create_index("ix_sh_audit_project_time", "sh_audit", ["project", "time"], unique=False)
    op.create_table(
        "sh_clusters",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("number_of_node", sa.Integer(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("failed_code", sa.Text(), nullable=False),
        sa.Column("failed_reason", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.Column("deleted", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sh_clusters"),
    )
    op.create_table(
        "sh_sealed_secrets",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sh_sealed_secrets"),
    )
    op.create_table(
        "sh_nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("socket", sa.Text(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_nodes_cluster_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sh_nodes"),
    )
    op.create_index("ix_sh_nodes_cluster_id", "sh_nodes", ["cluster_id"], unique=False)
    op.create_table(
        "sh_operations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("ended", _TIME, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_operations_cluster_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sh_operations"),
    )
    op.create_index("ix_sh_operations_cluster_id", "sh_operations", ["cluster_id"], unique=False)
    op.create_index("ix_sh_operations_subject", "sh_operations", ["subject_id"], unique=False)
    op.create_index(
        "uq_sh_operations_active",
        "sh_operations",
        ["cluster_id"],
        unique=True,
        sqlite_where=_NOT_ENDED,
        postgresql_where=_NOT_ENDED,
    )
    op.create_table(
        "sh_snapshots",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("cluster_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.Column("finished", _TIME, nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("plain_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("db_user", sa.Text(), nullable=False),
        sa.Column("backup_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deleted", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_snapshots_cluster_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sh_snapshots"),
    )
    op.create_index("ix_sh_snapshots_cluster_id", "sh_snapshots", ["cluster_id"], unique=False)
    op.create_table(
        "sh_captures",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_captures_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", "node", "attempt", name="pk_sh_captures"),
    )
    op.create_table(
        "sh_cuts",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pause_seconds", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_cuts_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", "attempt", name="pk_sh_cuts"),
    )
    op.create_table(
        "sh_restore_points",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lsn", sa.BigInteger(), nullable=False),
        sa.Column("timeline", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id", "attempt"],
            ["sh_cuts.snapshot_id", "sh_cuts.attempt"],
            name="fk_sh_restore_points_snapshot_id_attempt",
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "attempt", "node", name="pk_sh_restore_points"),
    )
    for table in ("sh_clusters", "sh_snapshots"):
        op.create_index(
            f"uq_{table}_name",
            table,
            ["project", sa.text("lower(name)")],
            unique=True,
            sqlite_where=_NOT_DELETED,
            postgresql_where=_NOT_DELETED,
        )


def downgrade() -> None:
    for table in (
        "sh_restore_points",
        "sh_cuts",
        "sh_captures",
        "sh_snapshots",
        "sh_operations",
        "sh_nodes",
        "sh_sealed_secrets",
        "sh_clusters",
        "sh_audit",
        "sh_access_keys",
    ):
        op.drop_table(table)
