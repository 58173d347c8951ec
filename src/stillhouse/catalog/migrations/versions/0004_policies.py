"""Add policies, the outcomes of their runs, and copies of snapshots."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sh_copies",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_copies_snapshot_id"),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_sh_copies"),
    )
    op.create_index("ix_sh_copies_source_id", "sh_copies", ["source_id"], unique=False)
    op.create_table(
        "sh_backup_settings",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("keep_day", sa.Integer(), nullable=False),
        sa.Column("auto_backup", sa.Boolean(), nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_backup_settings_cluster_id"),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_sh_backup_settings"),
    )
    op.create_table(
        "sh_policies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("backup_type", sa.Text(), nullable=False),
        sa.Column("time_zone_offset", sa.Integer(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_policies_cluster_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sh_policies"),
    )
    op.create_index("ix_sh_policies_cluster_id", "sh_policies", ["cluster_id"], unique=False)
    op.create_index("uq_sh_policies_name", "sh_policies", ["cluster_id", sa.text("lower(name)")], unique=True)
    op.create_table(
        "sh_policy_runs",
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("due", _TIME, nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("policy_name", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("seen", _TIME, nullable=False),
        sa.Column("is_full", sa.Boolean(), nullable=False),
        sa.Column("is_once", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_policy_runs_cluster_id"),
        sa.PrimaryKeyConstraint("policy_id", "due", name="pk_sh_policy_runs"),
        sa.UniqueConstraint("snapshot_id", name="uq_sh_policy_runs_snapshot_id"),
    )
    op.create_index("ix_sh_policy_runs_cluster_id", "sh_policy_runs", ["cluster_id"], unique=False)


def downgrade() -> None:
    for table in ("sh_policy_runs", "sh_policies", "sh_backup_settings", "sh_copies"):
        op.drop_table(table)
